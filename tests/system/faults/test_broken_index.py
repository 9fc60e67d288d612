"""A damaged vector index: the server lives, says so, and the doctor brings every document back without a model."""

import random
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.server_process import ServerProcess
from tests.system.faults.promises import Promises, eventually
from tests.system.faults.samples import text_file
from tests.system.faults.table import FaultTable

DOCUMENTS = 6
ROUNDS = 3
OPENING_SECONDS = 120.0
Damage = Callable[[Path, random.Random], None]


def _cut_newest_manifest(table: Path, chance: random.Random) -> None:
    """As a power loss does."""
    newest = max(table.glob("_versions/*.manifest"), key=lambda path: path.stat().st_mtime_ns)
    newest.write_bytes(newest.read_bytes()[: chance.choice((0, 10, 100))])


def _scribble_on_manifest(table: Path, chance: random.Random) -> None:
    for manifest in table.glob("_versions/*.manifest"):
        _scribble(manifest, chance)


def _empty_data_file(table: Path, chance: random.Random) -> None:
    chance.choice(sorted(table.glob("data/*.lance"))).write_bytes(b"")


def _scribble_on_data_file(table: Path, chance: random.Random) -> None:
    _scribble(chance.choice(sorted(table.glob("data/*.lance"))), chance)


def _remove_data_file(table: Path, chance: random.Random) -> None:
    chance.choice(sorted(table.glob("data/*.lance"))).unlink()


def _scribble(path: Path, chance: random.Random) -> None:
    """Change half of the bytes, the end included."""
    path.write_bytes(bytes(byte ^ chance.choice((0, 0x5A)) for byte in path.read_bytes()))


DAMAGES: dict[str, Damage] = {
    "newest Lance manifest cut short": _cut_newest_manifest,
    "Lance manifests overwritten": _scribble_on_manifest,
    "Lance data file emptied": _empty_data_file,
    "Lance data file overwritten": _scribble_on_data_file,
    "Lance data file removed": _remove_data_file,
}


@pytest.mark.faults
@pytest.mark.timeout(1800)
def test_a_damaged_index_loses_no_document(server: ServerProcess, faults: FaultTable) -> None:
    chance, promises = random.Random(11), Promises(server)
    server.start()
    for number in range(DOCUMENTS):
        promises.upload(text_file(number))
        promises.settle()
    server.stop()
    for _ in range(ROUNDS):
        for name, damage in DAMAGES.items():
            fault = faults.fault(name)
            (table,) = (server.data / "vectors").glob("*.lance")
            damage(table, chance)
            fault.note = f"before the repair: {_said_of_the_damage(promises)}"
            assert server.stop() == 0
            repaired = server.examine("--repair")
            assert repaired["healthy"], repaired
            fault.recovered(promises.recover())
            promises.judge(fault)
            fault.rounds += 1
            assert (fault.lost, fault.duplicated) == (0, 0)
            server.stop()


def _said_of_the_damage(promises: Promises) -> str:
    """Started on the damage, the server answers and keeps the originals; what it says of the index."""
    server = promises.server
    server.start()
    eventually(lambda: _vectors(server)["status"] != "down" or "restarts" in _vectors(server), OPENING_SECONDS)
    for document in promises.documents():
        original = httpx.get(f"{server.url}/api/v1/documents/{document['id']}/file", timeout=30)
        assert original.content == promises.kept[document["name"]].content
    query = {"query": next(iter(promises.kept.values())).words[0], "mode": "sparse"}
    search = httpx.post(f"{server.url}/api/v1/search", json=query, timeout=60)
    assert search.status_code in (200, 503), search.text
    return f"search {search.status_code}, index {_vectors(server)['status']}"


def _vectors(server: ServerProcess) -> dict[str, str]:
    component: dict[str, str] = httpx.get(f"{server.url}/ready", timeout=30).json()["components"]["vectors"]
    return component
