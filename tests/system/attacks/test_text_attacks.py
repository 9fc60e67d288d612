"""Attacks by text and HTML: scripts, nesting without end, lines without end, bytes that are no text."""

from collections.abc import Mapping

import httpx
import pytest

from tests.server_process import ServerProcess
from tests.system.attacks.hostile_client import MEGABYTE, Listener, bounded_growth, final_documents, require_problem

LINE_BYTES = 8 * MEGABYTE


@pytest.fixture(scope="module")
def settings() -> Mapping[str, str]:
    """Room for one long line and no more."""
    return {"PERPLEX_LIMITS__MAX_UPLOAD_BYTES": str(LINE_BYTES), "PERPLEX_INGESTION__PAGE_TIMEOUT_SECONDS": "20"}


def _pages(server: ServerProcess, document: dict[str, str]) -> str:
    return str(httpx.get(f"{server.url}/api/v1/documents/{document['id']}/pages/1", timeout=30).json()["text"])


def test_a29_scripts_and_handlers_are_no_words(server: ServerProcess, listener: Listener) -> None:
    address = f"http://127.0.0.1:{listener.port}"
    page = (
        f'<html><head><script src="{address}/a.js">evilscript()</script><style>@import "{address}"; evilstyle</style>'
        f'<meta http-equiv="refresh" content="0; url={address}"><base href="{address}/">'
        '<link rel="stylesheet" href="b"></head>'
        f'<body onload="evilhandler()"><p>Harbour words</p><img src="{address}/i.png" onerror="evilhandler()">'
        f'<iframe src="{address}" srcdoc="<script>evilframe()</script>"></iframe><object data="{address}"></object>'
        "<template><script>eviltemplate()</script></template><noscript><p>plain</p></noscript></body></html>"
    )
    found = final_documents(server, {"a.html": page.encode()})
    text = _pages(server, found["a.html"])
    assert "Harbour words" in text
    assert "evil" not in text
    assert listener.calls() == 0


def test_a30_a_hundred_thousand_nested_tags_end_with_a_state(server: ServerProcess) -> None:
    files = {
        "div.html": b"<html><body>" + b"<div>" * 100_000 + b"deep words",
        "table.html": b"<html><body>" + b"<table><tr><td>" * 30_000 + b"deep words",
        "quote.md": b"# Words\n" + b">" * 100_000 + b" deep words\n",
        "deep.json": b"[" * 100_000 + b"]" * 100_000,
        "list.md": b"".join(b" " * number + b"- x\n" for number in range(1_000)),
    }
    with bounded_growth(server, 200 * MEGABYTE):
        found = final_documents(server, files)
    assert set(found) == set(files)


def test_a31_one_line_as_long_as_a_file_may_be_is_cut_into_passages(server: ServerProcess) -> None:
    with bounded_growth(server, 600 * MEGABYTE):
        found = final_documents(server, {"line.txt": b"x" * LINE_BYTES})
        found |= final_documents(server, {"blank.txt": b" " * LINE_BYTES})
    assert all(document["status"] in ("ready", "failed") for document in found.values())
    longer = [("files", ("longer.txt", b"x" * (LINE_BYTES + 1)))]
    require_problem(httpx.post(f"{server.url}/api/v1/collections/default/documents", files=longer, timeout=60), 413)


def test_a32_bytes_that_are_no_text_do_no_harm(server: ServerProcess) -> None:
    files = {
        "nul.txt": b"words\0with\0nuls",
        "utf16.txt": "sixteen words".encode("utf-16"),
        "broken.txt": b"broken \xff\xfe\x80\xc3 words",
        "surrogate.json": b'{"a": "\\ud800 words"}',
        "escape.txt": b"words \x1b]0;title\x07\x1b[2J with escapes",
        "rtl.txt": "words \u202e and their way".encode(),
        "overlong.txt": b"words \xc0\xaf\xe0\x80\xaf overlong",
    }
    found = final_documents(server, files)
    assert "sixteen words" in _pages(server, found["utf16.txt"])
    for document in found.values():
        assert document["status"] == "ready" or document["failure"]["message"]
        if document["status"] == "ready":
            assert "\0" not in _pages(server, document)
