"""With the real model: meaning is found without shared words, and an answer is not made up."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from perplex_mono.answers.schemas import AnswerRequest
from perplex_mono.container import Container, open_container
from perplex_mono.library.service import ReceivedFile
from perplex_mono.search.schemas import SearchRequest
from perplex_mono.web.callers import LOCAL_USER
from tests.app_client import settings_for

pytestmark = pytest.mark.asyncio(loop_scope="module")
TEXTS = {
    "cats": "Felines such as lions and house cats sleep for most of the day.",
    "money": "The central bank raised interest rates to slow inflation this spring.",
    "bread": "Knead the dough, let it rise for an hour and bake it in a hot oven.",
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def container(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Container]:
    folder: Path = tmp_path_factory.mktemp("semantic")
    async with open_container(settings_for(folder, ocr={"engine": "none"})) as opened:
        files = []
        for name, text in TEXTS.items():
            blob = opened.blobs.receive(1000)
            await blob.write(text.encode())
            await blob.finish()
            files.append(ReceivedFile(f"{name}.txt", "text/plain", blob))
        accepted = await opened.documents.add("default", LOCAL_USER, files)
        assert accepted.operation_id is not None
        async for event in opened.feeds.follow(LOCAL_USER, accepted.operation_id, after=0):
            if event.type == "completed":
                break
        yield opened


@pytest.mark.parametrize(
    ("query", "name"),
    [("kittens napping", "cats.txt"), ("monetary policy tightening", "money.txt"), ("how to make a loaf", "bread.txt")],
)
async def test_meaning_is_found_without_shared_words(container: Container, query: str, name: str) -> None:
    for mode in ("dense", "hybrid"):
        found = await container.searcher.search(SearchRequest(query, mode=mode), LOCAL_USER)
        assert found.hits[0].document.name == name
    assert (await container.searcher.search(SearchRequest(query, mode="sparse"), LOCAL_USER)).hits == []


async def test_an_answer_quotes_what_is_meant(container: Container) -> None:
    answer = await container.answers.answer(AnswerRequest("Why did the bank change interest rates?"), LOCAL_USER)
    assert [citation.quote for citation in answer.citations] == [TEXTS["money"]]


async def test_an_unrelated_question_has_no_answer(container: Container) -> None:
    answer = await container.answers.answer(AnswerRequest("Who painted the ceiling of the chapel?"), LOCAL_USER)
    assert (answer.state, answer.citations) == ("no_match", [])
