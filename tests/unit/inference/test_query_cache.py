"""A repeated question costs nothing, and the same question at the same moment costs once."""

import asyncio

import numpy as np
import pytest

from perplex_mono.inference.embedder import Vectors
from perplex_mono.inference.query_cache import QueryCache


class Model:
    def __init__(self) -> None:
        self.computed: list[str] = []
        self.cancelled = False
        self.go = asyncio.Event()

    async def __call__(self, text: str) -> Vectors:
        self.computed.append(text)
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        if text == "bad":
            raise ValueError(text)
        return np.full(2, len(self.computed), dtype=np.float32)


async def test_least_recently_used_is_forgotten_first() -> None:
    cache, model = QueryCache(2), Model()
    model.go.set()
    for text in ("a", "b", "a", "c", "a", "b"):
        await cache.get(text, lambda text=text: model(text))  # type: ignore[misc]  # mypy cannot type the default

    assert model.computed == ["a", "b", "c", "b"]
    assert cache.hits == 2


async def test_identical_questions_at_once_share_one_computation() -> None:
    cache, model = QueryCache(10), Model()
    tasks = [asyncio.create_task(cache.get("a", lambda: model("a"))) for _ in range(5)]
    await asyncio.sleep(0)
    model.go.set()
    vectors = await asyncio.gather(*tasks)

    assert model.computed == ["a"]
    assert all(vector is vectors[0] for vector in vectors)
    assert cache.shared == 4


async def test_a_cancelled_caller_leaves_the_others_their_answer() -> None:
    cache, model = QueryCache(10), Model()
    first = asyncio.create_task(cache.get("a", lambda: model("a")))
    second = asyncio.create_task(cache.get("a", lambda: model("a")))
    await asyncio.sleep(0.01)
    first.cancel()
    await asyncio.sleep(0.01)
    model.go.set()

    assert (await second).tolist() == [1.0, 1.0]
    assert not model.cancelled


async def test_when_nobody_waits_any_more_the_computation_is_cancelled() -> None:
    cache, model = QueryCache(10), Model()
    only = asyncio.create_task(cache.get("a", lambda: model("a")))
    await asyncio.sleep(0.01)
    only.cancel()
    await asyncio.sleep(0.01)

    assert model.cancelled
    model.go.set()
    assert (await cache.get("a", lambda: model("a"))).tolist() == [2.0, 2.0]


async def test_errors_are_not_kept() -> None:
    cache, model = QueryCache(10), Model()
    model.go.set()
    for _ in range(2):
        with pytest.raises(ValueError, match="bad"):
            await cache.get("bad", lambda: model("bad"))

    assert model.computed == ["bad", "bad"]


async def test_zero_entries_keep_nothing() -> None:
    cache, model = QueryCache(0), Model()
    model.go.set()
    await cache.get("a", lambda: model("a"))
    await cache.get("a", lambda: model("a"))

    assert model.computed == ["a", "a"]
