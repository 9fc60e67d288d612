"""Parts of a folder that cannot be seen for a while keep their documents."""

import errno
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import select

from perplex_mono.sources import walking
from perplex_mono.sources.models import SourceFile
from tests.slices.sources.following import FollowedFolder, following, note


class UnreadableEntry:
    """A directory entry whose status cannot be had; `knows_kind` as on file systems whose listings say it."""

    def __init__(self, real: os.DirEntry[str], *, knows_kind: bool) -> None:
        self._real = real
        self._knows_kind = knows_kind
        self.name = real.name
        self.path = real.path

    def is_symlink(self) -> bool:
        return self._kind(self._real.is_symlink)

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        return self._kind(lambda: self._real.is_dir(follow_symlinks=follow_symlinks))

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        raise OSError(errno.ESTALE, "Stale file handle")

    def _kind(self, tell: Callable[[], bool]) -> bool:
        if not self._knows_kind:
            raise OSError(errno.ESTALE, "Stale file handle")
        return tell()


def make_unreadable(patch: pytest.MonkeyPatch, name: str, *, knows_kind: bool) -> None:
    """Entries of this name cannot be looked at any more."""
    entries = walking._entries

    def listing(folder: str) -> list[Any]:
        return [UnreadableEntry(each, knows_kind=knows_kind) if each.name == name else each for each in entries(folder)]

    patch.setattr(walking, "_entries", listing)


@pytest.mark.parametrize("knows_kind", [True, False])
@pytest.mark.parametrize("include", [[], ["*.txt"]])
async def test_a_folder_that_cannot_be_looked_at_keeps_its_documents(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, include: list[str], knows_kind: bool
) -> None:
    async with following(tmp_path) as papers:
        papers.write("top.txt", note("seal"))
        papers.write("sub-1.txt", note("gannet"))
        papers.write("sub/a.txt", note("walrus"))
        papers.write("sub/deep/b.txt", note("otter"))
        await papers.add(include=include)
        await papers.scan()
        before = await papers.documents()
        with monkeypatch.context() as patch:
            make_unreadable(patch, "sub", knows_kind=knows_kind)
            assert (await papers.scan())["removed"] == 0
        assert (await papers.skipped())["sub/"] == "it cannot be looked at: Stale file handle"
        assert (await papers.scan())["new"] == 0
        assert await papers.skipped() == {}
        after = await papers.documents()
        assert {name: item["id"] for name, item in after.items()} == {name: item["id"] for name, item in before.items()}


async def test_a_folder_that_nobody_wants_is_not_told_as_unreadable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with following(tmp_path) as papers:
        papers.write("top.txt", note("seal"))
        papers.write("sub/a.txt", note("walrus"))
        await papers.add(exclude=["sub"])
        make_unreadable(monkeypatch, "sub", knows_kind=True)
        await papers.scan()
        assert await papers.skipped() == {}


@pytest.mark.parametrize("knows_kind", [True, False])
async def test_a_file_that_cannot_be_looked_at_keeps_its_document(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, knows_kind: bool
) -> None:
    async with following(tmp_path) as papers:
        await papers.follow({"a.txt": note("walrus")})
        with monkeypatch.context() as patch:
            make_unreadable(patch, "a.txt", knows_kind=knows_kind)
            assert (await papers.scan())["removed"] == 0
        assert await papers.names() == {"a.txt"}
        await papers.scan()
        assert await papers.skipped() == {}


async def test_what_lies_behind_a_link_that_cannot_be_followed_for_now_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with following(tmp_path) as papers:
        papers.write("real/a.txt", note("walrus"))
        papers.write("b.txt", note("seal"))
        (papers.folder / "also").symlink_to("real")
        (papers.folder / "also.txt").symlink_to("b.txt")
        await papers.add(exclude=["real", "b.txt"])
        await papers.scan()
        resolve = os.path.realpath

        def fail(path: Any, **options: Any) -> Any:
            if Path(path).name in ("also", "also.txt"):
                raise OSError(errno.EIO, "Input/output error")
            return resolve(path, **options)

        with monkeypatch.context() as patch:
            patch.setattr(os.path, "realpath", fail)
            assert (await papers.scan())["removed"] == 0
        assert await papers.names() == {"a.txt", "also.txt"}
        await papers.scan()
        assert await papers.skipped() == {}


