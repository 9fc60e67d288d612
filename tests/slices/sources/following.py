"""A folder, an application that follows it, and what tests ask of both."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from tests.app_client import App, open_app

SOURCES = "/api/v1/collections/default/sources"


def note(word: str) -> str:
    """A text with a word of its own."""
    return f"The {word} was seen from the harbour wall again. " * 12


class FollowedFolder:
    """A folder, and the source on it."""

    def __init__(self, app: App, folder: Path) -> None:
        self.app = app
        self.folder = folder
        self.source: dict[str, Any] = {}

    @property
    def url(self) -> str:
        return f"{SOURCES}/{self.source['id']}"

    def write(self, name: str, content: str | bytes) -> Path:
        """Write a file, its folders included."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    async def add(self, **options: Any) -> dict[str, Any]:
        """Add the source."""
        answer = await self.app.client.post(SOURCES, json={"directory": str(self.folder), **options})
        assert answer.status_code == 201, answer.text
        self.source = answer.json()
        return self.source

    async def follow(self, files: Mapping[str, str | bytes]) -> dict[str, int]:
        """Write these files, add the source and scan it; what the scan counted."""
        for name, content in files.items():
            self.write(name, content)
        await self.add()
        return await self.scan()

    async def begin_held_scan(self, words: Sequence[str]) -> str:
        """Scan a new source with a note for each word, and hold the first that is to be embedded; the scan's id."""
        for word in words:
            self.write(f"{word}.txt", note(word))
        await self.add()
        self.app.embedder.turnstile.close()
        scan_id = await self.start_scan()
        await self.app.embedder.turnstile.reached.wait()
        return scan_id

    async def start_scan(self) -> str:
        """Ask for a scan; its id."""
        answer = await self.app.client.post(f"{self.url}/scan")
        assert answer.status_code == 202, answer.text
        assert answer.json()["scan_id"] == answer.json()["operation_id"]
        return str(answer.json()["scan_id"])

    async def scan(self) -> dict[str, int]:
        """Scan, and wait until everything that follows from it is done; what the scan counted."""
        scan_id = await self.start_scan()
        operation = await self.app.settle(scan_id)
        assert operation["state"] == "completed", operation
        await self.settle_all()
        completed = (await self.app.events(scan_id))[-1]["data"]
        return {key.removeprefix("files_"): completed[key] for key in completed if key.startswith("files_")}

    async def settle_all(self) -> None:
        """Wait until no operation is left."""
        for operation in (await self.app.client.get("/api/v1/operations?limit=200")).json()["items"]:
            await self.app.settle(operation["id"])
        again = (await self.app.client.get("/api/v1/operations?limit=200")).json()["items"]
        if any(operation["finished_at"] is None for operation in again):
            await self.settle_all()

    async def documents(self) -> dict[str, dict[str, Any]]:
        """The collection's documents by name; names are unique in these tests."""
        answer = await self.app.client.get("/api/v1/collections/default/documents?limit=200")
        items = answer.json()["items"]
        assert len({item["name"] for item in items}) == len(items)
        return {item["name"]: item for item in items}

    async def names(self) -> set[str]:
        """The names of the collection's ready documents."""
        return {name for name, item in (await self.documents()).items() if item["status"] == "ready"}

    async def found(self, word: str) -> set[str]:
        """The names of the documents that hold this word."""
        return set(await self.app.names_found(word, mode="sparse", limit=100))

    async def skipped(self) -> dict[str, str]:
        """Paths that were skipped, with the reason."""
        items = (await self.app.client.get(f"{self.url}/files?status=skipped&limit=200")).json()["items"]
        return {item["path"]: item["reason"] for item in items}

    async def metric(self, name: str, **labels: str) -> float:
        """A counter of `/metrics`."""
        text = (await self.app.client.get("/metrics")).text
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name == name and sample.labels == labels:
                    return sample.value
        return 0.0


@asynccontextmanager
async def following(tmp_path: Path, **sections: Any) -> AsyncIterator[FollowedFolder]:
    """The application, allowed to read `tmp_path/root`, and the folder `tmp_path/root/papers`."""
    folder = (tmp_path / "root" / "papers").resolve()
    folder.mkdir(parents=True, exist_ok=True)
    sections["sources"] = {"roots": [str(folder.parent)], **sections.get("sources", {})}
    async with open_app(tmp_path, **sections) as app:
        yield FollowedFolder(app, folder)
