"""Which files a command line of paths means."""

import os
from pathlib import Path

import pytest

from perplex_mono.cli.file_selection import select_files
from perplex_mono.cli.source_file import SourceChanged, SourceFile
from perplex_mono.cli.uploading import batches

NOWHERE = Path("/nonexistent-data-directory")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    (root / ".git").mkdir()
    outside = tmp_path / "secret.txt"
    for path in (
        root / "b.txt",
        root / "a.txt",
        root / "sub" / "c.txt",
        root / ".hidden",
        root / ".git" / "x",
        outside,
    ):
        path.write_text(path.name)
    (root / "link.txt").symlink_to(outside)
    (root / "up").symlink_to(tmp_path)
    return root


def names(folder: Path, *, is_recursive: bool = True, exclude: Path = NOWHERE) -> list[str]:
    selection = select_files([folder], is_recursive=is_recursive, exclude=exclude)
    return [str(path.relative_to(folder)) for path in selection.files]


def test_folders_are_walked_in_order_without_hidden_entries_and_links(folder: Path) -> None:
    assert names(folder) == ["a.txt", "b.txt", "sub/c.txt"]
    selection = select_files([folder], is_recursive=True, exclude=NOWHERE)
    assert selection.passed_over == 4
    assert selection.skipped == []


def test_folders_within_are_left_out_when_asked(folder: Path) -> None:
    assert names(folder, is_recursive=False) == ["a.txt", "b.txt"]


def test_the_data_directory_is_never_ingested(folder: Path) -> None:
    assert names(folder, exclude=(folder / "sub").resolve()) == ["a.txt", "b.txt"]


def test_what_is_named_itself_is_taken_once(folder: Path) -> None:
    paths = [folder / ".hidden", folder / "link.txt", folder / "a.txt", folder / "sub" / ".." / "a.txt", folder]
    selection = select_files(paths, is_recursive=False, exclude=NOWHERE)
    assert [path.name for path in selection.files] == [".hidden", "link.txt", "a.txt", "b.txt"]


def test_pipes_and_broken_links_are_reported_not_opened(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    (folder / "gone").symlink_to(folder / "nothing")
    selection = select_files([folder / "pipe", folder / "gone", folder], is_recursive=False, exclude=NOWHERE)
    assert [item.path.name for item in selection.skipped] == ["pipe", "gone"]
    assert [path.name for path in selection.files] == ["a.txt", "b.txt"]
    with pytest.raises(OSError, match="regular"):
        SourceFile(folder / "pipe", lambda _: None)


def test_batches_keep_both_limits_and_large_files_go_alone(tmp_path: Path) -> None:
    sizes = (10, 10, 10, 500, 10, 60, 60)
    paths = [tmp_path / str(number) for number in range(len(sizes))]
    for path, size in zip(paths, sizes, strict=True):
        path.write_bytes(b"x" * size)
    found = [[int(path.name) for path in batch] for batch in batches(paths, 2, 100)]
    assert found == [[0, 1], [2], [3], [4, 5], [6]]
    assert list(batches([], 2, 100)) == []


def test_a_file_that_grows_is_read_to_the_length_it_had(tmp_path: Path) -> None:
    path = tmp_path / "growing"
    path.write_bytes(b"12345")
    counted: list[int] = []
    with SourceFile(path, counted.append) as file:
        path.write_bytes(b"1234567890")
        assert file.seek(0, os.SEEK_END) == 5
        file.seek(0)
        assert file.read(3) + file.read() + file.read(10) == b"12345"
        file.rewind()
    assert sum(counted) == 0


def test_a_file_that_shrinks_says_so(tmp_path: Path) -> None:
    path = tmp_path / "shrinking"
    path.write_bytes(b"12345")
    with SourceFile(path, lambda _: None) as file:
        path.write_bytes(b"12")
        assert file.read(2) == b"12"
        with pytest.raises(SourceChanged, match="shorter"):
            file.read(2)


def test_undecodable_names_become_text(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.txt"))
    path.write_bytes(b"x")
    with SourceFile(path, lambda _: None) as file:
        assert file.name == "caf\ufffd.txt"
