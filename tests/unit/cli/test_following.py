"""An operation is followed to its end, every event once and in order, whatever the connection does."""

import pytest

from perplex_mono.cli.following import follow
from perplex_mono.errors import NotFound, Unavailable
from perplex_mono.operations.schemas import Envelope
from tests.unit.cli.scripted_backend import ScriptedBackend, event, operation

SEVEN = [
    event(3, "queued"),
    event(4, "started"),
    event(6, "page_done"),
    event(7, "progress", done=1, total=2),
    event(9, "page_done"),
    event(10, "document_done"),
    event(12, "completed"),
]


async def followed(backend: ScriptedBackend, give_up_seconds: float = 30.0) -> list[int | str]:
    return [
        item.seq if isinstance(item.seq, int) else item.type
        async for item in follow(backend, "op", give_up_seconds=give_up_seconds)
    ]


NUMBERS = [3, 4, 6, 7, 9, 10, 12]


async def test_a_finished_operation_is_told_from_what_is_stored() -> None:
    backend = ScriptedBackend(stored=SEVEN)
    assert await followed(backend) == NUMBERS
    assert backend.live_from == []


async def test_stored_events_come_first_and_the_feed_goes_on_after_them() -> None:
    backend = ScriptedBackend(stored=SEVEN[:3], feeds=[SEVEN[3:]])
    assert await followed(backend) == NUMBERS
    assert backend.live_from == [6]


async def test_a_dropped_feed_is_taken_up_where_it_broke() -> None:
    backend = ScriptedBackend(feeds=[SEVEN[:2], SEVEN[2:5], SEVEN[5:]])
    assert await followed(backend) == NUMBERS
    assert backend.live_from == [0, 4, 9]


async def test_without_any_feed_events_are_polled() -> None:
    class Growing(ScriptedBackend):
        async def live(self, operation_id: str, after: int):  # type: ignore[no-untyped-def]  # as in the base class
            self.stored.append(SEVEN[len(self.stored)])
            return
            yield

    assert await followed(Growing()) == NUMBERS


async def test_a_server_that_comes_back_is_followed_on() -> None:
    backend = ScriptedBackend(stored=SEVEN[:2], feeds=[[], SEVEN[2:]])
    backend.failures = [Unavailable("server", "restarting")] * 3
    assert await followed(backend) == NUMBERS


async def test_a_server_that_stays_away_is_given_up() -> None:
    backend = ScriptedBackend()
    backend.failures = [Unavailable("server", "gone")] * 1000
    with pytest.raises(Unavailable):
        await followed(backend, give_up_seconds=0.5)


async def test_an_unknown_operation_is_an_error_at_once() -> None:
    backend = ScriptedBackend()
    backend.failures = [NotFound("operation", "op")]
    with pytest.raises(NotFound):
        await followed(backend)


async def test_an_operation_that_was_retried_is_followed_past_its_first_end() -> None:
    tale = [event(1, "queued"), event(2, "failed"), event(3, "queued"), event(4, "started"), event(5, "completed")]
    assert await followed(ScriptedBackend(stored=tale)) == [1, 2, 3, 4, 5]


async def test_a_snapshot_of_an_ended_operation_is_the_end() -> None:
    """What the server sends when the events are too old to be kept."""
    gap = Envelope(type="gap", time=SEVEN[0].time, data={"after": 0}, operation_id="op")
    done = {"id": "op", "state": operation("completed").state}
    snapshot = Envelope(type="snapshot", time=SEVEN[0].time, data={"operations": [done]}, operation_id="op")
    assert await followed(ScriptedBackend(feeds=[[gap, snapshot]])) == ["gap", "snapshot"]
