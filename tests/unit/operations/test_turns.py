"""Whose turn it is: owners share alike, a single upload has slots of its own, and nobody is forgotten."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from perplex_mono.operations.turns import LANE_SLOTS, OWNER_SLOTS, choose_next

START = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Job:
    """What the rule looks at."""

    owner_id: str
    priority: int = 0
    age: int = 0
    kind: str = "ingest"
    source_id: str = ""

    @property
    def params(self) -> Mapping[str, str]:
        return {"source_id": self.source_id or f"{self.owner_id} {self.age}"}

    @property
    def created_at(self) -> datetime:
        return START + timedelta(seconds=self.age)


def jobs(owner: str, count: int, *, priority: int = 0) -> list[Job]:
    return [Job(owner, priority, age) for age in range(count)]


def test_one_owner_leaves_slots_to_others() -> None:
    chosen = choose_next(jobs("flood", 100), [], 100)
    assert len(chosen) == OWNER_SLOTS < LANE_SLOTS
    late = Job("late", age=1000)
    assert choose_next([*jobs("flood", 100), late], chosen, 100) == [late]


def test_scans_leave_slots_to_what_they_wait_for() -> None:
    scans = [Job("one", age=age, kind="scan") for age in range(20)]
    assert choose_next(scans, [], 100) == scans[:2]
    found = Job("one", age=100, kind="ingest")
    assert choose_next([*scans[2:], found], scans[:2], 100) == [found]


def test_a_second_scan_of_a_source_leaves_its_slot_to_others() -> None:
    first, second, other = (
        Job(owner, age=age, kind="scan", source_id=source)
        for age, (owner, source) in enumerate([("a", "papers"), ("a", "papers"), ("b", "letters")])
    )
    assert choose_next([first, second, other], [], 100) == [first, other]
    assert choose_next([second, other], [first], 100) == [other]
    assert choose_next([second], [other], 100) == [second]


def test_only_scans_are_kept_apart_by_their_source() -> None:
    waiting = [Job("a", age=age, kind="delete", source_id="papers") for age in range(2)]
    assert choose_next(waiting, [], 100) == waiting


def test_owners_take_turns_and_each_begins_with_its_oldest() -> None:
    waiting = [*jobs("a", 3), *jobs("b", 3)]
    order = choose_next(waiting, [], 4)
    assert sorted(job.owner_id for job in order) == ["a", "a", "b", "b"]
    assert {(job.owner_id, job.age) for job in order} == {("a", 0), ("a", 1), ("b", 0), ("b", 1)}
    assert order[0].owner_id != order[1].owner_id


def test_who_runs_least_comes_first_even_when_younger() -> None:
    assert choose_next([Job("busy"), Job("idle", age=9)], [Job("busy")], 1) == [Job("idle", age=9)]


def test_of_one_owner_the_urgent_one_comes_first() -> None:
    assert choose_next([Job("a"), Job("a", priority=1, age=9)], [], 1) == [Job("a", priority=1, age=9)]


def test_a_single_upload_starts_beside_all_the_big_ones_that_may_run() -> None:
    running = [*jobs("a", 5), *jobs("b", 5)]
    single = Job("a", priority=1, age=99)
    assert choose_next([*jobs("c", 3), single], running, 100) == [single]


job_lists = st.lists(st.builds(Job, st.sampled_from("abcd"), st.sampled_from((0, 1)), st.integers(0, 50)), max_size=60)


@given(job_lists)
def test_everything_gets_its_turn_within_the_limits(waiting: list[Job]) -> None:
    """Work ends one operation at a time, oldest first; each time the next ones are chosen."""
    left, running, done = list(waiting), list[Job](), 0
    while left or running:
        for job in choose_next(left, running, 100):
            left.remove(job)
            running.append(job)
        for priority in (0, 1):
            lane = [job for job in running if job.priority == priority]
            assert len(lane) <= LANE_SLOTS
            assert all(sum(job.owner_id == owner for job in lane) <= OWNER_SLOTS for owner in "abcd")
            for owner in {job.owner_id for job in left if job.priority == priority}:
                mine = sum(job.owner_id == owner for job in lane)
                assert len(lane) == LANE_SLOTS or mine == OWNER_SLOTS, "it waits only when there is no slot for it"
        running.pop(0)
        done += 1
    assert done == len(waiting)
