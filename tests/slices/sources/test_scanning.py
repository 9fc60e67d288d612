"""What a scan does not read, and how it bears interruption, full queues and folders that vanish."""

import asyncio
import os
import socket
from pathlib import Path
from typing import Any

import pytest
from loguru import logger
from sqlmodel import func, select

from perplex_mono.library.models import Document
from perplex_mono.operations.models import Operation
from perplex_mono.sources.comparing import FolderScan
from perplex_mono.sources.models import Source, SourceFile
from perplex_mono.sources.receiving import FileReceiver
from perplex_mono.sources.recording import ScanRecorder
from perplex_mono.sources.walking import FoundFile
from tests.slices.sources.following import SOURCES, FollowedFolder, following, note

WORDS = ("walrus", "seal", "otter", "narwhal", "gannet", "puffin", "plover", "heron")


async def act(papers: FollowedFolder, action: str, operation_id: str, status: int = 200) -> dict[str, Any]:
    answer = await papers.app.client.post(f"/api/v1/operations/{operation_id}/{action}")
    assert answer.status_code == status, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def child_of(papers: FollowedFolder, scan_id: str) -> Operation:
    async with asyncio.timeout(20), papers.app.container.operations._database.read() as session:
        while True:
            child = (await session.exec(select(Operation).where(Operation.parent_id == scan_id))).first()
            if child is not None:
                return child
            await asyncio.sleep(0.02)


async def count(papers: FollowedFolder, table: type[Document] | type[SourceFile]) -> int:
    async with papers.app.container.operations._database.read() as session:
        return (await session.exec(select(func.count()).select_from(table))).one()


async def test_what_cannot_be_read_is_skipped_with_the_reason(tmp_path: Path) -> None:
    async with following(tmp_path, limits={"max_upload_bytes": 50_000}) as papers:
        papers.write("good.txt", note("walrus"))
        papers.write("empty.txt", "")
        papers.write("large.txt", "x" * 50_001)
        papers.write("program.exe", b"\x7fELF" + b"\0" * 600)
        papers.write(".hidden/secret.txt", note("secret"))
        papers.write("~$good.docx", "lock")
        (tmp_path / "outside.txt").write_text(note("outsider"))
        (tmp_path / "outer").mkdir()
        (papers.folder / "leak.txt").symlink_to(tmp_path / "outside.txt")
        (papers.folder / "outer").symlink_to(tmp_path / "outer")
        (papers.folder / "broken.txt").symlink_to("nowhere.txt")
        (papers.folder / "loop").symlink_to(papers.folder)
        (papers.folder / "same.txt").symlink_to("good.txt")
        os.mkfifo(papers.folder / "pipe.txt")
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(papers.folder / "socket.txt"))
        await papers.add()
        counts = await papers.scan()
        skipped = await papers.skipped()
        assert {path: reason.split(":")[0] for path, reason in skipped.items()} == {
            "broken.txt": "the link leads nowhere, or in a circle",
            "empty.txt": "the file is empty",
            "large.txt": "it has 50001 bytes; at most 50000 are taken (limits.max_upload_bytes)",
            "leak.txt": "the link leads out of the folder",
            "loop/": "it contains itself",
            "outer": "the link leads out of the folder",
            "pipe.txt": "it is a pipe, not a file",
            "program.exe": "This is a program, not a document. Programs are never read.",
            "socket.txt": "it is a socket, not a file",
        }
        assert counts["skipped"] == len(skipped)
        assert await papers.names() == {"good.txt"}
        assert await papers.found("outsider") == await papers.found("secret") == set()
        again = await papers.scan()
        assert (again["skipped"], again["new"], again["changed"]) == (len(skipped), 0, 0)


