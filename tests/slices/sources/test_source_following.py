"""Documents follow their files: added, edited, renamed, copied and removed, each costing what it must and no more."""

import os
import shutil
from pathlib import Path

from tests.slices.sources.following import FollowedFolder, following, note


async def test_new_files_become_documents(tmp_path: Path) -> None:
    async with following(tmp_path) as papers:
        counts = await papers.follow({"a.txt": note("walrus"), "deep/er/b.md": "# Seals\n\n" + note("seal")})
        assert counts == {"seen": 2, "new": 2, "changed": 0, "renamed": 0, "removed": 0, "skipped": 0}
        assert await papers.names() == {"a.txt", "b.md"}
        assert await papers.found("seal") == {"b.md"}
        assert all(item["source_id"] == papers.source["id"] for item in (await papers.documents()).values())
        view = (await papers.app.client.get(papers.url)).json()
        assert (view["file_count"], view["skipped_count"]) == (2, 0)
        assert view["scanned_at"] is not None


async def test_what_is_unchanged_is_not_even_opened(tmp_path: Path) -> None:
    async with following(tmp_path) as papers:
        path = papers.write("a.txt", note("walrus"))
        await papers.add()
        await papers.scan()
        status = path.stat()
        path.write_text(note("otters"))  # the same length; only reading it could tell
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        assert (await papers.scan())["changed"] == 0
        assert await papers.found("walrus") == {"a.txt"}


async def test_an_edited_file_replaces_its_document_and_keeps_what_people_said_of_it(tmp_path: Path) -> None:
    async with following(tmp_path) as papers:
        await papers.follow({"a.txt": note("walrus")})
        old = (await papers.documents())["a.txt"]
        await papers.app.client.patch(
            f"/api/v1/documents/{old['id']}", json={"tags": ["sea"], "metadata": {"shelf": 3}}
        )
        papers.write("a.txt", note("seal") + "More.")
        counts = await papers.scan()
        assert (counts["changed"], counts["new"], counts["removed"]) == (1, 0, 0)
        new = (await papers.documents())["a.txt"]
        assert new["id"] != old["id"]
        assert (new["status"], new["tags"], new["metadata"]) == ("ready", ["sea"], {"shelf": 3})
        assert new["replaces_id"] is None
        assert await papers.found("walrus") == set()
        assert await papers.found("seal") == {"a.txt"}
        assert (await papers.app.client.get(f"/api/v1/documents/{old['id']}")).status_code == 404


async def test_the_old_version_is_found_until_the_new_one_is_ready(tmp_path: Path) -> None:
    async with following(tmp_path) as papers:
        await papers.follow({"a.txt": note("walrus")})
        papers.app.embedder.turnstile.close()
        papers.write("a.txt", note("seal") + "More.")
        await papers.app.settle(await papers.start_scan())
        await papers.app.embedder.turnstile.reached.wait()
        assert await papers.found("walrus") == {"a.txt"}
        papers.app.embedder.turnstile.open()
        await papers.settle_all()
        assert await papers.found("walrus") == set()
        assert await papers.names() == {"a.txt"}


async def test_a_version_that_fails_leaves_the_old_one_and_is_seen(tmp_path: Path) -> None:
    async with following(tmp_path) as papers:
        await papers.follow({"a.pdf": _pdf(tmp_path, "walrus")})
        papers.write("a.pdf", b"%PDF-1.7\nnothing that could be read\n" + b"x" * 900)
        await papers.scan()
        items = (await papers.app.client.get("/api/v1/collections/default/documents")).json()["items"]
        assert sorted(item["status"] for item in items) == ["failed", "ready"]
        assert await papers.found("walrus") == {"a.pdf"}
        await papers.scan()
        assert await papers.found("walrus") == {"a.pdf"}
        papers.write("a.pdf", _pdf(tmp_path, "seal"))
        await papers.scan()
        assert await papers.names() == {"a.pdf"}
        assert await papers.found("seal") == {"a.pdf"}
        assert await papers.found("walrus") == set()


