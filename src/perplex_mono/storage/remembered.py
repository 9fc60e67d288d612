"""What was read from the database, kept until anything in it changes."""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

Value = TypeVar("Value")


class Remembered(Generic[Value]):
    """The newest `size` values. Each holds while the database's change counter stays what it was."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._entries: OrderedDict[Hashable, tuple[int, Value]] = OrderedDict()

    def find(self, key: Hashable, changes: int) -> Value | None:
        """The value that was read when the counter stood at `changes`."""
        entry = self._entries.get(key)
        if entry is None or entry[0] != changes:
            return None
        self._entries.move_to_end(key)
        return entry[1]

    def keep(self, key: Hashable, changes: int, value: Value) -> None:
        """Remember a value, read after the counter was looked at; the oldest gives way."""
        if self._size == 0:
            return
        self._entries[key] = (changes, value)
        self._entries.move_to_end(key)
        if len(self._entries) > self._size:
            self._entries.popitem(last=False)