async def test_skips_are_told_as_warnings_once(tmp_path: Path) -> None:
    async with following(tmp_path) as papers:
        papers.write("empty.txt", "")
        (papers.folder / "program.exe").write_bytes(b"MZ" + bytes(100))
        await papers.add()
        told = []
        for _ in range(2):
            scan_id = await papers.start_scan()
            await papers.app.settle(scan_id)
            told += [event["data"] for event in await papers.app.events(scan_id) if event["type"] == "warning"]
        assert told == [
            {"name": "empty.txt", "message": "Skipped: the file is empty."},
            {"name": "program.exe", "message": "Skipped: This is a program, not a document. Programs are never read."},
        ]
        papers.write("empty.txt", note("walrus"))
        await papers.scan()
        assert set(await papers.skipped()) == {"program.exe"}
        assert await papers.names() == {"empty.txt"}


async def test_links_inside_the_folder_are_followed_once(tmp_path: Path) -> None:
    async with following(tmp_path) as papers:
        papers.write("real/a.txt", note("walrus"))
        (papers.folder / "also").symlink_to(papers.folder / "real")
        (papers.folder / "real" / "up").symlink_to("..")
        await papers.add()
        await papers.scan()
        assert await papers.names() == {"a.txt"}
        files = (await papers.app.client.get(f"{papers.url}/files?status=document")).json()["items"]
        assert [item["path"] for item in files] == ["also/a.txt"]
        assert await papers.skipped() == {
            "also/up/": "it contains itself",
            "real/": "its files are read as 'also/' already",
        }


async def test_names_that_are_not_utf8_are_read_too(tmp_path: Path) -> None:
    async with following(tmp_path) as papers:
        path = os.fsencode(papers.folder) + b"/caf\xe9.txt"
        try:
            Path(os.fsdecode(path)).write_text(note("walrus"))
        except OSError:
            pytest.skip("this file system takes only UTF-8 names")
        await papers.add()
        assert (await papers.scan())["new"] == 1
        assert len(await papers.found("walrus")) == 1
        assert (await papers.scan())["new"] == 0
        files = (await papers.app.client.get(f"{papers.url}/files")).json()["items"]
        assert [item["path"] for item in files] == ["caf\N{REPLACEMENT CHARACTER}.txt"]


async def test_a_folder_that_cannot_be_listed_keeps_its_documents(tmp_path: Path, monkeypatch: Any) -> None:
    """Root may list everything, so the failure is made."""
    async with following(tmp_path) as papers:
        await papers.follow({"a.txt": note("walrus"), "shut/b.txt": note("seal")})
        listing = os.scandir

        def refuse(path: str) -> Any:
            if str(path).endswith("/shut"):
                raise PermissionError(13, "Permission denied", path)
            return listing(path)

        monkeypatch.setattr(os, "scandir", refuse)
        assert (await papers.scan())["removed"] == 0
        assert await papers.skipped() == {"shut/": "the folder cannot be read: Permission denied"}
        assert await papers.names() == {"a.txt", "b.txt"}
        monkeypatch.undo()
        await papers.scan()
        assert await papers.skipped() == {}


async def test_a_file_that_changes_while_it_is_read_waits_for_the_next_scan(tmp_path: Path, monkeypatch: Any) -> None:
    """Such a moment cannot be met on purpose, so the file is changed between its two looks."""
    async with following(tmp_path) as papers:
        await papers.follow({"a.txt": note("walrus")})
        papers.write("a.txt", note("seal") * 2)
        receive = FileReceiver._copy

        async def change(self: FileReceiver, file: FoundFile, opened: Any) -> Any:
            with Path(file.place).open("a") as writing:
                writing.write(" and more")
            return await receive(self, file, opened)

        monkeypatch.setattr(FileReceiver, "_copy", change)
        assert (await papers.scan())["skipped"] == 1
        assert await papers.found("walrus") == {"a.txt"}
        assert "changed while it was read" in (await papers.skipped())["a.txt"]
        monkeypatch.undo()
        assert (await papers.scan())["changed"] == 1
        assert await papers.found("seal") == {"a.txt"}
        assert await papers.skipped() == {}
        assert list((papers.app.data / "blobs" / "incoming").iterdir()) == []


