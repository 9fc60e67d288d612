"""`perplex-mono backup`: the backup that a server, or this process, makes, fetched into a file and read to its end."""

import asyncio
import os
from pathlib import Path

import msgspec

from perplex_mono.backups.archive import verify_archive
from perplex_mono.backups.repository import PREFIX, SUFFIX
from perplex_mono.backups.schemas import BackupView
from perplex_mono.backups.steps import BlockingSteps
from perplex_mono.cli.backend import Backend, open_backend
from perplex_mono.cli.following import follow
from perplex_mono.cli.operations import follow_to_end, summary
from perplex_mono.cli.progress_bar import ProgressBar, counted, megabytes
from perplex_mono.cli.terminal import notices, results, write_json
from perplex_mono.errors import InvalidInput, PerplexError
from perplex_mono.settings import Settings
from perplex_mono.storage.disk_full import disk_full_told
from perplex_mono.storage.written_files import publish


class SavedBackup(msgspec.Struct, frozen=True):
    """What `--json` prints: where the file is, and what the API says of the backup."""

    path: str
    backup: BackupView


async def save_backup(
    settings: Settings, server: str | None, file: Path, *, include_secrets: bool, as_json: bool
) -> int:
    """Have a backup made, bring it into `file` and read that back; 0 when it is whole there."""
    _require_new(file)
    async with open_backend(settings, server) as backend:
        accepted = await backend.start_backup(include_secrets=include_secrets)
        await _follow(backend, accepted.operation_id, as_json=as_json)
        view = await backend.backup(accepted.backup_id)
        path = _place(file, view)
        _require_new(path)  # the server's own folder holds a file of that name
        await _fetch(backend, view, path)
        await backend.delete_backup(view.id)
    if as_json:
        write_json(SavedBackup(str(path.absolute()), view))
    else:
        results().print(f"Saved {path}: {describe(view)}. It was read back to its last byte.", soft_wrap=True)
    return 0


def describe(backup: BackupView) -> str:
    """What is in it, in few words."""
    counts = backup.counts
    what = f"{counted(counts.documents, 'document')} in {counted(counts.collections, 'collection')}"
    return ", ".join(
        [what, counted(counts.files, "file"), megabytes(backup.size_bytes), *["with secrets"] * backup.includes_secrets]
    )


def _require_new(file: Path) -> None:
    """Raise `InvalidInput` before the work begins, not after."""
    if file.exists() and not file.is_dir():
        raise InvalidInput(f"'{file}' exists already; a backup never takes the place of a file.")
    if not file.parent.is_dir():
        raise InvalidInput(f"There is no folder '{file.parent}' to put the backup into.")


def _place(file: Path, view: BackupView) -> Path:
    return file / f"{PREFIX}{view.id}{SUFFIX}" if file.is_dir() else file


async def _follow(backend: Backend, operation_id: str, *, as_json: bool) -> None:
    """Wait for its end. Raises `PerplexError` when it did not complete.

    Interrupted, a server goes on and lists it; work in this process is cancelled, or the next start would take it up.
    """
    try:
        if as_json:
            async for _ in follow(backend, operation_id):
                pass
        else:
            await follow_to_end(backend, operation_id, as_json=False)
    except asyncio.CancelledError:
        if not backend.outlives_command:
            await backend.act("cancel", operation_id)
        raise
    operation = await backend.operation(operation_id)
    if operation.state != "completed":
        raise PerplexError(f"There is no backup: {summary(operation)}")


async def _fetch(backend: Backend, view: BackupView, path: Path) -> None:
    """The file, under its name only once it is whole."""
    partial = path.with_name(f"{path.name}.partial")
    try:
        with ProgressBar(notices()) as bar:
            await _download(backend, view, partial, bar)
            bar.begin_bytes("Reading it back", view.size_bytes)
            with BlockingSteps(lambda count, _: bar.count_bytes(count)) as steps:
                await steps.run("reading it back", lambda on_bytes: verify_archive(partial, on_bytes))
        await asyncio.to_thread(publish, partial, path)
    finally:
        partial.unlink(missing_ok=True)


async def _download(backend: Backend, view: BackupView, partial: Path, bar: ProgressBar) -> None:
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    bar.begin_bytes("Fetching", view.size_bytes)
    with disk_full_told(), os.fdopen(descriptor, "wb") as file:
        async for chunk in backend.backup_chunks(view.id):
            await asyncio.to_thread(file.write, chunk)
            bar.count_bytes(len(chunk))
        await asyncio.to_thread(_sync, file.fileno())


def _sync(descriptor: int) -> None:
    os.fsync(descriptor)
