"""Which texts go to the model together. Pure bookkeeping without threads, so that its promises can be tested alone.

Texts wait in first-come windows: everything in a window is embedded before anything that came later, so nobody starves,
and inside the window texts are sorted by length and filled to a token budget, across callers and documents.
"""

from collections.abc import Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")

GROW_AFTER_SUCCESSES = 20


class Window(Generic[Item]):
    """The texts being worked off, shortest last. Filled only when empty."""

    def __init__(self) -> None:
        self._waiting: list[tuple[int, Item]] = []  # ascending by tokens, so that taking from the end is cheap

    def __len__(self) -> int:
        return len(self._waiting)

    def fill(self, items: Sequence[Item], token_counts: Sequence[int]) -> None:
        """Add items with the number of tokens of each. Longest go first: a batch too big for memory shows at once."""
        self._waiting.extend(zip(token_counts, items, strict=True))
        self._waiting.sort(key=lambda entry: entry[0])

    def take(self, max_tokens: int) -> tuple[list[Item], int]:
        """Remove and return the next batch and its tokens: at least one item, else as many as the budget holds."""
        batch: list[Item] = []
        total = 0
        while self._waiting and (not batch or total + self._waiting[-1][0] <= max_tokens):
            tokens, item = self._waiting.pop()
            batch.append(item)
            total += tokens
        return batch, total

    def clear(self) -> list[Item]:
        """Remove and return everything."""
        items = [item for _, item in self._waiting]
        self._waiting.clear()
        return items


class TokenBudget:
    """How many tokens a batch may hold: halved when memory runs out, doubled again after enough batches that fitted."""

    def __init__(self, max_tokens: int) -> None:
        self.max_tokens = max_tokens
        self.reductions = 0
        self._current = max_tokens
        self._successes = 0

    @property
    def current(self) -> int:
        return self._current

    def shrink(self, failed_tokens: int) -> None:
        """A batch of `failed_tokens` did not fit: allow half of it from now on."""
        self._current = max(1, min(self._current, failed_tokens) // 2)
        self._successes = 0
        self.reductions += 1

    def succeed(self) -> None:
        """A batch fitted; `GROW_AFTER_SUCCESSES` in a row double the budget, up to its maximum."""
        if self._current >= self.max_tokens:
            return
        self._successes += 1
        if self._successes >= GROW_AFTER_SUCCESSES:
            self._current = min(self.max_tokens, self._current * 2)
            self._successes = 0


def tokens_that_fit(available_bytes: int, *, reserve_bytes: int, bytes_per_token: int) -> int:
    """Return how many tokens a batch may hold so that `reserve_bytes` stay free; at least 1."""
    return max(1, (available_bytes - reserve_bytes) // bytes_per_token)