async def test_globs_and_depth_choose_the_files(tmp_path: Path) -> None:
    async with following(tmp_path) as papers:
        for name in ("a.txt", "b.md", "drafts/c.txt", "deep/d.TXT", "deep/e.md"):
            papers.write(name, note(f"word{name}"))
        await papers.add(include=["*.txt"], exclude=["drafts/**"])
        await papers.scan()
        assert await papers.names() == {"a.txt", "d.TXT"}
        await papers.app.client.delete(papers.url)
        await papers.settle_all()
        await papers.add(recursive=False)
        await papers.scan()
        assert await papers.names() == {"a.txt", "b.md"}


async def test_no_folder_is_read_that_was_not_allowed(tmp_path: Path) -> None:
    async with following(tmp_path) as papers:
        (papers.folder / "out").symlink_to(tmp_path)
        (papers.folder / "dangling").symlink_to(tmp_path / "nothing")
        (tmp_path / "rootless").mkdir()
        (tmp_path / "file.txt").write_text("x")
        forbidden: list[dict[str, Any]] = [
            {"directory": path}
            for path in (
                "/",
                "/etc",
                str(tmp_path),
                str(tmp_path / "rootless"),
                f"{papers.folder}/../..",
                f"{papers.folder}/../papers",
                str(papers.folder / "out"),
                str(papers.folder / "out" / "missing"),
                str(papers.folder / "dangling"),
                str(tmp_path / "missing"),
                str(tmp_path / "file.txt"),
                f"{papers.folder}\0b",
                str(papers.app.data),
            )
        ]
        texts: set[str] = set()
        for body in forbidden:
            answer = await papers.app.client.post(SOURCES, json=body)
            assert answer.status_code == 404, body
            assert answer.json()["type"] == "/problems/not-found"
            texts.add(answer.json()["detail"].replace(f"'{body['directory']}'", "PATH"))
        (text,) = texts
        assert "sources.roots" in text
        assert str(papers.folder.parent) not in text
        assert (await papers.app.client.get(SOURCES)).json()["items"] == []


async def test_what_is_wrong_with_a_folder_that_may_be_read_is_told(tmp_path: Path, monkeypatch: Any) -> None:
    """Root may list everything, so that failure is made."""
    async with following(tmp_path) as papers:
        file = papers.write("a.txt", "x")
        shut = papers.write("shut/a.txt", "x").parent
        (papers.folder / "loop").symlink_to(papers.folder / "loop")
        listing = os.scandir

        def refuse(path: str) -> Any:
            if str(path).endswith("/shut"):
                raise PermissionError(13, "Permission denied", path)
            return listing(path)

        monkeypatch.setattr(os, "scandir", refuse)
        for path, status, said in (
            (str(papers.folder / "missing"), 404, "does not exist"),
            (str(file / "below"), 404, "does not exist"),
            (str(file), 400, "is a file"),
            (str(shut), 503, "cannot be read (Permission denied)"),
            (str(papers.folder / "loop"), 503, "cannot be read"),
            ("papers", 400, "give an absolute path"),
            ("~", 400, "give an absolute path"),
        ):
            answer = await papers.app.client.post(SOURCES, json={"directory": path})
            assert (answer.status_code, said in answer.json()["detail"]) == (status, True), answer.text
            assert f"'{path}'" in answer.json()["detail"]
        assert (await papers.app.client.get(SOURCES)).json()["items"] == []


async def test_a_bad_glob_is_named_with_what_is_right(tmp_path: Path) -> None:
    async with following(tmp_path) as papers:
        for glob in ("../*", "/etc/*", "a/../../*", "~/*", "[a.txt", " ", ""):
            for key in ("include", "exclude"):
                answer = await papers.app.client.post(SOURCES, json={"directory": str(papers.folder), key: [glob]})
                assert (answer.status_code, answer.json()["type"]) == (400, "/problems/invalid-input"), glob
                assert glob in answer.json()["detail"]
                assert "glob" in answer.json()["detail"].lower()
        assert (await papers.app.client.get(SOURCES)).json()["items"] == []


async def test_without_allowed_folders_the_answer_names_the_setting(tmp_path: Path) -> None:
    async with following(tmp_path, sources={"roots": []}) as papers:
        answer = await papers.app.client.post(SOURCES, json={"directory": str(papers.folder)})
        assert answer.status_code == 400
        assert "sources.roots" in answer.json()["detail"]
        assert "the server started again" in answer.json()["detail"]


