"""The five seconds that docs/security.md promises, on a clock that no slow machine can stretch."""

import asyncio
import selectors
from typing import Any

from perplex_mono.web.callers import Caller
from perplex_mono.web.sockets import CHECK_SECONDS, CLOSE_TIMEOUT_SECONDS, CLOSE_UNAUTHENTICATED, SocketHub
from tests.unit.web.test_socket_hub import ScriptedSocket, serve

PROMISED_SECONDS = 5.0
GOOD_LOOKS = 3


class LeapingSelector(selectors.SelectSelector):
    """Does not wait for a timer, but notes that the time has passed."""

    now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        self.now += max(0.0, timeout or 0.0)
        return super().select(0)


class LeapingLoop(asyncio.SelectorEventLoop):
    """Its time is what the timers add up to."""

    def __init__(self) -> None:
        self._leaping = LeapingSelector()
        super().__init__(self._leaping)

    def time(self) -> float:
        return self._leaping.now


async def looks_and_closing() -> tuple[list[float], float]:
    """When the hub looked at a caller whose right ends right after a look, and when it closed its feed."""
    loop, looks, socket = asyncio.get_running_loop(), list[float](), ScriptedSocket()

    async def is_valid(_: Caller) -> bool:
        looks.append(loop.time())
        return len(looks) <= GOOD_LOOKS

    await serve(SocketHub(per_user=1, total=1, is_valid=is_valid), socket)
    assert socket.closed is not None
    assert socket.closed[0] == CLOSE_UNAUTHENTICATED
    return looks, loop.time()


def test_a_feed_closes_within_the_promised_seconds_after_its_right_ended() -> None:
    with asyncio.Runner(loop_factory=LeapingLoop) as runner:
        looks, closed = runner.run(looks_and_closing())
    assert len(looks) == GOOD_LOOKS + 1
    assert closed - looks[GOOD_LOOKS - 1] < PROMISED_SECONDS
    assert CHECK_SECONDS + CLOSE_TIMEOUT_SECONDS <= PROMISED_SECONDS, "a client may not read that it is closed"
