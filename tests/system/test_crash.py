"""kill -9 at the worst moments: after the restart everything acknowledged is searchable, exactly once."""

import sqlite3
from pathlib import Path

import httpx
import pytest

from tests.server_process import ServerProcess

DOCUMENTS = 12
FAILPOINTS = (
    "after_commit",
    "before_lance_commit",
    "after_lance_commit",
    "before_ready",
)


def own_word(number: int) -> str:
    """A word that only one document has."""
    return f"zyx{number:03d}qua"


def text_of(number: int) -> bytes:
    """A document of its own."""
    paragraphs = [f"Report {number} tells about {own_word(number)} and nothing else.", "Filler text. " * 40]
    return "\n\n".join(paragraphs).encode()


@pytest.fixture
def server(tmp_path: Path) -> ServerProcess:
    return ServerProcess(tmp_path)


@pytest.mark.parametrize("failpoint", FAILPOINTS)
def test_everything_acknowledged_is_found_once_after_a_kill(server: ServerProcess, failpoint: str) -> None:
    try:
        server.start()
        first = server.upload(*[(f"{number}.txt", text_of(number)) for number in range(2)])
        server.wait_operation(first["operation_id"])
        server.stop()
        server.start(PERPLEX_FAILPOINT=failpoint)
        acknowledged = list(range(2))
        try:
            server.upload(*[(f"{number}.txt", text_of(number)) for number in range(2, DOCUMENTS)])
            acknowledged = list(range(DOCUMENTS))
        except httpx.TransportError:
            assert failpoint == "after_commit", "only there the kill may come before the answer"
        assert server.wait_end() == -9
        server.start()
        _wait_until_settled(server)
        found = {document["name"]: document["status"] for document in server.documents()}
        assert all(found[f"{number}.txt"] == "ready" for number in acknowledged)
        for number in acknowledged:
            hits = server.search(own_word(number), mode="sparse", limit=50)["hits"]
            assert [hit["document"]["name"] for hit in hits] == [f"{number}.txt"]
        _require_same_chunks(server)
        server.stop()
        assert server.examine()["findings"] == []
    finally:
        server.stop()


def test_a_kill_in_the_middle_of_a_long_document_keeps_its_pages(server: ServerProcess) -> None:
    long_text = "\n\n".join(
        f"# Chapter {n}\n\nThis chapter is about {own_word(n)}. " + "Words. " * 900 for n in range(60)
    )
    try:
        server.start()
        server.wait_ready()
        accepted = server.upload(("long.md", long_text.encode()))
        operation_id = accepted["operation_id"]
        server.kill()
        server.start()
        assert server.wait_operation(operation_id)["state"] == "completed"
        for number in (0, 30, 59):
            hits = server.search(own_word(number), mode="sparse")["hits"]
            assert len(hits) == 1
        assert [document["status"] for document in server.documents()] == ["ready"]
        _require_same_chunks(server)
        server.stop()
        assert server.examine()["findings"] == []
    finally:
        server.stop()


def _wait_until_settled(server: ServerProcess) -> None:
    running = httpx.get(f"{server.url}/api/v1/operations", params={"limit": 200}, timeout=30).json()["items"]
    for operation in running:
        server.wait_operation(operation["id"])


def _require_same_chunks(server: ServerProcess) -> None:
    """Every ready document's chunks, no more and no fewer, can be found by meaning."""
    with sqlite3.connect(f"file:{server.data / 'perplex.db'}?mode=ro", uri=True) as connection:
        stored = connection.execute(
            "SELECT count(*) FROM chunks JOIN documents ON documents.id = document_id WHERE status = 'ready'"
        ).fetchone()[0]
    hits = server.search("report chapter filler words", mode="dense", limit=1000)["hits"]
    assert len(hits) == stored
    assert len({hit["chunk_id"] for hit in hits}) == stored
