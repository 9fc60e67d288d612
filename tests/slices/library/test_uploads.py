"""Uploads: every file judged alone, kept once, within limits, and nothing left of what was refused."""

import hashlib
import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from perplex_mono.storage.identity import new_id
from tests.app_client import App, open_app

pytestmark = pytest.mark.asyncio(loop_scope="module")
URL = "/api/v1/collections/default/documents"
LIMIT = 100_000


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def app(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[App]:
    limits = {"max_upload_bytes": LIMIT, "max_files_per_request": 10}
    async with open_app(tmp_path_factory.mktemp("uploads"), limits=limits) as opened:
        yield opened


def unique(words: str = "words") -> bytes:
    return f"Some {words} of {new_id()}.".encode()


def incoming(app: App) -> list[Path]:
    return list((app.data / "blobs" / "incoming").iterdir())


async def count(app: App, collection: str = "default") -> int:
    return int((await app.client.get(f"/api/v1/collections/{collection}")).json()["document_count"])


async def test_many_files_go_in_one_request_and_their_bytes_are_kept(app: App) -> None:
    files = [(f"{number}.txt", unique()) for number in range(10)]
    accepted = await app.upload(*files)
    assert [item["name"] for item in accepted["documents"]] == [name for name, _ in files]
    assert all((item["status"], item["duplicate_of"]) == ("received", None) for item in accepted["documents"])
    for _, content in files:
        assert (app.data / "blobs" / hashlib.sha256(content).hexdigest()).read_bytes() == content
    operation = await app.settle(accepted["operation_id"])
    assert (operation["state"], operation["done"], operation["total"]) == ("completed", 10, 10)
    assert incoming(app) == []


async def test_the_same_bytes_in_one_request_are_one_document(app: App) -> None:
    content = unique()
    before = await count(app)
    accepted = await app.upload(("a.txt", content), ("b.txt", content))
    first, second = accepted["documents"]
    assert (first["duplicate_of"], second["duplicate_of"]) == (None, first["id"])
    assert second["id"] == first["id"]
    assert await count(app) == before + 1
    await app.settle(accepted["operation_id"])


async def test_the_same_bytes_later_are_not_ingested_again(app: App) -> None:
    content = unique()
    (document,) = await app.ingest(("first.txt", content))
    accepted = await app.upload(("second.txt", content))
    assert accepted == {
        "operation_id": None,
        "documents": [{"id": document["id"], "name": "second.txt", "status": "ready", "duplicate_of": document["id"]}],
    }
    assert await app.document(document["id"]) == document


async def test_another_collection_has_its_own_document_of_the_same_bytes(app: App) -> None:
    content = unique()
    (document,) = await app.ingest(("a.txt", content))
    other = await app.new_collection(f"other {new_id()}")
    (copy,) = await app.ingest(("a.txt", content), collection=other)
    assert copy["id"] != document["id"]
    assert (copy["collection_id"], copy["status"], copy["sha256"]) == (other, "ready", document["sha256"])


async def test_a_failed_file_is_tried_again_when_it_comes_again(app: App) -> None:
    content = b"\x7fELF" + new_id().encode()
    (failed,) = await app.ingest(("program", content))
    assert failed["status"] == "failed"
    accepted = await app.upload(("program", content), ("good.txt", unique()))
    again = accepted["documents"][0]
    assert (again["id"], again["duplicate_of"], again["status"]) == (failed["id"], failed["id"], "received")
    await app.settle(accepted["operation_id"])
    document = await app.document(failed["id"])
    assert (document["status"], document["operation_id"]) == ("failed", accepted["operation_id"])


async def test_an_empty_file_fails_with_its_reason(app: App) -> None:
    (document,) = await app.ingest(("empty.txt", b""))
    assert (document["status"], document["failure"]["code"]) == ("failed", "no_text")
    assert document["size_bytes"] == 0


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ("../../etc/passwd", "passwd"),
        ("/etc/shadow.txt", "shadow.txt"),
        ("C:\\Users\\me\\report.pdf", "report.pdf"),
        ("a\u202egnp.exe", "agnp.exe"),
        ("Ünïcödé 文書.txt", "Ünïcödé 文書.txt"),
        ("e\u0301.txt", "é.txt"),
        ("..", "unnamed"),
        ("dir/", "unnamed"),
        ("x" * 4000 + ".pdf", "x" * 250 + "….pdf"),
    ],
)
async def test_names_are_made_fit_to_show(app: App, sent: str, shown: str) -> None:
    accepted = await app.upload((sent, unique()))
    assert accepted["documents"][0]["name"] == shown
    document = await app.document(accepted["documents"][0]["id"])
    assert (document["name"], len(document["name"]) <= 255) == (shown, True)
    answer = await app.client.get(f"/api/v1/documents/{document['id']}/file")
    assert answer.status_code == 200
    await app.settle(accepted["operation_id"])


