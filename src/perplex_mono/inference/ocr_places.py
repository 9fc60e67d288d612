"""The line in front of the OCR threads: what somebody sits and waits for goes to its head."""

import asyncio
from collections import deque

from perplex_mono.errors import Overloaded
from perplex_mono.telemetry.waiting import waiter

MAX_OVERTAKES = 16


class OcrPlaces:
    """A fixed number of places for pages being read, and two lines in front: urgent pages, and all others.

    Each line is first come, first served, and holds up to `max_waiting` pages: a full line of a scan refuses nothing
    urgent. After `MAX_OVERTAKES` urgent pages in a row the first of the others is next. Whoever stands in line is told
    when a page gets a place: as long as OCR gets on, that wait is no standing still. Belongs to one event loop.
    """

    def __init__(self, count: int, max_waiting: int) -> None:
        self._free = count
        self._max_waiting = max_waiting
        self._urgent: deque[_Turn] = deque()
        self._others: deque[_Turn] = deque()
        self._overtakes = 0

    @property
    def waiting(self) -> int:
        """How many pages wait in both lines."""
        return len(self._urgent) + len(self._others)

    async def take(self, *, is_urgent: bool) -> None:
        """Wait for a place; a cancelled wait takes none. Raises `Overloaded` when the line is full."""
        line = self._urgent if is_urgent else self._others
        if not self._free and len(line) >= self._max_waiting:
            raise Overloaded(f"{len(line)} pages already wait for OCR.")
        turn = _Turn()
        line.append(turn)
        self._hand_out()
        try:
            await turn.given
        except BaseException:
            if turn in line:
                line.remove(turn)
            elif not turn.given.cancelled():
                self.give_back()
            raise

    def give_back(self) -> None:
        """A page was read, or is not wanted any more: its place is the next one's."""
        self._free += 1
        self._hand_out()

    def _hand_out(self) -> None:
        while self._free and self.waiting:
            turn = self._next()
            if not turn.given.done():
                self._free -= 1
                turn.given.set_result(None)
                for moved in (turn, *self._urgent, *self._others):
                    moved.mark_waiting()

    def _next(self) -> "_Turn":
        is_others_turn = bool(self._others) and self._overtakes >= MAX_OVERTAKES
        if self._urgent and not is_others_turn:
            self._overtakes += bool(self._others)
            return self._urgent.popleft()
        self._overtakes = 0
        return self._others.popleft()


class _Turn:
    """A page in line."""

    def __init__(self) -> None:
        self.given: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.mark_waiting = waiter()
