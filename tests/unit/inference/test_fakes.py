"""The fake keeps the promises of the real embedder that its users rely on."""

import numpy as np
import pytest

from perplex_mono.errors import Unavailable
from perplex_mono.inference.embedder import Embedder
from perplex_mono.inference.fakes import FakeEmbedder


async def test_texts_that_share_words_are_near_and_runs_agree() -> None:
    fake = FakeEmbedder()
    embedder: Embedder = fake
    query = await embedder.embed_query("red apple pie")
    near, far, empty = await embedder.embed_documents(["Apple pie, red.", "quantum entanglement theory", ""])

    assert query @ near > 0.99 > 0.5 > query @ far
    assert np.linalg.norm(empty) == pytest.approx(1)
    assert (await FakeEmbedder().embed_query("red apple pie")).tolist() == query.tolist()
    assert fake.calls == [["Apple pie, red.", "quantum entanglement theory", ""]]


async def test_it_fails_on_demand() -> None:
    embedder = FakeEmbedder()
    embedder.error = Unavailable("embedder", "told to fail")

    with pytest.raises(Unavailable):
        await embedder.embed_documents(["a"])
