"""A full disk is known by any of its names, however deep, and looking for it always comes to an end."""

import errno

import pytest

from perplex_mono.errors import StorageFull, Unavailable, causes
from perplex_mono.storage.disk_full import is_disk_full


def _caused(error: BaseException, cause: BaseException) -> BaseException:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "x"),
        OSError(errno.EDQUOT, "x"),
        StorageFull("x"),
        RuntimeError("lance error: No space left on device"),
        _caused(RuntimeError("outer"), _caused(ValueError("middle"), OSError(errno.ENOSPC, "x"))),
    ],
)
def test_by_any_name_and_behind_other_errors(error: BaseException) -> None:
    assert is_disk_full(error)


@pytest.mark.parametrize("error", [None, OSError(errno.EROFS, "x"), Unavailable("index", "read-only")])
def test_nothing_else_is_taken_for_it(error: BaseException | None) -> None:
    assert not is_disk_full(error)


@pytest.mark.timeout(10)
def test_a_chain_that_bites_its_own_tail_ends() -> None:
    alone = RuntimeError("read-only")
    _caused(alone, alone)
    first, second = RuntimeError("a"), RuntimeError("b")
    _caused(first, _caused(second, first))
    assert not is_disk_full(alone)
    assert not is_disk_full(first)
    assert list(causes(first)) == [first, second]
