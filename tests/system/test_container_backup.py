"""Backup and restore in a container, line by line as the page has them; for want of an engine it is a folder."""

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.container_operator import START, STOP, Operator, sh_blocks
from tests.server_process import ServerProcess

PAGE = (Path(__file__).parents[2] / "docs" / "backup.md").read_text(encoding="utf-8")
PASSWORD = "a long walk along the canal"
AFTERWARDS = "the path on the other bank"


def shown_lines() -> tuple[list[str], list[str]]:
    """The lines of the page that back up in a container, and those that restore."""
    backup, restore = sh_blocks(PAGE.split("\n### In a container\n", 1)[1].split("\n## ", 1)[0])
    return backup, restore


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    container = tmp_path / "container"
    container.mkdir()
    process = ServerProcess(container, {"PERPLEX_QUEUE__EMBEDDED_REDIS": "false"})
    process.start()
    yield process
    process.stop()


def authorised(server: ServerProcess, password: str) -> dict[str, str]:
    """What a user who has logged in sends."""
    answer = httpx.post(f"{server.url}/api/v1/auth/login", json={"name": "ada", "password": password}, timeout=30)
    assert answer.status_code == 200, answer.text
    return {"Authorization": f"Bearer {answer.json()['access_token']}"}


def found(server: ServerProcess, word: str, headers: dict[str, str]) -> list[str]:
    """The names of the documents that have the word."""
    body = {"query": word, "mode": "sparse"}
    answer = httpx.post(f"{server.url}/api/v1/search", json=body, headers=headers, timeout=60)
    assert answer.status_code == 200, answer.text
    return sorted({hit["document"]["name"] for hit in answer.json()["hits"]})


def test_what_was_backed_up_by_the_page_is_found_after_its_restore(server: ServerProcess, tmp_path: Path) -> None:
    (day,) = re.findall(r"< library-(\S+)\.tar", PAGE)
    operator = Operator(tmp_path, server, day)
    accepted = server.upload(("heron.txt", b"The heron waded here. " * 30))
    server.wait_operation(accepted["operation_id"])
    operator.types("docker compose exec perplex perplex-mono user setup ada --password-file -", PASSWORD)
    make = "docker compose exec -T perplex perplex-mono key create backups --scope read --scope admin"
    key = operator.types(f"{make} --login ada --password-file -", PASSWORD)
    operator.environment["PERPLEX_API_KEY"] = key.strip()
    backup, restore = shown_lines()

    for _ in range(2):  # the second one finds no name taken
        for line in backup:
            operator.types(line)
    (saved,) = operator.folder.iterdir()
    assert saved.stat().st_mode & 0o777 == 0o600
    del operator.environment["PERPLEX_API_KEY"]  # no restore needs it

    headers = authorised(server, PASSWORD)
    (document,) = httpx.get(f"{server.url}/api/v1/collections/default/documents", headers=headers).json()["items"]
    assert httpx.delete(f"{server.url}/api/v1/documents/{document['id']}", headers=headers).is_success
    assert found(server, "heron", headers) == []

    assert [line for line in restore if line in (STOP, START)] == [STOP, START]
    for line in restore:
        answers = [AFTERWARDS, AFTERWARDS] if line.endswith("--password") else []
        operator.types(line, *answers)
    server.wait_ready()
    assert found(server, "heron", authorised(server, AFTERWARDS)) == ["heron.txt"]
    assert list(server.data.glob("library*")) == []