async def test_roots_that_are_no_folders_are_warned_of(tmp_path: Path) -> None:
    (tmp_path / "file.txt").write_text("x")
    roots = [str(tmp_path), str(tmp_path / "missing"), str(tmp_path / "file.txt"), "~nobody-of-that-name/x"]
    warned: list[str] = []
    async with following(tmp_path, sources={"roots": roots}) as papers:
        log = logger.add(lambda message: warned.append(message.record["extra"].get("root", "")), level="WARNING")
        try:
            await papers.app.container.sources.warn_of_missing_roots()
        finally:
            logger.remove(log)
    assert [root for root in warned if root] == roots[1:]


async def test_bad_requests_are_problems_and_leave_nothing(tmp_path: Path) -> None:
    async with following(tmp_path) as papers:
        unknown = "0197a2b4-6c1e-7d3f-9a51-2f6f0e8b7c11"
        await papers.add()
        answers = [
            await papers.app.client.get(f"{SOURCES}/{unknown}"),
            await papers.app.client.get(f"{SOURCES}/{unknown}/files"),
            await papers.app.client.post(f"{SOURCES}/{unknown}/scan"),
            await papers.app.client.delete(f"{SOURCES}/{unknown}"),
            await papers.app.client.get(f"/api/v1/collections/{unknown}/sources"),
            await papers.app.client.post(f"/api/v1/collections/{unknown}/sources/{papers.source['id']}/scan"),
        ]
        assert [answer.status_code for answer in answers] == [404] * len(answers)
        assert all(answer.headers["content-type"] == "application/problem+json" for answer in answers)
        again = await papers.app.client.post(SOURCES, json={"directory": str(papers.folder)})
        assert again.status_code == 409
        cursor = await papers.app.client.get(f"{papers.url}/files?cursor=%21")
        assert cursor.status_code == 400
        assert (await papers.app.client.get("/api/v1/operations")).json()["items"] == []


async def test_files_are_listed_in_pages(tmp_path: Path) -> None:
    async with following(tmp_path) as papers:
        folder = "a folder whose name is longer than most names of folders are" * 3
        for word in WORDS:
            papers.write(f"{folder}/{word}.txt", note(word))
        await papers.add()
        await papers.scan()
        paths: list[str] = []
        cursor: str | None = None
        while cursor is not None or not paths:
            parameters = {"limit": "3"} | ({"cursor": cursor} if cursor else {})
            page = (await papers.app.client.get(f"{papers.url}/files", params=parameters)).json()
            paths += [item["path"] for item in page["items"]]
            cursor = page["next_cursor"]
        assert [path for path in paths if path.endswith(".txt")] == sorted(f"{folder}/{word}.txt" for word in WORDS)


async def test_a_file_whose_document_failed_says_why(tmp_path: Path) -> None:
    async with following(tmp_path) as papers:
        await papers.follow(
            {
                "a.txt": note("walrus"),
                "broken.pdf": b"%PDF-1.7\nnothing that could be read\n" + b"x" * 900,
                "empty.txt": "",
            }
        )
        broken = (await papers.documents())["broken.pdf"]
        assert broken["status"] == "failed"
        (failed,) = (await papers.app.client.get(f"{papers.url}/files?status=failed")).json()["items"]
        assert (failed["path"], failed["document_status"]) == ("broken.pdf", "failed")
        assert failed["reason"] == broken["failure"]["message"] != ""
        everything = (await papers.app.client.get(f"{papers.url}/files")).json()["items"]
        assert [item["reason"] is None for item in everything] == [True, False, False]
        view = (await papers.app.client.get(papers.url)).json()
        assert (view["file_count"], view["skipped_count"], view["failed_count"]) == (3, 1, 1)


