"""The real application in this process: real SQLite, LanceDB and reader children; models real or stand-ins."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import msgspec

from perplex_mono.app import create_app
from perplex_mono.container import Container, open_container
from perplex_mono.errors import ConfigurationError
from perplex_mono.inference.embedder import Vectors
from perplex_mono.inference.fake_ocr import FakeOcrEngine, page_of
from perplex_mono.inference.fakes import FakeEmbedder
from perplex_mono.inference.loading import find_files
from perplex_mono.inference.models import EmbeddingModel
from perplex_mono.inference.ocr import OcrEngine, OcrPage, PageRaster
from perplex_mono.settings import Settings
from perplex_mono.telemetry.logs import set_level
from perplex_mono.web.gate import Gate

FINAL = ("completed", "failed", "dead", "cancelled")
PASSWORD = "a long walk along the canal"
WAIT_SECONDS = 60.0
SCANNED_TEXT = ("Recognised harbour sentence about walruses", "and a second line of the scan")


def settings_for(directory: Path, **sections: Mapping[str, Any]) -> Settings:
    """Settings on a folder of the test's: no Redis, quick polling, next to no disk reserve, and what the test wants."""
    tree: dict[str, dict[str, Any]] = {
        "data": {"directory": str(directory / "data")},
        "queue": {"embedded_redis": False, "poll_seconds": 0.05},
        "ingestion": {"commit_seconds": 0.05},
        "limits": {"disk_reserve_bytes": 0, "disk_reserve_fraction": 0.0},
    }
    for section, values in sections.items():
        tree[section] = {**tree.get(section, {}), **values}
    return msgspec.convert(tree, Settings)


class Turnstile:
    """Lets callers through, or holds them until it is opened; `reached` says that one waits or has passed."""

    def __init__(self) -> None:
        self._open = asyncio.Event()
        self._open.set()
        self.reached = asyncio.Event()

    def close(self) -> None:
        """Hold whoever comes from now on."""
        self._open.clear()
        self.reached.clear()

    def open(self) -> None:
        """Let everyone through."""
        self._open.set()

    async def wait(self) -> None:
        """Pass, or wait."""
        self.reached.set()
        await self._open.wait()


class PausableEmbedder(FakeEmbedder):
    """A `FakeEmbedder` whose document calls pass a turnstile first."""

    def __init__(self) -> None:
        super().__init__()
        self.turnstile = Turnstile()

    async def embed_documents(self, texts: Sequence[str]) -> Vectors:
        """As the fake does, when the turnstile lets it."""
        await self.turnstile.wait()
        return await super().embed_documents(texts)


class PausableOcr(FakeOcrEngine):
    """A `FakeOcrEngine` whose pages pass a turnstile first."""

    def __init__(self, *pages: OcrPage) -> None:
        super().__init__(*pages)
        self.turnstile = Turnstile()

    async def recognise(self, image: PageRaster, *, is_urgent: bool = False) -> OcrPage:
        """As the fake does, when the turnstile lets it."""
        await self.turnstile.wait()
        return await super().recognise(image, is_urgent=is_urgent)


