"""Only what may pass is tried again, later each time, and never all at the same moment."""

import random

import pytest

from perplex_mono import errors
from perplex_mono.operations.retries import _IS_TRANSIENT, RETRY_SECONDS, is_transient, retry_pause_seconds


def test_every_kind_of_error_is_judged() -> None:
    kinds = {kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.PerplexError)}
    assert set(_IS_TRANSIENT) == kinds - {errors.PerplexError}


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (errors.NotFound("index", "x"), False),
        (errors.Conflict("another model"), False),
        (errors.InvalidInput("no such thing"), False),
        (errors.ConfigurationError("a wrong setting"), False),
        (errors.DataCorrupt("the hash is another"), False),
        (errors.Unavailable("index", "it is being opened"), True),
        (errors.StorageFull("no room"), True),
        (errors.Overloaded("a full queue"), True),
        (errors.Stalled("nothing done"), True),
        (OSError("a hiccup"), True),
        (RuntimeError("a driver's words"), True),
    ],
)
def test_what_cannot_pass_is_not_tried_again(error: Exception, expected: bool) -> None:
    assert is_transient(error) is expected


def test_a_more_special_error_is_judged_as_its_kind() -> None:
    class Renamed(errors.Conflict):
        """A kind of conflict."""

    assert not is_transient(Renamed("still a conflict"))


@pytest.mark.parametrize("attempt", [0, 1, 2, 3, 9])
def test_pauses_grow_and_are_spread_over_the_upper_half_of_their_step(attempt: int) -> None:
    step = RETRY_SECONDS[min(max(attempt, 1), 3) - 1]
    assert (retry_pause_seconds(attempt, lambda: 0.0), retry_pause_seconds(attempt, lambda: 1.0)) == (step / 2, step)
    seeded = random.Random(7)
    pauses = {retry_pause_seconds(attempt, seeded.random) for _ in range(50)}
    assert len(pauses) > 40
    assert all(step / 2 <= pause <= step for pause in pauses)