async def test_a_folder_that_vanished_removes_nothing(tmp_path: Path) -> None:
    async with following(tmp_path) as papers:
        await papers.follow({"a.txt": note("walrus")})
        away = papers.folder.rename(papers.folder.with_name("away"))
        operation = await papers.app.settle(await papers.start_scan())
        assert operation["state"] == "failed"
        assert str(papers.folder) in operation["error"]["message"]
        assert await papers.names() == {"a.txt"}
        away.rename(papers.folder)
        assert (await papers.scan())["removed"] == 0


async def test_a_scan_that_failed_is_told_by_its_source_and_in_the_log(tmp_path: Path) -> None:
    lines: list[str] = []
    async with following(tmp_path) as papers:
        papers.write("a.txt", note("walrus"))
        assert (await papers.add())["last_scan"] is None
        await papers.scan()
        whole = (await papers.app.client.get(SOURCES)).json()["items"][0]
        assert (whole["last_scan"]["state"], whole["last_scan"]["error"]) == ("completed", None)
        papers.folder.rename(papers.folder.with_name("away"))
        log = logger.add(
            lambda message: lines.append(f"{message.record['message']} {message.record['extra']}"), level="WARNING"
        )
        try:
            operation = await papers.app.settle(await papers.start_scan())
        finally:
            logger.remove(log)
        for view in (
            (await papers.app.client.get(papers.url)).json(),
            (await papers.app.client.get(SOURCES)).json()["items"][0],
        ):
            assert view["last_scan"] == {key: operation[key.replace("operation_", "")] for key in view["last_scan"]}
            assert view["last_scan"]["error"]["message"].startswith(f"The folder '{papers.folder}' is not available")
            assert view["scanned_at"] == whole["scanned_at"]
    assert [line for line in lines if "scan.failed" in line and str(papers.folder) in line]


async def test_files_that_were_away_for_a_broken_scan_are_not_read_again(tmp_path: Path, monkeypatch: Any) -> None:
    async with following(tmp_path) as papers:
        for word in WORDS:
            papers.write(f"sub/{word}.txt", note(word))
        await papers.follow({"z.txt": note("zander")})
        monkeypatch.setattr(ScanRecorder, "remove_missing", _fall_over)
        (papers.folder / "sub").rename(tmp_path / "away")
        scan_id = await papers.start_scan()
        await papers.app.next_event(scan_id, "retrying")
        (tmp_path / "away").rename(papers.folder / "sub")
        monkeypatch.undo()
        monkeypatch.setattr(FileReceiver, "receive", _fall_over)
        assert (await papers.app.settle(scan_id))["state"] == "completed"
        await papers.settle_all()
        assert await papers.names() == {f"{word}.txt" for word in WORDS} | {"z.txt"}


async def _fall_over(*_: Any) -> None:
    raise RuntimeError("the lamp fell over")


async def test_a_folder_that_vanishes_during_the_scan_removes_nothing(tmp_path: Path, monkeypatch: Any) -> None:
    async with following(tmp_path) as papers:
        await papers.follow({"a.txt": note("walrus")})
        listing = os.scandir

        def list_and_move_away(path: str) -> Any:
            entries = listing(path)
            if str(path) == str(papers.folder):
                papers.folder.rename(papers.folder.with_name("away"))
            return entries

        monkeypatch.setattr(os, "scandir", list_and_move_away)
        operation = await papers.app.settle(await papers.start_scan())
        monkeypatch.undo()
        assert operation["state"] == "failed"
        assert await papers.names() == {"a.txt"}
        assert await papers.found("walrus") == {"a.txt"}


async def test_an_empty_mount_point_removes_nothing(tmp_path: Path) -> None:
    """After unmounting, the folder is there and empty, and on another device."""
    async with following(tmp_path) as papers:
        file = papers.write("a.txt", note("walrus"))
        await papers.add()
        await papers.scan()
        file.unlink()
        async with papers.app.container.operations._database.write() as session:
            source = (await session.exec(select(Source))).one()
            source.device = (source.device or 0) + 1
        operation = await papers.app.settle(await papers.start_scan())
        assert operation["state"] == "failed"
        assert "not mounted" in operation["error"]["message"]
        assert await papers.names() == {"a.txt"}