async def test_edits_during_an_edit_end_in_one_version(tmp_path: Path) -> None:
    async with following(tmp_path) as papers:
        await papers.follow({"a.txt": note("walrus")})
        papers.app.embedder.turnstile.close()
        for word in ("seal", "otter", "narwhal"):
            papers.write("a.txt", note(word) + word * 3)
            await papers.app.settle(await papers.start_scan())
            assert await papers.found("walrus") == {"a.txt"}
        papers.app.embedder.turnstile.open()
        await papers.settle_all()
        assert await papers.found("narwhal") == {"a.txt"}
        assert [await papers.found(word) for word in ("walrus", "seal", "otter")] == [set()] * 3
        assert len(await papers.documents()) == 1


async def test_a_file_put_back_to_what_it_was_keeps_its_old_document(tmp_path: Path) -> None:
    async with following(tmp_path) as papers:
        await papers.follow({"a.txt": note("walrus")})
        old = (await papers.documents())["a.txt"]
        papers.app.embedder.turnstile.close()
        papers.write("a.txt", note("seal") + "More.")
        await papers.app.settle(await papers.start_scan())
        papers.write("a.txt", note("walrus"))
        await papers.app.settle(await papers.start_scan())
        papers.app.embedder.turnstile.open()
        await papers.settle_all()
        assert (await papers.documents())["a.txt"]["id"] == old["id"]
        assert await papers.found("walrus") == {"a.txt"}
        assert await papers.found("seal") == set()


async def test_renaming_a_folder_of_many_files_reads_and_embeds_nothing(tmp_path: Path) -> None:
    async with following(tmp_path) as papers:
        for number in range(150):
            papers.write(f"old/{number}.txt", note(f"walrus{number}"))
        await papers.add()
        await papers.scan()
        before = {item["id"] for item in (await papers.documents()).values()}
        embedded = await papers.metric("embedded_texts_total")
        assert embedded >= 150
        for target in ("zebra", "alpha"):  # once to where the walk comes later, once to where it comes sooner
            (papers.folder / ("old" if target == "zebra" else "zebra")).rename(papers.folder / target)
            counts = await papers.scan()
            assert counts == {"seen": 150, "new": 0, "changed": 0, "renamed": 150, "removed": 0, "skipped": 0}
        (papers.folder / "alpha/7.txt").rename(papers.folder / "alpha/seven.txt")
        assert (await papers.scan())["renamed"] == 1
        assert await papers.found("walrus7") == {"seven.txt"}
        assert await papers.metric("embedded_texts_total") == embedded
        assert await papers.metric("scanned_files_total", finding="renamed") == 301
        assert {item["id"] for item in (await papers.documents()).values()} == before


async def test_a_rename_keeps_a_name_that_somebody_gave(tmp_path: Path) -> None:
    async with following(tmp_path) as papers:
        await papers.follow({"a.txt": note("walrus")})
        document = (await papers.documents())["a.txt"]
        await papers.app.client.patch(f"/api/v1/documents/{document['id']}", json={"name": "My walrus"})
        (papers.folder / "a.txt").rename(papers.folder / "b.txt")
        await papers.scan()
        assert await papers.names() == {"My walrus"}


async def test_a_move_to_another_file_system_is_a_rename_too(tmp_path: Path) -> None:
    """There the inode is another one, and the bytes decide."""
    async with following(tmp_path) as papers:
        await papers.follow({"b.txt": note("walrus")})
        document = (await papers.documents())["b.txt"]
        for name, other in (("b.txt", "c.txt"), ("c.txt", "a.txt")):
            shutil.copyfile(papers.folder / name, papers.folder / other)
            (papers.folder / name).unlink()
            counts = await papers.scan()
            assert (counts["renamed"], counts["new"], counts["removed"]) == (1, 0, 0)
            assert (await papers.documents())[other]["id"] == document["id"]
        assert len(papers.app.embedder.calls) == 1


