"""Ids sort by creation and keep their RFC form; derived ids never change; times carry their zone."""

import time
import uuid
from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy.dialects import sqlite

from perplex_mono.storage.identity import UtcDateTime, derived_id, new_id


def test_new_ids_are_uuid_version_7() -> None:
    for _ in range(500):
        value = uuid.UUID(new_id())
        assert value.version == 7
        assert value.variant == uuid.RFC_4122


def test_new_ids_carry_the_time_and_sort_by_it() -> None:
    before = time.time_ns() // 1_000_000
    ids = []
    for _ in range(5):
        ids.append(new_id())
        time.sleep(0.002)
    after = time.time_ns() // 1_000_000
    assert ids == sorted(ids)
    assert all(before <= uuid.UUID(key).int >> 80 <= after for key in ids)


def test_new_ids_do_not_repeat() -> None:
    assert len({new_id() for _ in range(20_000)}) == 20_000


def test_derived_ids_are_the_same_in_every_version() -> None:
    assert derived_id("document", "index", "0", "hash") == "3ea571fd-0e79-8324-85ab-32b8ed730607"


def test_derived_ids_are_uuid_version_8() -> None:
    value = uuid.UUID(derived_id("a"))
    assert (value.version, value.variant) == (8, uuid.RFC_4122)


def test_derived_ids_keep_their_parts_apart() -> None:
    assert derived_id("ab", "c") != derived_id("a", "bc")
    assert derived_id("a", "b") != derived_id("b", "a")


def test_times_go_in_as_utc_and_come_back_aware() -> None:
    column, dialect = UtcDateTime(), sqlite.dialect()
    local = datetime(2026, 3, 1, 12, tzinfo=timezone(timedelta(hours=2)))
    stored = column.process_bind_param(local, dialect)
    assert stored == datetime(2026, 3, 1, 10)  # noqa: DTZ001  # what SQLite keeps is naive UTC
    assert column.process_result_value(stored, dialect) == local.astimezone(UTC)
    assert column.process_bind_param(None, dialect) is None
    assert column.process_result_value(None, dialect) is None


def test_naive_times_are_refused() -> None:
    with pytest.raises(ValueError, match="time zone"):
        UtcDateTime().process_bind_param(datetime(2026, 3, 1), sqlite.dialect())  # noqa: DTZ001  # the point
