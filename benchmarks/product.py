"""The product as a benchmark meets it: a real server in a process of its own, spoken to over HTTP."""

import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.process_memory import PeakMemory
from tests.server_process import ServerProcess

FILES_A_REQUEST = 100
LIMITS_OFF = {
    "PERPLEX_LIMITS__REQUESTS_PER_MINUTE_USER": "1000000000",
    "PERPLEX_LIMITS__QUEUE_DOCUMENTS": "1000000",
}
FINAL_STATES = ("completed", "failed", "dead", "cancelled")
POLL_SECONDS = 0.25
EXCERPT = 3000


class Product:
    """A running server and one client of it. Refuses with `RuntimeError` where the server does."""

    def __init__(self, server: ServerProcess) -> None:
        self.server = server
        self.http = httpx.Client(base_url=server.url, timeout=60)

    def upload(self, files: Iterable[tuple[str, bytes]], collection: str = "default") -> list[str]:
        """Upload all, a hundred in a request; the ids of the operations."""
        return [answer["operation_id"] for answer in self.uploads(files, collection) if answer["operation_id"]]

    def uploads(self, files: Iterable[tuple[str, bytes]], collection: str = "default") -> list[dict[str, Any]]:
        """Upload all, a hundred in a request; the answers as they came."""
        rest = iter(files)
        answers = []
        while group := list(islice(rest, FILES_A_REQUEST)):
            parts = [("files", file) for file in group]
            answers.append(self._json("POST", f"/api/v1/collections/{collection}/documents", files=parts))
        return answers

    def wait(self, operation_ids: Sequence[str], seconds: float) -> list[dict[str, Any]]:
        """Wait until all are final; the operations."""
        deadline = time.monotonic() + seconds
        done = []
        for operation_id in operation_ids:
            while (operation := self.get(f"/api/v1/operations/{operation_id}"))["state"] not in FINAL_STATES:
                if time.monotonic() > deadline:
                    raise RuntimeError(f"not finished in {seconds:.0f} s: {operation}")
                time.sleep(POLL_SECONDS)
            done.append(operation)
        return done

    def ingest(self, files: Iterable[tuple[str, bytes]], seconds: float = 1800.0, collection: str = "default") -> None:
        """Upload and wait until everything is searchable; anything less raises."""
        for operation in self.wait(self.upload(files, collection), seconds):
            if operation["state"] != "completed" or operation["failed_count"]:
                raise RuntimeError(f"an ingest did not succeed: {operation}\n{self.server.log()[-EXCERPT:]}")

    def new_collection(self, name: str) -> str:
        """Make a collection; its id."""
        return str(self._json("POST", "/api/v1/collections", json={"name": name})["id"])

    def get(self, path: str, **query: Any) -> dict[str, Any]:
        """GET as JSON."""
        return self._json("GET", path, params=query)

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """POST; the answer's JSON."""
        return self._json("POST", path, json=body)

    def delete(self, path: str) -> dict[str, Any]:
        """DELETE; the answer's JSON."""
        return self._json("DELETE", path)

    def search(self, query: str, **options: Any) -> dict[str, Any]:
        """Search; the answer's JSON."""
        return self._json("POST", "/api/v1/search", json={"query": query, **options})

    def documents(self, collection: str = "default") -> Iterator[dict[str, Any]]:
        """All documents of a collection."""
        cursor: dict[str, str] = {}
        while True:
            page = self.get(f"/api/v1/collections/{collection}/documents", limit=200, **cursor)
            yield from page["items"]
            if page["next_cursor"] is None:
                return
            cursor = {"cursor": page["next_cursor"]}

    def chunk_count(self) -> int:
        """Chunks of all ready documents of the default collection."""
        return sum(document["chunk_count"] or 0 for document in self.documents())

    def text(self, document_id: str) -> str:
        """The whole text of a document, its pages in order."""
        parts: list[str] = []
        page: int | None = 1
        while page is not None:
            part = self.get(f"/api/v1/documents/{document_id}/text", page=page)
            parts += [item["text"] for item in part["pages"]]
            page = part["next_page"]
        return "\n".join(parts)

    def loop_lag_buckets(self) -> dict[float, float]:
        """How often the event loop was at most so many seconds late, since the start."""
        exposition = self.http.get("/metrics").text
        families = {family.name: family for family in text_string_to_metric_families(exposition)}
        samples = families["event_loop_lag_seconds"].samples
        return {float(sample.labels["le"]): sample.value for sample in samples if sample.name.endswith("_bucket")}

    def peak_memory(self) -> PeakMemory:
        """A context in which the memory of the process tree is watched."""
        return PeakMemory(self.server.pid)

    def _json(self, method: str, path: str, **arguments: Any) -> dict[str, Any]:
        answer = self.http.request(method, path, **arguments)
        if answer.is_error:
            raise RuntimeError(f"{method} {path} answered {answer.status_code}: {answer.text[:EXCERPT]}")
        result: dict[str, Any] = answer.json()
        return result


@contextmanager
def running_product(data: Path | None = None, environment: Mapping[str, str] | None = None) -> Iterator[Product]:
    """A ready server without request limits, on its own data directory or a given one; it keeps what it is given."""
    with tempfile.TemporaryDirectory(prefix="perplex-bench-") as name:
        folder = Path(name)
        server = ServerProcess(folder, {**LIMITS_OFF, **(environment or {})})
        if data is not None:
            server.data = data
        try:
            server.start()
            server.wait_ready()
            product = Product(server)
            with product.http:
                yield product
        finally:
            server.stop()


@contextmanager
def copied(data: Path) -> Iterator[Path]:
    """A copy of a data directory, removed at the end."""
    with tempfile.TemporaryDirectory(prefix="perplex-bench-data-") as folder:
        yield Path(shutil.copytree(data, Path(folder) / "data"))