async def test_files_that_change_places_keep_their_documents(tmp_path: Path) -> None:
    async with following(tmp_path) as papers:
        first, second = papers.write("a.txt", note("walrus")), papers.write("b.txt", note("seal"))
        await papers.add()
        await papers.scan()
        calls = len(papers.app.embedder.calls)
        first.rename(papers.folder / "x.txt")
        second.rename(first)
        (papers.folder / "x.txt").rename(second)
        await papers.scan()
        assert len(await papers.documents()) == 2
        assert len(papers.app.embedder.calls) == calls
        files = (await papers.app.client.get(f"{papers.url}/files")).json()["items"]
        texts = [
            (await papers.app.client.get(f"/api/v1/documents/{item['document_id']}/file")).content for item in files
        ]
        assert [b"seal" in texts[0], b"walrus" in texts[1]] == [True, True]


async def test_files_that_change_places_while_they_are_ingested_are_both_found(tmp_path: Path) -> None:
    async with following(tmp_path) as papers:
        first, second = papers.write("a.txt", note("walrus")), papers.write("b.txt", note("seal"))
        await papers.add()
        papers.app.embedder.turnstile.close()
        await papers.app.settle(await papers.start_scan())
        await papers.app.embedder.turnstile.reached.wait()
        first.rename(papers.folder / "x.txt")
        second.rename(first)
        (papers.folder / "x.txt").rename(second)
        await papers.app.settle(await papers.start_scan())
        papers.app.embedder.turnstile.open()
        await papers.settle_all()
        assert await papers.found("walrus") == {"b.txt"}
        assert await papers.found("seal") == {"a.txt"}


async def test_equal_files_share_a_document_until_the_last_goes(tmp_path: Path) -> None:
    async with following(tmp_path) as papers:
        papers.write("a.txt", note("walrus"))
        papers.write("b.txt", note("walrus"))
        (papers.folder / "c.txt").hardlink_to(papers.folder / "a.txt")
        await papers.add()
        await papers.scan()
        assert len(await papers.documents()) == 1
        for name in ("a.txt", "c.txt"):
            (papers.folder / name).unlink()
            assert (await papers.scan())["removed"] == 1
            assert len(await papers.found("walrus")) == 1
        papers.write("b.txt", note("seal"))
        await papers.scan()
        assert await papers.found("walrus") == set()
        assert await papers.names() == {"b.txt"}


async def test_removed_files_take_their_documents_along(tmp_path: Path) -> None:
    async with following(tmp_path) as papers:
        for word in ("walrus", "seal", "otter"):
            papers.write(f"{word}.txt", note(word))
        await papers.add()
        await papers.scan()
        (papers.folder / "walrus.txt").unlink()
        (papers.folder / "otter.txt").unlink()
        assert (await papers.scan())["removed"] == 2
        assert await papers.names() == {"seal.txt"}
        assert await papers.found("walrus") == set()
        stored = [path.name for path in (papers.app.data / "blobs").iterdir() if path.is_file()]
        assert len(stored) == 1
        deletions = (await papers.app.client.get("/api/v1/operations?kind=delete")).json()["items"]
        assert len(deletions) == 1


async def test_what_people_uploaded_is_never_removed(tmp_path: Path) -> None:
    async with following(tmp_path) as papers:
        (before,) = await papers.app.ingest(("mine.txt", note("walrus").encode()))
        await papers.follow({"a.txt": note("walrus"), "b.txt": note("seal")})
        (after,) = await papers.app.ingest(("seal.txt", note("seal").encode()))
        assert after["name"] == "b.txt"
        (papers.folder / "a.txt").unlink()
        papers.write("b.txt", note("otter"))
        await papers.scan()
        items = (await papers.app.client.get("/api/v1/collections/default/documents")).json()["items"]
        ids = {item["id"] for item in items}
        assert {before["id"], after["id"]} < ids
        assert len(ids) == 3


