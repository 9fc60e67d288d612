"""Something opened behind a server: what it is at, that it failed, and since when, can be asked all the while."""

import asyncio
from collections.abc import Callable

import pytest

from perplex_mono.errors import Unavailable
from perplex_mono.storage import starting
from perplex_mono.storage.starting import Starting


async def test_what_it_is_at_is_told_until_it_is_there() -> None:
    go_on = asyncio.Event()

    async def opening(tell: Callable[[str], None]) -> str:
        tell("mending table 2 of 3")
        await go_on.wait()
        return "opened"

    vectors = Starting("vectors", opening)
    began = vectors.status().since
    vectors.start()
    await asyncio.sleep(0)
    assert (vectors.status().state, vectors.status().reason) == ("down", "mending table 2 of 3")
    assert vectors.status().since == began
    with pytest.raises(Unavailable, match="mending table 2 of 3"):
        vectors.get()
    go_on.set()
    assert await vectors.wait() == "opened"
    assert (vectors.status().state, vectors.status().reason) == ("ok", None)
    await vectors.stop()


async def test_what_failed_is_tried_again_and_down_since_the_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(starting, "RETRY_SECONDS", (0.001,))
    attempts = 0

    async def opening(_: Callable[[str], None]) -> str:
        nonlocal attempts
        attempts += 1
        if attempts < 3:
            raise OSError(f"attempt {attempts}")
        return "opened"

    vectors = Starting("vectors", opening)
    began = vectors.status().since
    vectors.start()
    while vectors.status().restarts < 2:
        assert vectors.status().since == began
        await asyncio.sleep(0)
    assert vectors.status().reason == "attempt 2"
    assert await vectors.wait() == "opened"
    assert vectors.status().restarts == 2
    await vectors.stop()
