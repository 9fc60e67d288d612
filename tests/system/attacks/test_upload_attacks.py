"""Attacks by upload: names, types, sizes and forms that lie."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from urllib.parse import unquote

import httpx
import pytest

from tests.documents import text_pdf
from tests.server_process import ServerProcess
from tests.system.attacks.hostile_client import (
    END_OF_FORM,
    FORM,
    MEGABYTE,
    UPLOADS,
    bounded_growth,
    final_documents,
    head,
    part,
    post_form,
    require_no_leftovers,
    require_problem,
    send_raw,
    status_of,
)

MAX_UPLOAD = 2 * MEGABYTE
MAX_FILES = 20
HOSTILE_NAMES = (
    b"../../../../tmp/escaped.txt",
    b"..\\..\\windows\\escaped.txt",
    b"/etc/cron.d/escaped",
    b"C:\\escaped.txt",
    b"file:///etc/passwd",
    b"nul\0byte.txt",
    b"..",
    b".",
    b"a" * 4_000 + b".txt",
    "invoice\u202etxt.exe".encode(),
    b"line\tbreak.txt",
    b"\xff\xfe\x80.txt",
    b"%2e%2e%2f%2e%2e%2fescaped.txt",
)


@pytest.fixture(scope="module")
def settings() -> Mapping[str, str]:
    """Limits small enough to pass them quickly."""
    return {
        "PERPLEX_LIMITS__MAX_UPLOAD_BYTES": str(MAX_UPLOAD),
        "PERPLEX_LIMITS__MAX_FILES_PER_REQUEST": str(MAX_FILES),
    }


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_a01_names_that_are_paths_are_only_shown(server: ServerProcess, name: bytes) -> None:
    answer = post_form(server, part(b"words under " + name, file_name=name) + END_OF_FORM)
    if answer.status_code != 202:
        require_problem(answer, 400, 413)
        return
    shown = answer.json()["documents"][0]["name"]
    assert shown
    assert not set(shown) & set("/\\\0\t\u202e")
    assert shown not in (".", "..")
    assert len(shown) <= 255


@pytest.mark.parametrize(
    "name", [b'a"\r\nSet-Cookie: a=b\r\n\r\n<script>', b"x\\\"; filename*=UTF-8''evil.html; y=\"", b"a\rX-Evil: 1"]
)
def test_a02_a_name_adds_no_header_to_its_download(server: ServerProcess, name: bytes) -> None:
    answer = post_form(server, part(b"header words " + name, file_name=name) + END_OF_FORM)
    if answer.status_code != 202:
        require_problem(answer, 400)
        return
    document = answer.json()["documents"][0]
    download = httpx.get(f"{server.url}/api/v1/documents/{document['id']}/file", timeout=60)
    assert download.status_code == 200
    assert "set-cookie" not in download.headers
    assert "x-evil" not in download.headers
    kind, _, shown = download.headers["content-disposition"].partition("; filename*=UTF-8''")
    assert kind == "attachment"
    assert unquote(shown) == document["name"]
    assert not set(shown) & set('"; \r\n')


def test_a03_types_that_lie_and_polyglots_end_with_a_state(
    server: ServerProcess, tmp_path_factory: pytest.TempPathFactory
) -> None:
    pdf = text_pdf(tmp_path_factory.mktemp("lies") / "a.pdf", ["Words of a page"]).read_bytes()
    found = final_documents(
        server,
        {
            "program.pdf": b"MZ\x90\0" + b"\0" * 500,
            "page.txt": pdf,
            "picture.png": b"<html><script>alert(1)</script><p>no picture</p></html>",
            "both.gif": b"GIF89a/*\x01\0\x01\0\0\0\0*/=1;alert(1)//",
            "both.zip": pdf + b"PK\x05\x06" + b"\0" * 18,
            "shell.jpg": b"#!/bin/sh\ntouch /tmp/escaped\n",
        },
    )
    assert found["page.txt"]["status"] == "ready"
    assert found["page.txt"]["media_type"] == "application/pdf"
    assert found["program.pdf"]["failure"]["code"] == "unsupported"
    for document in found.values():
        download = httpx.get(f"{server.url}/api/v1/documents/{document['id']}/file", timeout=60)
        assert download.headers["content-type"] == "application/octet-stream"


def test_a04_ten_gigabytes_are_refused_by_their_announcement(server: ServerProcess) -> None:
    announced = head(server, f"POST {UPLOADS}", f"Content-Type: {FORM}", "Content-Length: 10000000000")
    assert status_of(send_raw(server, announced)) == 413


def test_a05_a_file_larger_than_announced_stops_at_the_limit(server: ServerProcess) -> None:
    sent = []

    def endless() -> Iterator[bytes]:
        yield part(b"", file_name=b"endless.txt")[:-2]
        for _ in range(200):
            sent.append(1)
            yield b"x" * 100_000

    with bounded_growth(server, 100 * MEGABYTE), suppress(httpx.TransportError):  # it may close while we still send
        require_problem(post_form(server, endless()), 413)
    assert len(sent) < 200
    require_no_leftovers(server)


def test_a06_a_body_shorter_than_announced_is_given_up(server: ServerProcess) -> None:
    announced = head(server, f"POST {UPLOADS}", f"Content-Type: {FORM}", "Content-Length: 1000000")
    assert status_of(send_raw(server, announced, part(b"half", file_name=b"half.txt"))) == 408


def test_a07_twenty_thousand_parts_are_refused(server: ServerProcess) -> None:
    form = b"".join(part(b"x", file_name=b"%d.txt" % number) for number in range(20_000)) + END_OF_FORM
    with bounded_growth(server, 100 * MEGABYTE):
        require_problem(post_form(server, form), 413)


def test_a08_the_head_of_a_part_ends(server: ServerProcess) -> None:
    opened = f"--{FORM.partition('=')[2]}\r\nContent-Disposition: form-data; ".encode()
    for filler in (b"a" * MEGABYTE, b"x: y\r\n" * 100_000):
        require_problem(post_form(server, opened + filler), 400, 413)


def test_a09_deep_fields_and_bodies_are_refused(server: ServerProcess) -> None:
    deep = b'{"a":' * 10_000
    require_problem(post_form(server, part(deep, name="metadata") + END_OF_FORM), 400)
    for kind in ("application/json", "text/plain", FORM):
        answer = httpx.post(
            f"{server.url}/api/v1/search", content=b"[" * 100_000, headers={"Content-Type": kind}, timeout=60
        )
        require_problem(answer, 400)


def test_a10_a_body_that_is_no_form_stores_nothing(server: ServerProcess) -> None:
    for kind in ("multipart/form-data", "multipart/form-data; boundary=" + "b" * 5_000, "text/html", "multipart/mixed"):
        answer = httpx.post(
            f"{server.url}{UPLOADS}", content=b"--b\r\n\r\n", headers={"Content-Type": kind}, timeout=60
        )
        require_problem(answer, 400, 413)
