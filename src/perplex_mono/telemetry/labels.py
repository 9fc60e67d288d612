"""Label values are closed sets: whatever else turns up is counted together, so that no caller can make a series."""

from collections.abc import Container

OTHER = "other"


def within(value: str, known: Container[str]) -> str:
    """The value where it is a known one, else `other`."""
    return value if value in known else OTHER
