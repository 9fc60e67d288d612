"""What fault tests need: of the machine, where to do without is a skip here and a failure in CI, and of rounds."""

import os

import pytest


def quick_and_whole(rounds: int, quick: int = 1) -> pytest.MarkDecorator:
    """The argument `rounds`: a round or so in every run of the tests, so many in `make faults`."""
    whole = [pytest.mark.faults, pytest.mark.timeout(3600)]
    return pytest.mark.parametrize("rounds", [quick, pytest.param(rounds, marks=whole)])


def missing(reason: str) -> None:
    """Skip for want of something, or fail where CI is set."""
    if os.environ.get("CI"):
        pytest.fail(f"CI must have what this needs: {reason}")
    pytest.skip(reason)