async def test_a_full_queue_makes_the_scan_wait_and_not_fail(tmp_path: Path) -> None:
    async with following(tmp_path, limits={"queue_documents": 4}) as papers:
        scan_id = await papers.begin_held_scan(WORDS)
        await asyncio.sleep(0.6)
        assert 2 <= await count(papers, Document) <= 4
        papers.app.embedder.turnstile.open()
        assert (await papers.app.settle(scan_id))["state"] == "completed"
        await papers.settle_all()
        assert await papers.names() == {f"{word}.txt" for word in WORDS}
        operations = (await papers.app.client.get("/api/v1/operations?kind=ingest")).json()["items"]
        assert [(item["state"], item["done"], item["total"]) for item in operations] == [("completed", 8, 8)]


async def test_documents_of_a_paused_operation_take_no_room(tmp_path: Path) -> None:
    async with following(tmp_path, limits={"queue_documents": 4}) as papers:
        papers.app.embedder.turnstile.close()
        uploaded = await papers.app.upload(*[(f"{word}.txt", note(word).encode()) for word in WORDS[:3]])
        await papers.app.embedder.turnstile.reached.wait()
        await act(papers, "pause", uploaded["operation_id"])
        papers.app.embedder.turnstile.open()
        papers.write("a.txt", note("alder"))
        await papers.add()
        scan_id = await papers.start_scan()
        assert (await papers.app.settle(scan_id))["state"] == "completed"
        assert (await papers.app.settle((await child_of(papers, scan_id)).id))["state"] == "completed"
        assert await papers.names() == {"a.txt"}


async def test_a_scan_that_waits_for_room_is_not_taken_for_a_stalled_one(tmp_path: Path) -> None:
    limits = {"queue_documents": 2, "operation_stall_seconds": 3.0}
    async with following(tmp_path, limits=limits, ingestion={"lease_seconds": 5.0}) as papers:
        scan_id = await papers.begin_held_scan(WORDS)
        child = (await child_of(papers, scan_id)).id
        async with asyncio.timeout(120):  # the ingestion stands still, and is found to, twice
            while True:
                if [event["type"] for event in await papers.app.events(child)].count("retrying") >= 2:
                    break
                await asyncio.sleep(0.1)
        assert "retrying" not in {event["type"] for event in await papers.app.events(scan_id)}
        papers.app.embedder.turnstile.open()
        assert (await papers.app.settle(scan_id))["state"] == "completed"
        await papers.settle_all()
        assert await papers.names() == {f"{word}.txt" for word in WORDS}


async def test_pause_resume_and_cancel_reach_the_ingestion(tmp_path: Path) -> None:
    async with following(tmp_path, limits={"queue_documents": 4}) as papers:
        scan_id = await papers.begin_held_scan(WORDS)
        child = (await child_of(papers, scan_id)).id
        refused = await act(papers, "cancel", child, 409)
        assert scan_id in refused["detail"]
        await act(papers, "pause", scan_id)
        assert (await papers.app.client.get(f"/api/v1/operations/{child}")).json()["state"] == "paused"
        papers.app.embedder.turnstile.close()
        await act(papers, "resume", scan_id)
        await papers.app.embedder.turnstile.reached.wait()
        await act(papers, "cancel", scan_id)
        assert (await papers.app.client.get(f"/api/v1/operations/{child}")).json()["state"] == "cancelled"
        papers.app.embedder.turnstile.open()
        await papers.scan()
        assert await papers.names() == {f"{word}.txt" for word in WORDS}
        assert {item["status"] for item in (await papers.documents()).values()} == {"ready"}


async def test_a_cancelled_scan_can_be_retried(tmp_path: Path) -> None:
    async with following(tmp_path, limits={"queue_documents": 4}) as papers:
        scan_id = await papers.begin_held_scan(WORDS)
        await act(papers, "cancel", scan_id)
        papers.app.embedder.turnstile.open()
        await act(papers, "retry", scan_id)
        assert (await papers.app.settle(scan_id))["state"] == "completed"
        await papers.settle_all()
        assert await papers.names() == {f"{word}.txt" for word in WORDS}