async def test_tags_and_metadata_stay_with_the_document(app: App) -> None:
    tagged, listed = (
        {"tags": "red, blue ,"},
        {"tags": json.dumps(["a,b", "ü"]), "metadata": json.dumps({"n": [1, None]})},
    )
    (first,) = await app.ingest(("a.txt", unique()), **tagged)
    (second,) = await app.ingest(("b.txt", unique()), **listed)
    assert (first["tags"], first["metadata"]) == (["red", "blue"], {})
    assert (second["tags"], second["metadata"]) == (["a,b", "ü"], {"n": [1, None]})
    found = (await app.client.get(URL, params={"tag": "blue"})).json()["items"]
    assert [item["id"] for item in found] == [first["id"]]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("tags", "[1, 2]"),
        ("tags", "[" * 50_000),
        ("tags", json.dumps(["x" * 101])),
        ("metadata", "[]"),
        ("metadata", "{"),
        ("metadata", '{"a":' * 30_000),
        ("metadata", json.dumps({str(n): n for n in range(101)})),
        ("colour", "red"),
    ],
)
async def test_wrong_fields_are_named_and_nothing_is_stored(app: App, field: str, value: str) -> None:
    before = await count(app)
    answer = await app.client.post(URL, files=[("files", ("a.txt", unique()))], data={field: value})
    assert answer.status_code in (400, 413), answer.text
    assert field in answer.json()["detail"]
    assert incoming(app) == []
    assert await count(app) == before


async def test_a_file_past_the_limit_is_refused_early_and_leaves_nothing(app: App) -> None:
    sent = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal sent
        yield b'--b\r\nContent-Disposition: form-data; name="files"; filename="big.bin"\r\n\r\n'
        while sent < 50 * LIMIT:
            sent += 10_000
            yield b"x" * 10_000
        yield b"\r\n--b--\r\n"

    before = await count(app)
    answer = await app.client.post(URL, content=body(), headers={"content-type": "multipart/form-data; boundary=b"})
    assert answer.status_code == 413
    assert "big.bin" in answer.json()["detail"]
    assert "max_upload_bytes" in answer.json()["detail"]
    assert sent <= LIMIT + 20_000, "it stopped reading at the limit"
    assert incoming(app) == []
    assert await count(app) == before


async def test_a_length_that_cannot_fit_is_refused_before_a_byte(app: App) -> None:
    asked = False

    async def body() -> AsyncIterator[bytes]:
        nonlocal asked
        asked = True
        yield b"--b\r\n"

    headers = {"content-type": "multipart/form-data; boundary=b", "content-length": str(10 * 1024**3)}
    answer = await app.client.post(URL, content=body(), headers=headers)
    assert (answer.status_code, asked) == (413, False)


async def test_a_good_file_beside_one_past_the_limit_is_not_half_stored(app: App) -> None:
    before = await count(app)
    files = [("files", ("good.txt", unique())), ("files", ("big.txt", b"x" * (LIMIT + 1)))]
    assert (await app.client.post(URL, files=files)).status_code == 413
    assert await count(app) == before
    assert incoming(app) == []


async def test_a_file_of_exactly_the_limit_is_taken(app: App) -> None:
    (document,) = await app.ingest(("exact.txt", unique().ljust(LIMIT, b" ")))
    assert (document["status"], document["size_bytes"]) == ("ready", LIMIT)


