"""Attacks by PDF: circles, bombs, loops, scripts and damage; each ends with a reason, beside files that are read."""

from collections.abc import Mapping
from pathlib import Path

import httpx
import pytest

from tests.documents import circular_pdf, mutated, pageless_pdf, stream_bomb_pdf, text_pdf
from tests.server_process import ServerProcess
from tests.system.attacks.hostile_client import MEGABYTE, Listener, bounded_growth, final_documents, require_failed
from tests.system.attacks.hostile_files import endless_pdf, many_pages_pdf, scripted_pdf

BOMB_BYTES = 1_000 * MEGABYTE
MUTANTS = 30


@pytest.fixture(scope="module")
def settings() -> Mapping[str, str]:
    """Readers that give up soon."""
    return {"PERPLEX_INGESTION__PAGE_TIMEOUT_SECONDS": "20", "PERPLEX_INGESTION__READER_MEMORY_BYTES": "300000000"}


def test_a17_trees_without_end_or_pages_are_corrupt(server: ServerProcess, tmp_path: Path) -> None:
    files = {"circle.pdf": circular_pdf(tmp_path / "c"), "empty.pdf": pageless_pdf(tmp_path / "e")}
    found = final_documents(server, {name: path.read_bytes() for name, path in files.items()})
    assert {name: document["status"] for name, document in found.items()} == dict.fromkeys(files, "failed")
    assert all(document["failure"]["message"] for document in found.values())


def test_a18_a_stream_bomb_meets_the_readers_memory_limit(server: ServerProcess, tmp_path: Path) -> None:
    bomb = stream_bomb_pdf(tmp_path / "bomb.pdf", BOMB_BYTES).read_bytes()
    with bounded_growth(server, 200 * MEGABYTE):
        found = final_documents(server, {"bomb.pdf": bomb, "beside.txt": b"words beside the bomb"})
    assert found["bomb.pdf"]["failure"]["code"] == "memory"
    assert found["beside.txt"]["status"] == "ready"


def test_a19_a_page_without_end_meets_its_time_limit(server: ServerProcess, tmp_path: Path) -> None:
    endless = endless_pdf(tmp_path / "endless.pdf").read_bytes()
    found = final_documents(server, {"endless.pdf": endless, "beside.txt": b"words beside the loop"})
    assert found["endless.pdf"]["failure"]["code"] == "timeout"
    assert found["beside.txt"]["status"] == "ready"


def test_a20_fifty_thousand_pages_are_too_many(server: ServerProcess, tmp_path: Path) -> None:
    found = final_documents(server, {"pages.pdf": many_pages_pdf(tmp_path / "p", 50_000).read_bytes()})
    assert found["pages.pdf"]["failure"]["code"] == "too_many_pages"


def test_a21_locked_and_cut_files_say_so(server: ServerProcess, tmp_path: Path) -> None:
    locked = text_pdf(tmp_path / "locked.pdf", ["Secret words"], password="open sesame")
    whole = text_pdf(tmp_path / "whole.pdf", ["Words of a page"] * 5).read_bytes()
    files = {"locked.pdf": locked.read_bytes(), "cut.pdf": whole[:200]}
    require_failed(final_documents(server, files), **{"locked.pdf": "encrypted", "cut.pdf": "corrupt"})


def test_a22_scripts_and_actions_do_nothing(server: ServerProcess, tmp_path: Path, listener: Listener) -> None:
    found = final_documents(server, {"s.pdf": scripted_pdf(tmp_path / "s.pdf", listener.port).read_bytes()})
    page = httpx.get(f"{server.url}/api/v1/documents/{found['s.pdf']['id']}/pages/1", timeout=30).json()
    assert "Words of a page with scripts" in page["text"]
    assert "launchURL" not in page["text"]
    assert listener.calls() == 0


def test_a23_mutants_of_a_real_file_end_with_a_state(server: ServerProcess, tmp_path: Path) -> None:
    whole = text_pdf(tmp_path / "whole.pdf", ["The keeper wrote down the weather"] * 3).read_bytes()
    mutants = {f"{seed}.pdf": mutated(whole, seed) for seed in range(MUTANTS)}
    found = final_documents(server, mutants)
    assert len(found) == MUTANTS
    assert all(document["failure"]["message"] for document in found.values() if document["status"] == "failed")
    assert any(document["status"] == "ready" for document in found.values())
