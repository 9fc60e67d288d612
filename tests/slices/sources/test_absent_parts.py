"""Parts of a folder that cannot be seen for a while keep their documents."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from perplex_mono.sources import walking
from tests.slices.sources.following import following


def note(word: str) -> str:
    return f"The {word} was seen from the harbour wall again. " * 12


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
        papers.write("a.txt", note("walrus"))
        await papers.add()
        await papers.scan()
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