async def pretend_another_device(papers: FollowedFolder, prefix: bytes) -> None:
    """What lies below lay on a file system that is nowhere to be seen now."""
    async with papers.app.container.operations._database.write() as session:
        rows = (await session.exec(select(SourceFile))).all()
        for row in (row for row in rows if row.path.startswith(prefix)):
            device, _, inode = row.identity.partition(":")
            row.identity = f"{int(device) + 1_000_000}:{inode}"


async def warnings_of_a_scan(papers: FollowedFolder) -> list[tuple[str, str]]:
    scan_id = await papers.start_scan()
    assert (await papers.app.settle(scan_id))["state"] == "completed"
    await papers.settle_all()
    events = await papers.app.events(scan_id)
    return [(event["data"]["name"], event["data"]["message"]) for event in events if event["type"] == "warning"]


async def test_files_of_a_file_system_that_is_not_mounted_stay(tmp_path: Path) -> None:
    async with following(tmp_path) as papers:
        for name in ("nas/a.txt", "nas/deep/b.txt", "gone.txt", "top.txt"):
            papers.write(name, note(name))
        await papers.add()
        await papers.scan()
        await pretend_another_device(papers, b"nas/")
        shutil.rmtree(papers.folder / "nas")
        (papers.folder / "nas").mkdir()
        (papers.folder / "gone.txt").unlink()
        for _ in range(2):
            ((name, message),) = await warnings_of_a_scan(papers)
            assert name == "nas/a.txt"
            assert message.startswith("2 files")
            assert "not mounted" in message
            assert await papers.names() == {"a.txt", "b.txt", "top.txt"}
        await papers.app.settle((await papers.app.client.delete(papers.url)).json()["operation_id"])
        assert await papers.names() == set()


async def test_files_that_moved_here_from_a_file_system_that_is_gone_are_renamed(tmp_path: Path) -> None:
    async with following(tmp_path) as papers:
        await papers.follow({"nas/a.txt": note("walrus")})
        (before,) = (await papers.documents()).values()
        await pretend_another_device(papers, b"nas/")
        papers.write("here/b.txt", note("walrus"))
        shutil.rmtree(papers.folder / "nas")
        assert await warnings_of_a_scan(papers) == []
        (after,) = (await papers.documents()).values()
        assert (after["id"], after["name"]) == (before["id"], "b.txt")


@contextmanager
def mounted(folder: Path) -> Iterator[Callable[[], None]]:
    """A file system of its own at this folder; yields what unmounts it."""
    folder.mkdir(parents=True)
    if subprocess.run(["mount", "-t", "tmpfs", "none", str(folder)], capture_output=True, check=False).returncode:
        pytest.skip("nothing may be mounted here")
    is_mounted = True

    def unmount() -> None:
        nonlocal is_mounted
        if is_mounted:
            subprocess.run(["umount", str(folder)], check=True)
            is_mounted = False

    try:
        yield unmount
    finally:
        unmount()


async def test_a_file_system_that_is_unmounted_keeps_its_documents_and_loses_what_was_deleted(tmp_path: Path) -> None:
    with mounted(tmp_path / "root" / "papers" / "nas") as unmount:
        async with following(tmp_path) as papers:
            for name in ("nas/a.txt", "nas/b.txt", "top.txt"):
                papers.write(name, note(name))
            await papers.add()
            await papers.scan()
            (papers.folder / "nas" / "b.txt").unlink()
            assert (await papers.scan())["removed"] == 1
            unmount()
            assert (await papers.scan())["removed"] == 0
            assert await papers.names() == {"a.txt", "top.txt"}


async def test_a_file_system_that_goes_away_during_the_scan_keeps_its_documents(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nas = tmp_path / "root" / "papers" / "nas"
    with mounted(nas) as unmount:
        async with following(tmp_path) as papers:
            papers.write("nas/a.txt", note("walrus"))
            papers.write("top.txt", note("seal"))
            await papers.add()
            await papers.scan()
            entries = walking._entries

            def unmount_first(folder: str) -> list[os.DirEntry[str]]:
                if folder == str(nas):
                    unmount()
                return entries(folder)

            monkeypatch.setattr(walking, "_entries", unmount_first)
            assert (await papers.scan())["removed"] == 0
            assert await papers.names() == {"a.txt", "top.txt"}
