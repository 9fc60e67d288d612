"""What a fault test needs of the machine: to do without is a skip here and a failure in CI, which installs it."""

import os

import pytest


def missing(reason: str) -> None:
    """Skip for want of something, or fail where CI is set."""
    if os.environ.get("CI"):
        pytest.fail(f"CI must have what this needs: {reason}")
    pytest.skip(reason)