async def test_a_scan_whose_server_ends_goes_on_at_the_next_start(tmp_path: Path) -> None:
    async with following(tmp_path, limits={"queue_documents": 4}) as papers:
        scan_id = await papers.begin_held_scan(WORDS)
        source = papers.source
    async with following(tmp_path) as papers:
        papers.source = source
        assert (await papers.app.settle(scan_id))["state"] == "completed"
        await papers.settle_all()
        assert await papers.names() == {f"{word}.txt" for word in WORDS}
        assert await count(papers, Document) == await count(papers, SourceFile) == len(WORDS)


async def test_an_attempt_that_breaks_in_the_middle_does_nothing_twice(tmp_path: Path, monkeypatch: Any) -> None:
    async with following(tmp_path, limits={"queue_documents": 4}) as papers:
        for word in WORDS:
            papers.write(f"{word}.txt", note(word))
        await papers.add()
        take_up = FolderScan._take_up
        calls = 0

        async def break_once(self: FolderScan, files: Any) -> None:
            nonlocal calls
            calls += 1
            if calls == 3:
                raise RuntimeError("the lamp fell over")
            await take_up(self, files)

        monkeypatch.setattr(FolderScan, "_take_up", break_once)
        scan_id = await papers.start_scan()
        assert (await papers.app.settle(scan_id))["state"] == "completed"
        await papers.settle_all()
        assert "retrying" in {event["type"] for event in await papers.app.events(scan_id)}
        assert await papers.names() == {f"{word}.txt" for word in WORDS}
        assert sum(len(call) for call in papers.app.embedder.calls) == sum(
            item["chunk_count"] for item in (await papers.documents()).values()
        )


async def test_one_scan_waits_and_serves_everyone_who_asks(tmp_path: Path) -> None:
    async with following(tmp_path, limits={"queue_documents": 2}) as papers:
        for word in WORDS:
            papers.write(f"{word}.txt", note(word))
        await papers.add()
        papers.app.embedder.turnstile.close()
        first = await papers.start_scan()
        await papers.app.embedder.turnstile.reached.wait()
        later = [await papers.start_scan() for _ in range(3)]
        assert len({first, *later}) == 2
        papers.app.embedder.turnstile.open()
        await papers.settle_all()
        assert await papers.names() == {f"{word}.txt" for word in WORDS}
        ended, began = (await papers.app.events(first))[-1], (await papers.app.events(later[0]))[1]
        assert (ended["type"], began["type"]) == ("completed", "started")
        assert ended["seq"] < began["seq"], "two scans of one source never run side by side"


async def test_a_second_scan_of_a_source_keeps_no_other_source_waiting(tmp_path: Path) -> None:
    async with following(tmp_path, limits={"queue_documents": 2}) as papers:
        for word in WORDS:
            papers.write(f"{word}.txt", note(word))
        await papers.add()
        papers.app.embedder.turnstile.close()
        first = await papers.start_scan()
        await papers.app.embedder.turnstile.reached.wait()
        second = await papers.start_scan()
        letters = FollowedFolder(papers.app, papers.folder.with_name("letters"))
        letters.write("a.txt", note("letter"))
        await letters.add()
        await papers.app.next_event(await letters.start_scan(), "started")
        states = [
            (await papers.app.client.get(f"/api/v1/operations/{each}")).json()["state"] for each in (first, second)
        ]
        assert states == ["running", "queued"]
        papers.app.embedder.turnstile.open()
        await papers.settle_all()
        assert await papers.names() == {f"{word}.txt" for word in WORDS} | {"a.txt"}


async def test_deleting_the_source_ends_its_scan(tmp_path: Path) -> None:
    async with following(tmp_path, limits={"queue_documents": 4}) as papers:
        scan_id = await papers.begin_held_scan(WORDS)
        await papers.app.client.delete(papers.url)
        papers.app.embedder.turnstile.open()
        await papers.settle_all()
        assert (await papers.app.client.get(f"/api/v1/operations/{scan_id}")).json()["state"] == "cancelled"
        assert await count(papers, Document) == await count(papers, SourceFile) == 0
