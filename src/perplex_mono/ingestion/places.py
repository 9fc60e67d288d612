"""Who may read and embed next: a few documents at a time, fairly chosen, so that nobody waits behind a flood."""

import asyncio
from collections import Counter

from perplex_mono.operations.ledger import Claim
from perplex_mono.operations.turns import is_urgent

MAX_OVERTAKES = 16
URGENT_EXTRA = 1


class DocumentPlaces:
    """A fixed number of places, of which large documents may have at most half, so that small ones never wait for them.

    A free place goes to the highest priority, then to the owner with the fewest documents in work, then to whoever has
    waited longest. `URGENT_EXTRA` places beyond the number are for urgent operations, so that a single upload begins
    although a scan holds all others. Whoever was overtaken `MAX_OVERTAKES` times is next, before anything urgent.
    """

    def __init__(self, count: int) -> None:
        self._free = count
        self._free_large = max(1, count // 2)
        self._waiting: list[Place] = []
        self._in_work: Counter[str] = Counter()

    async def take(self, claim: Claim, *, is_large: bool) -> "Place":
        """Wait for a place. A cancelled wait takes none, even when it was just given one."""
        place = Place(self, claim, is_large=is_large)
        self._waiting.append(place)
        self._hand_out()
        try:
            await place.given
        except BaseException:
            place.leave()
            raise
        return place

    def give_back(self, place: "Place") -> None:
        """The place's document needs it no more, or not any longer."""
        if place in self._waiting:
            self._waiting.remove(place)
        else:
            self._count(place, -1)
        self._hand_out()

    def _hand_out(self) -> None:
        while able := [place for place in self._waiting if not place.given.done() and self._has_room(place)]:
            place = min(able, key=self._rank)  # the first of equals, and so the one that waited longest
            at = self._waiting.index(place)
            for overtaken in self._waiting[:at]:
                overtaken.overtakes += 1
            del self._waiting[at]
            self._count(place, 1)
            place.given.set_result(None)

    def _has_room(self, place: "Place") -> bool:
        may_borrow = is_urgent(place.claim) and not any(map(_is_overdue, self._waiting))
        least = 1 - URGENT_EXTRA if may_borrow else 1
        return self._free >= least and (self._free_large >= least or not place.is_large)

    def _rank(self, place: "Place") -> tuple[bool, int, int]:
        if _is_overdue(place):
            return False, 0, 0
        return True, -place.claim.priority, self._in_work[place.claim.owner_id]

    def _count(self, place: "Place", change: int) -> None:
        self._in_work[place.claim.owner_id] += change
        self._free -= change
        self._free_large -= change if place.is_large else 0


class Place:
    """One document's place; left before the commit, where documents wait for each other."""

    def __init__(self, places: DocumentPlaces, claim: Claim, *, is_large: bool) -> None:
        self.claim = claim
        self.is_large = is_large
        self.overtakes = 0
        self.given: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._places: DocumentPlaces | None = places

    def leave(self, *_: object) -> None:
        """Let another document have it; harmless the second time."""
        places, self._places = self._places, None
        if places is not None:
            places.give_back(self)


def _is_overdue(place: Place) -> bool:
    return place.overtakes >= MAX_OVERTAKES
