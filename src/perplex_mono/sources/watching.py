"""Watches folders and has a source scanned when something in it changed.

What a file system tells is a hint only: the scan looks for itself, so a lost hint costs time and no document. Folders
are scanned when watching begins, when they come back after being away, and every `rescan_seconds` in any case.
"""

import asyncio
import os
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from loguru import logger
from watchfiles import awatch

from perplex_mono.sources.globs import FileFilter
from perplex_mono.sources.models import Source
from perplex_mono.sources.service import SourceService
from perplex_mono.sources.walking import is_inside
from perplex_mono.telemetry.supervision import Supervisor

MOUNTS = Path("/proc/mounts")
CHECK_SECONDS = 5.0
QUIET_MILLISECONDS = 250
# Polling compares times of change in whole seconds: what is written in the same second as it looked, it never sees.
POLL_BLIND_SECONDS = 1.0
# File systems that are changed from elsewhere, or that pass no changes on.
_SILENT: Final = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "virtiofs"})
_SILENT_PREFIXES: Final = ("fuse", "vbox", "prl_", "overlay", "drvfs", "osxfs", "grpcfuse", "lustre")
Polling = Literal["auto", "always", "never"]


@dataclass(frozen=True)
class WatchRules:
    """The settings of watching."""

    debounce_seconds: float
    rescan_seconds: float
    polling: Polling
    poll_seconds: float


@dataclass(frozen=True)
class _Group:
    """Folders watched together: each watch holds a thread, so there are few."""

    is_polled: bool
    is_recursive: bool
    paths: frozenset[str]


class FolderWatcher:
    """Keeps the watched sources of all collections up to date."""

    def __init__(self, sources: SourceService, rules: WatchRules) -> None:
        self.supervisor = Supervisor("watching", self._run)
        self._sources = sources
        self._rules = rules
        self._watches: dict[_Group, asyncio.Task[None]] = {}
        self._polled: set[str] = set()  # the system refused to watch these
        self._due: dict[str, float] = {}

    async def _run(self) -> None:
        """Watch until cancelled."""
        try:
            while True:
                self._sources.changed.clear()
                sources = await self._sources.list_watched()
                there = await asyncio.to_thread(_those_there, sources)
                await self._rewatch(there)
                await self._scan_due(there)
                self._report(sources, there)
                await self._wait()
        finally:
            await self._stop(list(self._watches))

    async def _wait(self) -> None:
        """Until sources were added or removed, a watch ended, or it is time to look again."""
        changed = asyncio.create_task(self._sources.changed.wait())
        seconds = min(CHECK_SECONDS, self._rules.rescan_seconds)
        try:
            await asyncio.wait({changed, *self._watches.values()}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            changed.cancel()

    async def _rewatch(self, there: Sequence[Source]) -> None:
        """Watch these and no others; whoever was not watched for a moment is due for a scan."""
        wanted = await asyncio.to_thread(self._groups, there)
        await self._stop([group for group, watch in self._watches.items() if group not in wanted or watch.done()])
        for group, members in wanted.items():
            if group not in self._watches:
                self._watches[group] = asyncio.create_task(self._watch(group, members))
                # What a watch that polls has missed before it began, it has missed by the second: it looks twice.
                at_once = 0.0 if group.is_polled else asyncio.get_running_loop().time()
                self._due.update({source.id: at_once for source in members})

    def _groups(self, sources: Sequence[Source]) -> Mapping[_Group, list[Source]]:
        mounts = _mounts() if self._rules.polling == "auto" else {}
        members: defaultdict[tuple[bool, bool], list[Source]] = defaultdict(list)
        for source in sources:
            is_polled = (
                self._rules.polling == "always" or source.path in self._polled or _is_silent(source.path, mounts)
            )
            members[is_polled, source.recursive].append(source)
        return {
            _Group(*kind, frozenset(source.path for source in together)): together for kind, together in members.items()
        }

    async def _watch(self, group: _Group, sources: Sequence[Source]) -> None:
        """Queue scans as changes come, until cancelled. Ends when the system does not let us watch."""
        filters = {source.id: FileFilter(source.include, source.exclude) for source in sources}
        try:
            async for changes in awatch(
                *sorted(group.paths),
                watch_filter=None,
                debounce=int(self._rules.debounce_seconds * 1000),
                step=min(QUIET_MILLISECONDS, int(self._rules.debounce_seconds * 1000)),
                force_polling=group.is_polled,
                poll_delay_ms=int(self._rules.poll_seconds * 1000),
                recursive=group.is_recursive,
                ignore_permission_denied=True,
            ):
                paths = {path for _, path in changes}
                for source in sources:
                    if any(_concerns(source, filters[source.id], path) for path in paths):
                        await self._sources.scan_by_itself(source.id)
                        if group.is_polled:
                            self._look_again(source)
        except OSError as error:
            logger.warning("watching.refused", reason=str(error), folders=len(group.paths))
            if not group.is_polled:
                self._polled |= group.paths

    def _look_again(self, source: Source) -> None:
        """Have it scanned once more when what polling cannot see is over."""
        again = asyncio.get_running_loop().time() + POLL_BLIND_SECONDS
        self._due[source.id] = min(again, self._due.get(source.id, again))

    async def _scan_due(self, there: Sequence[Source]) -> None:
        now = asyncio.get_running_loop().time()
        for source in there:
            due = self._due.get(source.id, 0.0)
            if due <= now:
                self._due[source.id] = now + (self._rules.rescan_seconds if due else POLL_BLIND_SECONDS)
                await self._sources.scan_by_itself(source.id)

    def _report(self, sources: Sequence[Source], there: Sequence[Source]) -> None:
        missing = sorted({source.path for source in sources} - {source.path for source in there})
        refused = sorted(self._polled & {source.path for source in there})
        if missing:
            self.supervisor.mark_degraded(f"the folder '{missing[0]}' is not there; its documents stay as they are")
        elif refused:
            self.supervisor.mark_degraded(
                f"the system does not watch '{refused[0]}' (its limit is fs.inotify.max_user_watches), so it is looked"
                f" at every {self._rules.poll_seconds:g} s"
            )
        else:
            self.supervisor.mark_ok()

    async def _stop(self, groups: Sequence[_Group]) -> None:
        ending = [self._watches.pop(group) for group in groups]
        for watch in ending:
            watch.cancel()
        for result in await asyncio.gather(*ending, return_exceptions=True):
            if isinstance(result, Exception):
                logger.opt(exception=result).error("watching.broke")


def _concerns(source: Source, wanted: FileFilter, path: str) -> bool:
    if not is_inside(path, source.path):
        return False
    relative = os.path.relpath(path, source.path)
    return relative == "." or wanted.concerns(relative.replace(os.sep, "/"))


def _those_there(sources: Sequence[Source]) -> list[Source]:
    return [source for source in sources if Path(source.path).is_dir()]


def _mounts() -> dict[str, str]:
    """Kinds of file systems by where they are mounted; empty where the system does not say."""
    if sys.platform != "linux":
        return {}
    try:
        lines = MOUNTS.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return {}
    fields = [line.split(" ") for line in lines]
    return {_unescaped(field[1]): field[2] for field in fields if len(field) > 2}


def _unescaped(path: str) -> str:
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        path = path.replace(code, character)
    return path


def _is_silent(path: str, mounts: Mapping[str, str]) -> bool:
    """Whether the file system of this path does not tell what changes in it."""
    mounted = max((mount for mount in mounts if is_inside(path, mount)), key=len, default="")
    kind = mounts.get(mounted, "")
    return kind in _SILENT or kind.startswith(_SILENT_PREFIXES)
