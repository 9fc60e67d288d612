"""Requests nobody friendly sends, over real sockets: each gets a problem that says what is wrong, never a 500."""

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.server_process import ServerProcess, running_server
from tests.system.attacks.hostile_client import require_no_leftovers

UPLOADS = "/api/v1/collections/default/documents"
BOUNDARY = "frontier"
FORM = f"multipart/form-data; boundary={BOUNDARY}"
OWN_WORD = "quokkabadger"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One server for all attacks, with a document to find."""
    with running_server(tmp_path_factory.mktemp("hostile"), {"PERPLEX_LIMITS__BODY_IDLE_SECONDS": "0.5"}) as started:
        started.wait_ready()
        accepted = started.upload(("report.txt", f"A report about the {OWN_WORD} and its habits.".encode()))
        started.wait_operation(accepted["operation_id"])
        yield started
        lines = [json.loads(line) for line in started.log().splitlines()]
        assert not [line for line in lines if line["level"] == "ERROR"]


def part(name: str, content: bytes, file_name: str | None = None) -> bytes:
    """One part of a form."""
    file = f'; filename="{file_name}"' if file_name is not None else ""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'
    return head.encode() + content + b"\r\n"


def send(server: ServerProcess, head: str, body: bytes = b"") -> tuple[int, dict[str, str], Any]:
    """Bytes as they are; status, headers and JSON of what comes back. The client keeps its side open."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as client:
        client.sendall(head.replace("\n", "\r\n").encode("latin-1") + b"\r\n" + body)
        received = b""
        while b"\r\n\r\n" not in received:
            received += client.recv(65536)
        top, _, rest = received.partition(b"\r\n\r\n")
        lines = top.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        while len(rest) < int(headers["content-length"]):
            rest += client.recv(65536)
    return int(lines[0].split()[1]), headers, json.loads(rest)


def require_problem(answer: httpx.Response, *statuses: int) -> None:
    """A client's mistake is answered as RFC 9457 says, with an id to quote."""
    assert answer.status_code in statuses, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-request-id"]
    assert answer.json()["status"] == answer.status_code


def incoming(server: ServerProcess) -> list[Path]:
    """Temporary files of uploads."""
    return list((server.data / "blobs" / "incoming").iterdir())


@pytest.mark.parametrize("mode", ["sparse", "hybrid"])
@pytest.mark.parametrize(
    "query", [f'"{OWN_WORD}"', '"habits report"', '""', f'{OWN_WORD} AND (NOT +x -y ~2 ^3 [a TO b] "']
)
def test_a_query_is_words_whatever_its_punctuation(server: ServerProcess, query: str, mode: str) -> None:
    found = server.search(query, mode=mode)
    if query != '""':
        assert OWN_WORD in found["hits"][0]["text"]


@pytest.mark.parametrize(
    "body",
    [
        {"query": "x", "filters": {"created_after": "0001-01-01T00:00:00+14:00"}},
        {"query": "x", "filters": {"created_before": "9999-12-31T23:59:59-14:00"}},
        {"query": "x", "filters": {"created_before": "2026-01-01T00:00:00"}},
        {"query": "x", "unknown": 1},
        {"query": "x" * 4097},
        {"query": "x", "limit": 1001},
    ],
)
def test_a_search_that_cannot_be_is_refused(server: ServerProcess, body: dict[str, Any]) -> None:
    require_problem(httpx.post(f"{server.url}/api/v1/search", json=body, timeout=60), 400)


@pytest.mark.parametrize("content_type", ["application/json", "Application/JSON", "text/plain", ""])
def test_deep_json_is_refused_whatever_it_calls_itself(server: ServerProcess, content_type: str) -> None:
    answer = httpx.post(
        f"{server.url}/api/v1/search", content=b"[" * 100_000, headers={"Content-Type": content_type}, timeout=60
    )
    require_problem(answer, 400)
    assert "64 levels" in answer.json()["detail"]


def test_a_large_body_is_refused_by_its_announcement(server: ServerProcess) -> None:
    head = "POST /api/v1/search HTTP/1.1\nHost: localhost\nContent-Type: application/json\nContent-Length: 2000000\n"
    status, _, problem = send(server, head)
    assert (status, problem["type"]) == (413, "/problems/too-large")


