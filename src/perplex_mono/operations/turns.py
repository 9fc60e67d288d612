"""Whose operation starts next: nobody's flood keeps the others out, and a single upload never waits behind a scan."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol, TypeVar

LANE_SLOTS = 10
OWNER_SLOTS = 8  # of a lane; the others are kept for other owners
# A scan waits for the documents it found to be ingested, so scans alone must never fill every slot. Backups share a
# folder that each of them tidies.
KIND_SLOTS = {"scan": 2, "backup": 1}
# Two of such a kind never run side by side on what this parameter names; the later one takes no slot while it waits.
ONE_AT_A_TIME = {"scan": "source_id"}


class Started(Protocol):
    """What counts of an operation that runs."""

    @property
    def owner_id(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def priority(self) -> int: ...
    @property
    def params(self) -> Mapping[str, Any]: ...


class Waiting(Started, Protocol):
    """What counts of an operation that could start."""

    @property
    def created_at(self) -> datetime: ...


W = TypeVar("W", bound=Waiting)


def is_urgent(operation: Started) -> bool:
    """Whether somebody sits and waits for it: such operations have slots of their own, however much else runs."""
    return operation.priority > 0


def choose_next(waiting: Sequence[W], running: Iterable[Started], limit: int) -> list[W]:
    """Up to `limit` of `waiting` that may start beside `running`, in the order in which they should.

    The owner with the fewest running operations comes first; of one owner, the highest priority and then the oldest.
    """
    of_owner: Counter[str] = Counter()
    of_lane: Counter[bool] = Counter()
    of_owner_in_lane: Counter[tuple[str, bool]] = Counter()
    of_kind: Counter[str] = Counter()
    taken: set[tuple[str, Any]] = set()

    def count(operation: Started) -> None:
        of_owner[operation.owner_id] += 1
        of_lane[is_urgent(operation)] += 1
        of_owner_in_lane[operation.owner_id, is_urgent(operation)] += 1
        of_kind[operation.kind] += 1
        if (key := _exclusive_key(operation)) is not None:
            taken.add(key)

    def has_slot(operation: W) -> bool:
        lane = is_urgent(operation)
        if operation.kind in KIND_SLOTS and of_kind[operation.kind] >= KIND_SLOTS[operation.kind]:
            return False
        if _exclusive_key(operation) in taken:
            return False
        return of_lane[lane] < LANE_SLOTS and of_owner_in_lane[operation.owner_id, lane] < OWNER_SLOTS

    for operation in running:
        count(operation)
    left, chosen = list(waiting), list[W]()
    while len(chosen) < limit and (able := [operation for operation in left if has_slot(operation)]):
        best = min(able, key=lambda one: (of_owner[one.owner_id], -one.priority, one.created_at))
        left.remove(best)
        chosen.append(best)
        count(best)
    return chosen


def _exclusive_key(operation: Started) -> tuple[str, Any] | None:
    """What the operation needs for itself alone."""
    parameter = ONE_AT_A_TIME.get(operation.kind)
    return None if parameter is None else (operation.kind, operation.params.get(parameter))
