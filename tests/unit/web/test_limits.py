"""The small limits of the door: requests a minute, and how deep JSON may nest."""

import json

import pytest

from perplex_mono.web.json_depth import is_too_deep
from perplex_mono.web.rate_limit import MAX_CALLERS, RateLimiter


class Clock:
    """Seconds that a test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_caller_has_so_many_requests_and_gets_them_back_evenly() -> None:
    clock = Clock()
    limiter = RateLimiter(60, clock)
    assert [limiter.wait_seconds("a") for _ in range(60)] == [0.0] * 60
    assert limiter.wait_seconds("a") == pytest.approx(1.0)
    assert limiter.wait_seconds("a") == pytest.approx(1.0), "a refused request costs nothing"
    clock.now += 1.0
    assert limiter.wait_seconds("a") == 0.0
    assert limiter.wait_seconds("a") > 0
    clock.now += 3600
    assert [limiter.wait_seconds("a") for _ in range(61)].count(0.0) == 60, "never more than a minute's worth"


def test_callers_do_not_share() -> None:
    limiter = RateLimiter(1, Clock())
    assert limiter.wait_seconds("a") == 0.0
    assert limiter.wait_seconds("a") > 0
    assert limiter.wait_seconds("b") == 0.0


def test_memory_is_bounded_and_the_most_recent_are_remembered() -> None:
    limiter = RateLimiter(1, Clock())
    for number in range(MAX_CALLERS + 10):
        limiter.wait_seconds(str(number))
    assert len(limiter._buckets) == MAX_CALLERS
    assert limiter.wait_seconds(str(MAX_CALLERS + 9)) > 0
    assert limiter.wait_seconds("0") == 0.0


@pytest.mark.parametrize(
    ("body", "too_deep"),
    [
        (b"", False),
        (b"[" * 4 + b"]" * 4, False),
        (b"[" * 5 + b"]" * 5, True),
        (b"[" * 5, True),
        (b'{"a":' * 5 + b"1" + b"}" * 5, True),
        (b"[]" * 500, False),
        (b"[{}]," * 500, False),
        (json.dumps("[" * 500).encode(), False),
        (json.dumps('\\"[' * 500).encode(), False),
        (json.dumps({'"[[[[[[': "]]]]{{{{\\"}).encode(), False),
        (b'["\\\\", [[[[1]]]]]', True),
        (b'["\\\\\\"", [[[1]]]]', False),
        (b'"' + b"\\" * 40_001 + b'" ' + b"[" * 10, False),
        (b'"unterminated [[[[[[[[[', False),
        (b" " * 40_000 + b"[" * 5, True),
        (b"[" * 100_000 + b"]" * 100_000, True),
    ],
)
async def test_depth_is_counted_outside_of_strings(body: bytes, too_deep: bool) -> None:
    assert await is_too_deep(body, 4) is too_deep