@pytest.mark.parametrize(
    "path", ["operations/{operation}/events?after=9223372036854775808", "documents/{document}/pages/9999999999"]
)
def test_numbers_too_large_for_the_database_are_refused(server: ServerProcess, path: str) -> None:
    document = server.documents()[-1]
    path = path.format(operation=document["operation_id"], document=document["id"])
    require_problem(httpx.get(f"{server.url}/api/v1/{path}", timeout=60), 400)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("tags", b'["\\ud800"]'),
        ("tags", b'["a\\u0000b"]'),
        ("tags", b"[" * 60_000),
        ("metadata", b'{"a":' * 900 + b"1" + b"}" * 900),
        ("metadata", b'{"a\\ud800": 1}'),
        ("metadata", json.dumps({str(number): 1 for number in range(101)}).encode()),
    ],
)
def test_fields_that_could_not_be_shown_again_are_refused(server: ServerProcess, field: str, value: bytes) -> None:
    body = part("files", value, "x.txt") + part(field, value) + f"--{BOUNDARY}--\r\n".encode()
    answer = httpx.post(f"{server.url}{UPLOADS}", content=body, headers={"Content-Type": FORM}, timeout=60)
    require_problem(answer, 400)
    assert incoming(server) == []


@pytest.mark.parametrize("name", ["a\0b", "   ", "\u202e", "line\nbreak"])
def test_a_collection_has_a_name_that_can_be_shown(server: ServerProcess, name: str) -> None:
    require_problem(httpx.post(f"{server.url}/api/v1/collections", json={"name": name}, timeout=60), 400)


def test_an_upload_that_falls_silent_is_told_so(server: ServerProcess) -> None:
    head = f"POST {UPLOADS} HTTP/1.1\nHost: localhost\nContent-Type: {FORM}\nContent-Length: 100000\n"
    status, headers, problem = send(server, head, part("files", b"half a file", "half.txt"))
    assert (status, problem["type"]) == (408, "/problems/body-timeout")
    assert headers["content-type"] == "application/problem+json"
    assert headers["x-request-id"]
    assert incoming(server) == []


def test_an_upload_whose_client_leaves_is_no_failure_of_the_server(server: ServerProcess) -> None:
    head = f"POST {UPLOADS} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {FORM}\r\nContent-Length: 100000\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as client:
        client.sendall(head.encode() + part("files", b"half a file", "half.txt"))
    require_no_leftovers(server)


@pytest.mark.parametrize(
    "extra",
    [
        "Host: evil.example\nHost: localhost\n",
        "Host: localhost\nHost: evil.example\n",
        "Host: evil.example@localhost\n",
        "Host: localhost\nOrigin: http://evil.example\nOrigin: http://localhost\n",
        "Host: localhost\nOrigin: http://localhost\nOrigin: http://evil.example\n",
        "Host: localhost\nOrigin: null\n",
        "Host: 2130706433\n",
        "Host: 127.0.0.1.evil.example\n",
        "Host: localhost\nX-Forwarded-For: 127.0.0.1\n",
    ],
)
def test_what_is_not_plainly_local_is_refused(server: ServerProcess, extra: str) -> None:
    status, headers, _ = send(server, f"GET /api/v1/collections HTTP/1.1\n{extra}")
    assert status == 403
    assert headers["content-type"] == "application/problem+json"


def test_what_a_client_sends_cannot_forge_a_log_line(server: ServerProcess) -> None:
    forged = 'x"}%0a{"level": "CRITICAL", "event": "forged"}'
    httpx.get(f"{server.url}/{forged}", headers={"X-Request-ID": '"}forged', "User-Agent": '"}forged'}, timeout=60)
    deadline = time.monotonic() + 30
    while not (found := [line for line in map(json.loads, server.log().splitlines()) if "forged" in str(line)]):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    (line,) = found
    assert (line["event"], line["status"]) == ("http.request", 404)
    assert "forged" in line["path"]


def test_head_answers_as_get_without_a_body(server: ServerProcess) -> None:
    document = server.documents()[-1]
    for path in ("/health", f"/api/v1/documents/{document['id']}/file"):
        got, headed = httpx.get(f"{server.url}{path}", timeout=60), httpx.head(f"{server.url}{path}", timeout=60)
        assert headed.status_code == 200
        assert headed.content == b""
        assert headed.headers["content-type"] == got.headers["content-type"]


def test_a_document_can_be_summarized(server: ServerProcess) -> None:
    document = server.documents()[-1]
    answer = httpx.post(f"{server.url}/api/v1/documents/{document['id']}/summary", timeout=30)
    assert OWN_WORD in answer.json()["summary"]
