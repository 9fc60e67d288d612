"""Files are handed over in batches; what goes wrong with one costs only that one."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from perplex_mono.cli.source_file import SourceFile
from perplex_mono.cli.uploading import Uploader
from perplex_mono.errors import NotFound, Overloaded, PerplexError, TooLarge, Unavailable
from perplex_mono.library.schemas import UploadAccepted
from tests.unit.cli.scripted_backend import ScriptedBackend


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    found = [tmp_path / f"{number}.txt" for number in range(5)]
    for path in found:
        path.write_text(f"content of {path.name}")
    return found


class Counted:
    """An uploader and what it reported."""

    def __init__(self, backend: ScriptedBackend, max_files: int = 3) -> None:
        self.total = 0
        self.waits: list[str] = []
        self.uploader = Uploader(
            backend,
            "c",
            ["tag"],
            max_files=max_files,
            max_bytes=1_000_000,
            on_bytes=self._count,
            on_wait=self.waits.append,
            retry_seconds=(0.0, 0.0),
        )

    def _count(self, count: int) -> None:
        self.total += count


def sizes(paths: Sequence[Path]) -> int:
    return sum(path.stat().st_size for path in paths)


async def test_all_files_arrive_whole_in_batches(paths: list[Path]) -> None:
    backend = ScriptedBackend()
    counted = Counted(backend)
    result = await counted.uploader.upload(paths)
    assert backend.uploads == [["0.txt", "1.txt", "2.txt"], ["3.txt", "4.txt"]]
    assert backend.stored_bytes == {path.name: path.read_bytes() for path in paths}
    assert result.operation_ids == ["op-1", "op-2"]
    assert [(path, document.id) for path, document in result.documents] == [(p, f"d-{p.name}") for p in paths]
    assert counted.total == sizes(paths)


async def test_a_refused_file_is_refused_alone(paths: list[Path]) -> None:
    backend = ScriptedBackend(refuse=lambda names: TooLarge("It is too large.") if "1.txt" in names else None)
    counted = Counted(backend)
    result = await counted.uploader.upload(paths)
    assert sorted(backend.stored_bytes) == ["0.txt", "2.txt", "3.txt", "4.txt"]
    assert [(item.path.name, item.reason) for item in result.skipped] == [("1.txt", "It is too large.")]
    assert counted.total == sizes(paths) - paths[1].stat().st_size


async def test_a_file_that_vanished_is_skipped(paths: list[Path]) -> None:
    paths[2].unlink()
    result = await Counted(ScriptedBackend()).uploader.upload(paths)
    assert [item.path.name for item in result.skipped] == ["2.txt"]
    assert len(result.documents) == 4


async def test_a_file_that_shrinks_while_it_is_sent_is_skipped_and_the_others_sent_again(paths: list[Path]) -> None:
    class Shrinking(ScriptedBackend):
        async def upload(self, collection_id: str, files: Sequence[SourceFile], tags: Sequence[str]) -> UploadAccepted:
            paths[1].write_text("")
            return await super().upload(collection_id, files, tags)

    backend = Shrinking()
    result = await Counted(backend).uploader.upload(paths)
    assert [item.path.name for item in result.skipped] == ["1.txt"]
    assert sorted(backend.stored_bytes) == ["0.txt", "2.txt", "3.txt", "4.txt"]


async def test_a_broken_connection_is_tried_again_from_the_start_of_the_batch(paths: list[Path]) -> None:
    errors: list[PerplexError | None] = [Unavailable("server", "it broke"), Overloaded("full", 0), None, None]
    backend = ScriptedBackend(refuse=lambda _: errors.pop(0))
    counted = Counted(backend)
    result = await counted.uploader.upload(paths)
    assert backend.stored_bytes == {path.name: path.read_bytes() for path in paths}
    assert counted.waits == ["server is not available: it broke", "full"]
    assert counted.total == sizes(paths)
    assert len(result.documents) == 5


async def test_a_server_that_stays_away_ends_it_and_what_was_kept_is_known(paths: list[Path]) -> None:
    answers: list[PerplexError | None] = [None]
    backend = ScriptedBackend(refuse=lambda _: answers.pop(0) if answers else Unavailable("server", "gone"))
    counted = Counted(backend)
    with pytest.raises(Unavailable):
        await counted.uploader.upload(paths)
    assert len(backend.uploads) == 1 + 3
    assert [document.name for _, document in counted.uploader.result.documents] == ["0.txt", "1.txt", "2.txt"]


async def test_a_missing_collection_is_an_error_not_a_bad_file(paths: list[Path]) -> None:
    backend = ScriptedBackend(refuse=lambda _: NotFound("collection", "c"))
    with pytest.raises(NotFound):
        await Counted(backend).uploader.upload(paths)
    assert len(backend.uploads) == 1
