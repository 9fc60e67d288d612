"""What `perplex-mono setup` looks at before it writes: can a server with these settings work on this machine?"""

import asyncio
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import msgspec

from perplex_mono.errors import ConfigurationError, PerplexError
from perplex_mono.settings import Settings, secret_names, setting_names
from perplex_mono.settings.environment import settings_in
from perplex_mono.settings.loading import with_environment
from perplex_mono.storage.disk_full import DiskReserve
from perplex_mono.web.guard import is_loopback

Status = Literal["ok", "warning", "error"]
GIGABYTE = 1024**3
ROOM_BYTES = GIGABYTE
MEMORY_BYTES = 2 * GIGABYTE
ANSWER_SECONDS = 10.0


class Check(msgspec.Struct, frozen=True):
    """One look at the machine: with an error a server could not do its work, a warning says what would be missing."""

    name: str
    status: Status
    message: str


def run_checks(settings: Settings, environment: Mapping[str, str]) -> list[Check]:
    """Everything, in the order in which a server would meet it. Takes seconds where the device is looked for.

    What the environment sets wins over the file, so it is what is looked at.
    """
    try:
        settings = with_environment(settings, environment)
    except ConfigurationError as error:
        return [Check("environment", "error", str(error))]
    return [
        *_directory(settings),
        _memory(),
        _port(settings),
        *_folders(settings),
        _model(settings),
        _device(settings),
        _ocr(settings),
        _redis(settings),
        *_services(settings),
        *_environment(environment),
    ]


def _directory(settings: Settings) -> Iterator[Check]:
    path = settings.data_directory
    existing = next(folder for folder in (path, *path.parents) if _is_there(folder))
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        yield Check("data directory", "error", f"{existing} cannot be written to: {error.strerror}")
    else:
        yield Check("data directory", "ok", f"{path}{'' if existing == path else ' (will be made)'}")
    usage, limits = shutil.disk_usage(existing), settings.limits
    reserve = DiskReserve(limits.disk_reserve_bytes, limits.disk_reserve_fraction).bytes_of(usage.total)
    room = usage.free - reserve
    told = f"{_size(usage.free)} free, {_size(reserve)} of it kept as a reserve (limits.disk_reserve_bytes)"
    yield Check("disk", "ok" if room >= ROOM_BYTES else "warning" if room > 0 else "error", told)


def _memory() -> Check:
    from perplex_mono.inference.memory import available_memory_bytes

    available = available_memory_bytes()
    told = f"{_size(available)} available"
    if available >= MEMORY_BYTES:
        return Check("memory", "ok", told)
    return Check("memory", "warning", f"{told}; less than {_size(MEMORY_BYTES)} is tight for models and readers")


def _port(settings: Settings) -> Check:
    from perplex_mono.web.listening import require_free_port

    def look() -> str:
        require_free_port(settings.server.host, settings.server.port)
        return f"{settings.server.host}:{settings.server.port} is free"

    return _looked("address", look)


def _folders(settings: Settings) -> Iterator[Check]:
    for root in settings.sources.roots:
        folder = Path(root).expanduser()
        if not _is_there(folder) or not folder.is_dir():
            yield Check("folder", "warning", f"{root} is not there now; nothing below it can be followed until it is")
        elif not os.access(folder, os.R_OK | os.X_OK):
            yield Check("folder", "warning", f"{root} cannot be read by this user")
        elif folder.resolve().is_relative_to(settings.data_directory):
            yield Check("folder", "error", f"{root} lies in the data directory, which is never followed")
        else:
            yield Check("folder", "ok", f"{root} can be read")


def _model(settings: Settings) -> Check:
    from perplex_mono.container.inference import require_workable

    def look() -> str:
        if settings.embedding.allow_download:
            return f"{settings.embedding.model}, fetched when it is first needed"
        require_workable(settings)
        return f"{settings.embedding.model} is on this machine, and the chunks fit it"

    return _looked("embedding model", look)


def _device(settings: Settings) -> Check:
    from perplex_mono.inference.device import choose_device

    def look() -> str:
        if settings.embedding.device == "cpu":
            return "cpu"
        chosen = choose_device(settings.embedding.device)
        return f"{chosen.name} with {chosen.dtype}"

    return _looked("device", look)


def _ocr(settings: Settings) -> Check:
    from perplex_mono.inference.ocr_models import RAPIDOCR, RAPIDOCR_ONNXRUNTIME

    if settings.ocr.engine == "none":
        return Check("ocr", "warning", "switched off (ocr.engine): pages without text fail")
    wanted = {files.engine: files for files in (RAPIDOCR, RAPIDOCR_ONNXRUNTIME)}[settings.ocr.engine]
    if wanted.version().endswith("-missing"):
        return Check("ocr", "warning", f"the models of {wanted.engine} are not installed")
    return Check("ocr", "ok", f"{wanted.engine}, models present")


def _redis(settings: Settings) -> Check:
    from perplex_mono.storage.redis_server import find_redis_binary

    if settings.queue.redis_url:
        return Check("redis", "ok", "an outside one (queue.redis_url), which is not looked at here")
    binary = find_redis_binary() if settings.queue.embedded_redis else None
    if binary is None:
        return Check("redis", "warning", f"none: work begins up to {settings.queue.poll_seconds:g} s later")
    return Check("redis", "ok", f"a private child process, {binary}")


def _services(settings: Settings) -> Iterator[Check]:
    """Those that are not there now stop no server."""
    from perplex_mono.outbound.fetcher import Fetcher
    from perplex_mono.outbound.policy import policies_of
    from perplex_mono.outbound.services import find_language_model, find_web_search

    rules = {purpose: replace(those, total_seconds=ANSWER_SECONDS) for purpose, those in policies_of(settings).items()}
    fetcher, llm, web_search = Fetcher(rules), settings.llm, settings.web_search
    if llm.api_key and _is_readable_on_the_way(llm.base_url):
        told = f"not asked, since llm.api_key would travel to {llm.base_url} unencrypted; https would hide it"
        yield Check("language model", "warning", told)
    else:
        yield _looked("language model", lambda: asyncio.run(find_language_model(llm, fetcher)), "warning")
    yield _looked("web search", lambda: asyncio.run(find_web_search(web_search, fetcher)), "warning")


def _is_readable_on_the_way(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme == "http" and not is_loopback(parts.hostname or "")


def _environment(environment: Mapping[str, str]) -> Iterator[Check]:
    for variable, _, _ in settings_in(environment, setting_names(), secret_names()):
        yield Check("environment", "warning", f"{variable} is set here and wins over the file where it is set")


def _looked(name: str, look: Callable[[], str], otherwise: Status = "error") -> Check:
    """What was found, or why it cannot work."""
    try:
        return Check(name, "ok", look())
    except PerplexError as error:
        return Check(name, otherwise, str(error))


def _is_there(path: Path) -> bool:
    """Whether it can be seen that it is there: a folder that may not be entered hides what is in it."""
    try:
        return path.exists()
    except OSError:
        return False


def _size(count: int) -> str:
    return f"{count / GIGABYTE:.1f} GB"
