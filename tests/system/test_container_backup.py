"""Backup and restore in a container and on Kubernetes, line by line as the page has them; both are a folder here."""

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.container_operator import SCALE_DOWN, SCALE_UP, START, STOP, Operator, sh_blocks
from tests.kubectl_stand_in import SERVER
from tests.server_process import ServerProcess

PAGE = (Path(__file__).parents[2] / "docs" / "backup.md").read_text(encoding="utf-8")
PASSWORD = "a long walk along the canal"
AFTERWARDS = "the path on the other bank"


def shown_lines(heading: str) -> tuple[list[str], list[str]]:
    """The lines of the page below the heading that back up, and those that restore."""
    backup, restore = sh_blocks(re.split(r"\n##", PAGE.split(f"\n### {heading}\n", 1)[1])[0])
    return backup, restore


def shown_day(restore: list[str]) -> str:
    """The date and time in the name of the file that is restored."""
    (day,) = re.findall(r"< library-(\S+)\.tar", "\n".join(restore))
    return str(day)


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


def begun(server: ServerProcess, operator: Operator, inside: str) -> str:
    """A key for backups of a library with a document; `inside` begins what is typed to run beside the server."""
    accepted = server.upload(("heron.txt", b"The heron waded here. " * 30))
    server.wait_operation(accepted["operation_id"])
    operator.types(f"{inside} perplex-mono user setup ada --password-file -", PASSWORD)
    make = "perplex-mono key create backups --scope read --scope admin --login ada --password-file -"
    return operator.types(f"{inside} {make}", PASSWORD).strip()


def require_restored(server: ServerProcess, operator: Operator, backup: list[str], restore: list[str]) -> None:
    """What the one block saved, the other brings back after it was deleted, and neither leaves anything behind."""
    for _ in range(2):  # the second one finds no name taken
        for line in backup:
            operator.types(line)
    (saved,) = operator.folder.glob("library*")
    assert saved.stat().st_mode & 0o777 == 0o600
    assert list(server.data.glob("library*")) == []
    headers = authorised(server, PASSWORD)
    (document,) = httpx.get(f"{server.url}/api/v1/collections/default/documents", headers=headers).json()["items"]
    assert httpx.delete(f"{server.url}/api/v1/documents/{document['id']}", headers=headers).is_success
    assert found(server, "heron", headers) == []

    for line in restore:
        answers = [AFTERWARDS, AFTERWARDS] if line.endswith("--password") else []
        operator.types(line, *answers)
    server.wait_ready()
    assert found(server, "heron", authorised(server, AFTERWARDS)) == ["heron.txt"]
    assert list(server.data.glob("library*")) == []


def require_seen_to_be_cut_off(server: ServerProcess, operator: Operator, backup: str) -> None:
    """What came out of the pod short is not taken for a backup, and is there to be fetched again."""
    cut_off = backup.replace("cat /data/library.tar >", "head --bytes 5000 /data/library.tar >")
    assert cut_off != backup
    refused = operator.tries(cut_off)
    assert (refused.returncode, "library.tar: FAILED" in refused.stdout) == (1, True)
    assert list(operator.folder.glob("library-*")) == []
    (server.data / "library.tar").unlink()


def test_what_was_backed_up_by_the_page_is_found_after_its_restore(server: ServerProcess, tmp_path: Path) -> None:
    backup, restore = shown_lines("In a container")
    operator = Operator(tmp_path, server, shown_day(restore))
    key = begun(server, operator, "docker compose exec -T perplex")
    operator.environment["PERPLEX_API_KEY"] = key
    assert [line for line in restore if line in (STOP, START)] == [STOP, START]
    require_restored(server, operator, backup, restore)


def test_what_was_backed_up_on_kubernetes_is_found_after_its_restore(server: ServerProcess, tmp_path: Path) -> None:
    backup, restore = shown_lines("On Kubernetes")
    operator = Operator(tmp_path, server, shown_day(restore))
    key = begun(server, operator, f"kubectl --namespace {SERVER} exec --stdin deployment/{SERVER} --")
    (operator.folder / "backup-key").write_text(f"{key}\n")
    assert [line for line in restore if line in (SCALE_DOWN, SCALE_UP)] == [SCALE_DOWN, SCALE_UP]
    require_seen_to_be_cut_off(server, operator, *backup)
    require_restored(server, operator, backup, restore)
    assert list(server.data.parent.glob("*.scaled-up")) == [], "the maintenance pod is gone"
