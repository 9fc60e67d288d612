"""Answers to repeated searches, kept until anything in the library changes."""

from collections import OrderedDict

import msgspec

from perplex_mono.search.schemas import SearchRequest, SearchResponse


class SearchCache:
    """The newest `size` responses. Each holds while the database's change counter stays what it was."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._entries: OrderedDict[bytes, tuple[int, SearchResponse]] = OrderedDict()

    @staticmethod
    def key(request: SearchRequest, owner_id: str) -> bytes:
        """Equal for equal questions of one owner."""
        return msgspec.msgpack.encode((owner_id, request))

    def find(self, key: bytes, changes: int) -> SearchResponse | None:
        """The response given when the counter stood at `changes`."""
        entry = self._entries.get(key)
        if entry is None or entry[0] != changes:
            return None
        self._entries.move_to_end(key)
        return entry[1]

    def keep(self, key: bytes, changes: int, response: SearchResponse) -> None:
        """Remember a response without warnings (what they warn of passes); the oldest gives way."""
        if self._size == 0 or response.warnings:
            return
        self._entries[key] = (changes, response)
        self._entries.move_to_end(key)
        if len(self._entries) > self._size:
            self._entries.popitem(last=False)