async def test_too_many_files_are_refused(app: App) -> None:
    before = await count(app)
    answer = await app.client.post(URL, files=[("files", (f"{n}.txt", unique())) for n in range(11)])
    assert answer.status_code == 413
    assert "10 files" in answer.json()["detail"]
    assert (await count(app), incoming(app)) == (before, [])


async def test_thousands_of_parts_are_refused(app: App) -> None:
    part = b'--b\r\nContent-Disposition: form-data; name="tags"\r\n\r\nx\r\n'
    headers = {"content-type": "multipart/form-data; boundary=b"}
    answer = await app.client.post(URL, content=part * 20_000 + b"--b--\r\n", headers=headers)
    assert answer.status_code in (400, 413)


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("application/json", b"{}"),
        ("text/plain", b"hello"),
        ("multipart/form-data", b"no boundary"),
        ("multipart/form-data; boundary=b", b""),
        ("multipart/form-data; boundary=b", b"--b--\r\n"),
        ("multipart/form-data; boundary=b", b"no form at all"),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\ncut',
        ),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="tags"\r\n\r\nx\r\n--b--\r\n',
        ),
    ],
)
async def test_what_is_no_form_is_refused(app: App, kind: str, content: bytes) -> None:
    answer = await app.client.post(URL, content=content, headers={"content-type": kind})
    assert answer.status_code == 400, answer.text
    if "boundary=b" not in kind or content == b"--b--\r\n":
        assert "'files'" in answer.json()["detail"]
    assert incoming(app) == []


async def test_an_unknown_collection_takes_nothing(app: App) -> None:
    answer = await app.client.post(URL.replace("default", new_id()), files=[("files", ("a.txt", unique()))])
    assert answer.status_code == 404
    assert incoming(app) == []


async def test_a_full_queue_says_when_to_come_back(tmp_path: Path) -> None:
    async with open_app(tmp_path, limits={"queue_documents": 2}) as app:
        app.embedder.turnstile.close()
        accepted = await app.upload(("a.txt", unique()), ("b.txt", unique()))
        answer = await app.client.post(URL, files=[("files", ("c.txt", unique()))])
        assert answer.status_code == 429
        assert int(answer.headers["retry-after"]) > 0
        assert answer.json()["type"] == "/problems/overloaded"
        app.embedder.turnstile.open()
        await app.settle(accepted["operation_id"])
        await app.upload(("c.txt", unique()))


async def test_a_request_that_does_not_fit_into_the_queue_leaves_nothing_behind(tmp_path: Path) -> None:
    async with open_app(tmp_path, limits={"queue_documents": 2}) as app:
        app.embedder.turnstile.close()
        accepted = await app.upload(("a.txt", unique()))
        two = [("files", ("b.txt", unique())), ("files", ("c.txt", unique()))]
        refused = await app.client.post(URL, files=two)
        assert refused.status_code == 429
        assert "no room for 2 more" in refused.json()["detail"]
        assert (await app.client.post(URL, files=[*two, ("files", ("d.txt", unique()))])).status_code == 413
        assert len((await app.client.get(URL)).json()["items"]) == 1
        assert len([path for path in (app.data / "blobs").iterdir() if path.is_file()]) == 1
        app.embedder.turnstile.open()
        await app.settle(accepted["operation_id"])
        assert (await app.client.post(URL, files=two)).status_code == 202


async def test_a_full_disk_refuses_writes_and_goes_on_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the disk's figures are made up."""
    async with open_app(tmp_path, limits={"disk_reserve_bytes": 1000}) as app:
        (document,) = await app.ingest(("a.txt", b"The wherry is moored."))
        usage = type(shutil.disk_usage(tmp_path))
        with monkeypatch.context() as full:
            full.setattr(shutil, "disk_usage", lambda _: usage(100_000, 99_500, 500))
            answer = await app.client.post(URL, files=[("files", ("b.txt", unique()))])
            assert (answer.status_code, answer.json()["type"]) == (507, "/problems/storage-full")
            assert (await app.document(document["id"]))["status"] == "ready"
            assert await app.names_found("wherry", mode="sparse") == ["a.txt"]
        (later,) = await app.ingest(("b.txt", unique()))
        assert later["status"] == "ready"