async def test_a_document_that_somebody_deleted_stays_away_until_its_file_changes(tmp_path: Path) -> None:
    async with following(tmp_path) as papers:
        await papers.follow({"a.txt": note("walrus")})
        document = (await papers.documents())["a.txt"]
        await papers.app.client.delete(f"/api/v1/documents/{document['id']}")
        os.utime(papers.folder / "a.txt")
        await papers.scan()
        assert await papers.documents() == {}
        papers.write("a.txt", note("seal"))
        await papers.scan()
        assert await papers.names() == {"a.txt"}


async def test_deleting_the_new_version_deletes_the_old_one_too(tmp_path: Path) -> None:
    async with following(tmp_path) as papers:
        await papers.follow({"a.txt": note("walrus")})
        papers.app.embedder.turnstile.close()
        papers.write("a.txt", note("seal") + "More.")
        await papers.app.settle(await papers.start_scan())
        items = (await papers.app.client.get("/api/v1/collections/default/documents")).json()["items"]
        (newer,) = [item for item in items if item["replaces_id"] is not None]
        await papers.app.client.delete(f"/api/v1/documents/{newer['id']}")
        assert await papers.found("walrus") == set()
        papers.app.embedder.turnstile.open()
        await papers.settle_all()
        await papers.scan()
        assert await papers.documents() == {}


async def test_deleting_the_source_deletes_its_documents_and_no_file(tmp_path: Path) -> None:
    async with following(tmp_path) as papers:
        papers.write("a.txt", note("walrus"))
        papers.write("b.txt", note("seal"))
        await papers.app.ingest(("mine.txt", note("seal").encode()))
        await papers.add()
        await papers.scan()
        answer = await papers.app.client.delete(papers.url)
        assert answer.status_code == 202
        assert await papers.names() == {"mine.txt"}
        assert await papers.found("walrus") == set()
        assert (await papers.app.settle(answer.json()["operation_id"]))["state"] == "completed"
        assert (papers.folder / "a.txt").exists()
        assert (await papers.app.client.get(papers.url)).status_code == 404


async def test_a_document_of_two_sources_stays_with_the_other(tmp_path: Path) -> None:
    async with following(tmp_path) as papers:
        papers.write("one/a.txt", note("walrus"))
        papers.write("two/b.txt", note("walrus"))
        one, two = FollowedFolder(papers.app, papers.folder / "one"), FollowedFolder(papers.app, papers.folder / "two")
        await one.add()
        await one.scan()
        await two.add()
        await two.scan()
        await papers.app.client.delete(one.url)
        await two.settle_all()
        assert len(await two.found("walrus")) == 1
        (two.folder / "b.txt").unlink()
        await two.scan()
        assert await two.documents() == {}


async def test_a_deleted_collection_takes_its_sources_along(tmp_path: Path) -> None:
    async with following(tmp_path) as papers:
        collection = await papers.app.new_collection("sea")
        papers.write("a.txt", note("walrus"))
        url = f"/api/v1/collections/{collection}/sources"
        source = (await papers.app.client.post(url, json={"directory": str(papers.folder)})).json()
        await papers.app.settle((await papers.app.client.post(f"{url}/{source['id']}/scan")).json()["scan_id"])
        deletion = (await papers.app.client.delete(f"/api/v1/collections/{collection}")).json()["operation_id"]
        assert (await papers.app.settle(deletion))["state"] == "completed"
        assert (await papers.app.client.get(f"{url}/{source['id']}")).status_code == 404
        assert await papers.app.container.sources.list_watched() == []


def _pdf(tmp_path: Path, word: str) -> bytes:
    from tests import documents as make

    return make.text_pdf(tmp_path / "made.pdf", [note(word)]).read_bytes()
