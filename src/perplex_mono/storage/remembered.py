"""What was read from the database, kept until anything in it changes."""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

Value = TypeVar("Value")


class Remembered(Generic[Value]):
    """The newest `size` values, all of them gone as soon as one is read after the database's change counter moved."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._changes = 0
        self._values: OrderedDict[Hashable, Value] = OrderedDict()

    def find(self, key: Hashable, changes: int) -> Value | None:
        """The value that was read when the counter stood at `changes`."""
        if changes != self._changes or key not in self._values:
            return None
        self._values.move_to_end(key)
        return self._values[key]

    def keep(self, key: Hashable, changes: int, value: Value) -> None:
        """Remember a value that was read once the counter stood at `changes`; the oldest gives way."""
        if self._size == 0 or changes < self._changes:
            return
        if changes > self._changes:
            self._values.clear()
            self._changes = changes
        self._values[key] = value
        self._values.move_to_end(key)
        if len(self._values) > self._size:
            self._values.popitem(last=False)
