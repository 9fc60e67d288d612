"""`perplex-mono restore`: a backup in the place of the library, after saying what that means."""

import asyncio
from pathlib import Path

import click
import msgspec

from perplex_mono.backups.archive import verify_archive
from perplex_mono.backups.manifest import Counts, Manifest
from perplex_mono.backups.restore import Restored, require_restorable, restore
from perplex_mono.backups.steps import BlockingSteps
from perplex_mono.cli.progress_bar import ProgressBar, counted, megabytes
from perplex_mono.cli.terminal import notices, results, write_json
from perplex_mono.errors import InvalidInput
from perplex_mono.settings import LoggingSettings, Settings
from perplex_mono.telemetry.logs import configure_logging


class RestoreView(msgspec.Struct, frozen=True):
    """What `--json` prints; `data_directory` is None after a mere check, `kept_aside` where nothing was before."""

    backup_id: str
    created_at: str
    counts: Counts
    needed_models: list[str]
    changed_settings: list[str]
    data_directory: str | None
    kept_aside: str | None


async def check_backup(file: Path, *, as_json: bool) -> int:
    """Read a backup to its last byte; 0 when it is whole and this version can restore it."""
    manifest = await asyncio.to_thread(require_restorable, file)
    with ProgressBar(notices()) as bar:
        bar.begin_bytes("Reading", manifest.size_bytes)
        with BlockingSteps(lambda count, _: bar.count_bytes(count)) as steps:
            await steps.run("reading", lambda on_bytes: verify_archive(file, on_bytes))
    if as_json:
        write_json(_view(manifest, None))
    else:
        results().print(f"{file} is whole: {describe(manifest)}.", soft_wrap=True)
    return 0


async def restore_backup(settings: Settings, file: Path, *, is_confirmed: bool, as_json: bool) -> int:
    """Restore, asking first where there is a library already; 0 when the new one is in place."""
    configure_logging(LoggingSettings(level="ERROR", format="text"))
    manifest = await asyncio.to_thread(require_restorable, file)
    if (settings.data_directory / "perplex.db").exists() and not is_confirmed:
        _confirm(settings.data_directory, manifest, as_json=as_json)
    with ProgressBar(notices()) as bar:
        bar.begin_bytes("Unpacking", manifest.size_bytes)
        restored = await restore(settings, file, on_step=bar.begin_step, on_bytes=bar.count_bytes)
    if as_json:
        write_json(_view(manifest, restored))
        return 0
    results().print(f"Restored into {restored.data_directory}: {describe(manifest)}.", soft_wrap=True)
    for name in needed_models(manifest):
        results().print(f"Its indexes need the embedding model '{name}' on this machine.", soft_wrap=True)
    if restored.changed_settings:
        told = f"It brings settings that were changed at run time: {', '.join(restored.changed_settings)};"
        results().print(f"{told} `perplex-mono settings --unset NAME` takes one back.", soft_wrap=True)
    if restored.kept_aside is not None:
        results().print(f"The library that was there is kept in {restored.kept_aside}", soft_wrap=True)
    return 0


def needed_models(manifest: Manifest) -> list[str]:
    """Embedding models beside the one that every installation has."""
    return sorted({model.name for model in manifest.index_models} - {"bundled"})


def describe(manifest: Manifest) -> str:
    """What is in it and when it was made."""
    counts = manifest.counts
    when = f"made {manifest.created_at:%Y-%m-%d %H:%M} UTC by perplex-mono {manifest.product_version}"
    what = f"{counted(counts.documents, 'document')} in {counted(counts.collections, 'collection')}"
    return f"{what}, {megabytes(manifest.size_bytes)}, {when}{', with secrets' * manifest.includes_secrets}"


def _confirm(directory: Path, manifest: Manifest, *, as_json: bool) -> None:
    if as_json:
        raise InvalidInput(f"There is a library in '{directory}' already; --yes lets the backup take its place.")
    notices().print(f"The backup: {describe(manifest)}.", soft_wrap=True)
    notices().print(f"It takes the place of the library in {directory}, which is kept beside it.", soft_wrap=True)
    click.confirm("Restore it?", abort=True, err=True)


def _view(manifest: Manifest, restored: Restored | None) -> RestoreView:
    return RestoreView(
        backup_id=manifest.backup_id,
        created_at=manifest.created_at.isoformat(),
        counts=manifest.counts,
        needed_models=needed_models(manifest),
        changed_settings=[] if restored is None else restored.changed_settings,
        data_directory=None if restored is None else restored.data_directory,
        kept_aside=None if restored is None else restored.kept_aside,
    )
