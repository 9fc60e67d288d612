"""Answers to repeated searches, kept until anything in the library changes."""

from collections.abc import Hashable

import msgspec

from perplex_mono.search.schemas import SearchRequest, SearchResponse
from perplex_mono.storage.remembered import Remembered


class SearchCache(Remembered[SearchResponse]):
    """The newest `size` responses."""

    @staticmethod
    def key(request: SearchRequest, owner_id: str) -> bytes:
        """Equal for equal questions of one owner."""
        return msgspec.msgpack.encode((owner_id, request))

    def keep(self, key: Hashable, changes: int, value: SearchResponse) -> None:
        """Remember a response without warnings: what they warn of passes."""
        if not value.warnings:
            super().keep(key, changes, value)
