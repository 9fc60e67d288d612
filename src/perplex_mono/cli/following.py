"""An operation followed to its end, whatever happens to the connection: stored events first, then live, then again.

Every round begins with the stored events past the last one seen, so a feed that cannot be opened at all is no more than
slower: the rounds are the polling.
"""

import asyncio
from collections.abc import AsyncIterator

from perplex_mono.cli.backend import Backend
from perplex_mono.errors import Overloaded, Unavailable
from perplex_mono.operations.models import FINAL_STATES
from perplex_mono.operations.schemas import Envelope

GIVE_UP_SECONDS = 120.0  # a server that restarts is back within 40 s
FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 2.0


async def follow(
    backend: Backend, operation_id: str, *, give_up_seconds: float = GIVE_UP_SECONDS
) -> AsyncIterator[Envelope]:
    """Every event of the operation, in order and once, until its last.

    Raises `NotFound`, or `Unavailable` when the backend does not come back within `give_up_seconds`.
    """
    last, pause = 0, FIRST_PAUSE_SECONDS
    loop = asyncio.get_running_loop()
    answered = loop.time()
    while True:
        try:
            async for event in _round(backend, operation_id, last):
                answered, pause = loop.time(), FIRST_PAUSE_SECONDS
                last = event.seq if isinstance(event.seq, int) else last
                yield event
                if await _is_last(backend, event):
                    return
            if (await backend.operation(operation_id)).state in FINAL_STATES and not await _has_more(
                backend, operation_id, last
            ):
                return
            answered = loop.time()
        except Overloaded as busy:
            await asyncio.sleep(busy.retry_after_seconds)
        except Unavailable:
            if loop.time() - answered > give_up_seconds:
                raise
        await asyncio.sleep(pause)
        pause = min(pause * 2, LONGEST_PAUSE_SECONDS)


async def _round(backend: Backend, operation_id: str, last: int) -> AsyncIterator[Envelope]:
    """What is stored past `last`, then what happens, until the feed drops."""
    while page := (await backend.events(operation_id, last)).items:
        for event in page:
            assert isinstance(event.seq, int)
            last = event.seq
            yield event
    async for event in backend.live(operation_id, last):
        yield event


async def _is_last(backend: Backend, event: Envelope) -> bool:
    """Whether nothing follows: a final event that no retry has overtaken, or a snapshot of an ended operation."""
    if event.type == "snapshot":
        return all(operation["state"] in FINAL_STATES for operation in event.data.get("operations", []))
    if event.type not in FINAL_STATES or event.operation_id is None:
        return False
    operation = await backend.operation(event.operation_id)
    return operation.state in FINAL_STATES and (operation.finished_at is None or operation.finished_at <= event.time)


async def _has_more(backend: Backend, operation_id: str, last: int) -> bool:
    return bool((await backend.events(operation_id, last)).items)
