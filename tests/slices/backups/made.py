"""Libraries of three texts, and backups of them."""

from pathlib import Path
from typing import Any

from perplex_mono.backups.archive import verify_archive
from perplex_mono.backups.manifest import Manifest
from perplex_mono.web.callers import LOCAL_CALLER
from tests.app_client import App

WORDS = ("heron", "plover", "godwit")
FILES = [(f"{word}.txt", f"The {word} waded here. ".encode() * 30) for word in WORDS]


async def start_backup(app: App, **wanted: Any) -> dict[str, Any]:
    answer = await app.client.post("/api/v1/backups", json=wanted)
    assert answer.status_code == 202, answer.text
    accepted: dict[str, Any] = answer.json()
    return accepted


async def make_backup(app: App, **wanted: Any) -> Path:
    """A finished backup; its file."""
    accepted = await start_backup(app, **wanted)
    operation = await app.settle(accepted["operation_id"])
    assert operation["state"] == "completed", operation
    return await app.container.backups.file(accepted["backup_id"], LOCAL_CALLER)


def verify(path: Path) -> Manifest:
    return verify_archive(path, lambda _: None)