@dataclass
class App:
    """An open container, the application over it, and a client of that."""

    container: Container
    application: Gate
    client: httpx.AsyncClient
    embedder: PausableEmbedder
    ocr: PausableOcr
    data: Path

    async def upload(self, *files: tuple[str, bytes], collection: str = "default", **fields: str) -> dict[str, Any]:
        """Upload files; the answer's JSON."""
        parts = [("files", (name, content)) for name, content in files]
        answer = await self.client.post(f"/api/v1/collections/{collection}/documents", files=parts, data=fields)
        assert answer.status_code == 202, answer.text
        result: dict[str, Any] = answer.json()
        return result

    async def settle(self, operation_id: str, client: httpx.AsyncClient | None = None) -> dict[str, Any]:
        """Wait until the operation, of another user if its client is given, is final; its JSON."""
        client = client or self.client
        async with asyncio.timeout(WAIT_SECONDS):
            while True:
                answer = await client.get(f"/api/v1/operations/{operation_id}")
                operation: dict[str, Any] = answer.json()
                if operation["state"] in FINAL:
                    return operation
                await asyncio.sleep(0.02)

    async def ingest(self, *files: tuple[str, bytes], collection: str = "default", **fields: str) -> list[Any]:
        """Upload files and wait until they are settled; their documents as JSON, in order."""
        accepted = await self.upload(*files, collection=collection, **fields)
        if accepted["operation_id"] is not None:
            await self.settle(accepted["operation_id"])
        return [await self.document(item["id"]) for item in accepted["documents"]]

    async def document(self, document_id: str) -> Any:
        """The document's JSON."""
        answer = await self.client.get(f"/api/v1/documents/{document_id}")
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def new_collection(self, name: str, **options: Any) -> str:
        """Make a collection; its id."""
        answer = await self.client.post("/api/v1/collections", json={"name": name, **options})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    async def set_up(self, name: str = "ada") -> None:
        """Make the first user, and be it from now on."""
        answer = await self.client.post("/api/v1/auth/setup", json={"name": name, "password": PASSWORD})
        assert answer.status_code == 201, answer.text
        self.client.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"

    async def new_user(self, name: str, role: str = "user") -> httpx.AsyncClient:
        """Make a user, after `set_up`; a client of it, logged in."""
        body = {"name": name, "password": PASSWORD, "role": role}
        answer = await self.client.post("/api/v1/users", json=body)
        assert answer.status_code == 201, answer.text
        return await self.logged_in(name)

    async def logged_in(self, name: str, password: str = "") -> httpx.AsyncClient:
        """A client of a user, logged in."""
        client = local_client(self.application)
        answer = await client.post("/api/v1/auth/login", json={"name": name, "password": password or PASSWORD})
        assert answer.status_code == 200, answer.text
        client.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
        return client

    async def search(self, query: str, **options: Any) -> dict[str, Any]:
        """Search; the answer's JSON."""
        answer = await self.client.post("/api/v1/search", json={"query": query, **options})
        assert answer.status_code == 200, answer.text
        result: dict[str, Any] = answer.json()
        return result

    async def reindex(self, collection: str = "default", **wanted: Any) -> dict[str, Any]:
        """Begin to index a collection anew; the answer's JSON."""
        answer = await self.client.post(f"/api/v1/collections/{collection}/reindex", json=wanted)
        assert answer.status_code == 202, answer.text
        accepted: dict[str, Any] = answer.json()
        return accepted

    async def indexes(self, collection: str = "default") -> list[dict[str, Any]]:
        """The collection's indexes as JSON, oldest first."""
        items: list[dict[str, Any]] = (await self.client.get(f"/api/v1/collections/{collection}/indexes")).json()[
            "items"
        ]
        return items

    async def names_found(self, query: str, **options: Any) -> list[str]:
        """The names of the documents that a search finds, best first."""
        return [hit["document"]["name"] for hit in (await self.search(query, **options))["hits"]]

    async def events(self, operation_id: str) -> list[dict[str, Any]]:
        """The operation's events, oldest first."""
        answer = await self.client.get(f"/api/v1/operations/{operation_id}/events")
        items: list[dict[str, Any]] = answer.json()["items"]
        return items

    async def next_event(self, operation_id: str, kind: str) -> dict[str, Any]:
        """Wait for an event of this type."""
        async with (
            asyncio.timeout(WAIT_SECONDS),
            aclosing(self.container.feeds.follow("local", operation_id, after=0)) as feed,
        ):
            async for event in feed:
                if event.type == kind:
                    return {"type": event.type, "data": event.data}
        raise AssertionError("the feed ended")

    async def vector_ids(self, collection: str = "default") -> dict[str, list[str]]:
        """Chunk ids by document in the collection's vector table; nothing when there is no table yet."""
        vectors = await self.container.vectors.wait()
        view = (await self.client.get(f"/api/v1/collections/{collection}")).json()
        table = f"index_{view['active_index_id'].replace('-', '')}"
        names = {health.name for health in await vectors.health()}
        if table not in names:
            return {}
        verified = await vectors.verify(table)
        assert verified.duplicate_ids == []
        assert verified.error == ""
        return dict(verified.ids_by_document)


def open_stand_in(name: str) -> EmbeddingModel:
    """The model `fake-<dimension>`; there is no other."""
    if not name.startswith("fake-"):
        raise ConfigurationError(f"embedding.model: {name} is not on this machine.")
    return EmbeddingModel(name, FakeEmbedder(int(name.removeprefix("fake-"))), find_files("bundled").token_counter())


@asynccontextmanager
async def open_app(
    directory: Path, *, ocr_engine: OcrEngine | None = None, **sections: Mapping[str, Any]
) -> AsyncIterator[App]:
    """The application with stand-in models; settings by section, as `limits={"max_pages": 3}`.

    `ocr_engine` reads the scans in place of the app's `ocr`.
    """
    settings = settings_for(directory, **sections)
    set_level(settings.logging.level)  # as a server does, whatever the process ran before
    embedder, ocr = PausableEmbedder(), PausableOcr(page_of(*SCANNED_TEXT))
    async with open_container(
        settings, embedder=embedder, ocr=ocr_engine or ocr, open_model=open_stand_in
    ) as container:
        await container.vectors.wait()
        application = create_app(container)
        async with local_client(application) as client:
            yield App(container, application, client, embedder, ocr, settings.data_directory)


def local_client(application: Gate) -> httpx.AsyncClient:
    """A client on this machine."""
    transport = httpx.ASGITransport(app=application, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8080", timeout=60)
