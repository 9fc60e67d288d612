"""Answers in the documents' own words: every quote stands on the page it names, in order, or nothing is claimed."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from perplex_mono.answers.service import NO_MATCH
from perplex_mono.ingestion.page_store import decode_page, encode_page
from perplex_mono.library.models import StoredPage
from perplex_mono.storage.identity import new_id
from tests import documents as make
from tests.app_client import App, open_app

pytestmark = pytest.mark.asyncio(loop_scope="module")
PAGES = [
    "Lighthouses warn ships of rocks near the coast. The keeper lights the lamp of the lighthouse every evening."
    " In the morning he polishes the brass rail with care.",
    "Whales migrate to warm water in the winter season. A blue whale eats four tons of krill in one single day."
    " Whales sing long songs that travel far through the water.",
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def app(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[App]:
    folder = tmp_path_factory.mktemp("answers")
    async with open_app(folder) as opened:
        await opened.ingest(("coast.pdf", make.text_pdf(folder / "coast.pdf", PAGES).read_bytes()))
        await opened.ingest(("notes.md", b"# Notes\n\nThe keeper lights the lamp of the lighthouse with whale oil.\n"))
        yield opened


async def ask(app: App, question: str, **options: Any) -> dict[str, Any]:
    answer = await app.client.post("/api/v1/answers", json={"question": question, **options})
    assert answer.status_code == 200, answer.text
    result: dict[str, Any] = answer.json()
    return result


async def page_of(app: App, citation: dict[str, Any]) -> dict[str, Any]:
    url = f"/api/v1/documents/{citation['document_id']}/pages/{citation['pages'][0]}"
    page: dict[str, Any] = (await app.client.get(url)).json()
    return page


async def require_quotes_on_their_pages(app: App, citations: list[dict[str, Any]]) -> None:
    assert citations
    assert [citation["n"] for citation in citations] == list(range(1, len(citations) + 1))
    for citation in citations:
        page = await page_of(app, citation)
        assert citation["quote"] in " ".join(page["text"].split())


async def test_the_best_sentence_answers_with_its_place(app: App) -> None:
    answer = await ask(app, "How many tons of krill eats a blue whale in one day?")
    assert (answer["state"], answer["generated_by"], answer["warnings"]) == ("complete", "extractive", [])
    await require_quotes_on_their_pages(app, answer["citations"])
    first = answer["citations"][0]
    assert first["quote"] == "A blue whale eats four tons of krill in one single day."
    assert (first["document_name"], first["pages"]) == ("coast.pdf", [2])
    assert 0.3 <= first["support"] <= 1.0


async def test_the_text_is_the_quotes_with_their_numbers(app: App) -> None:
    answer = await ask(app, "Who lights the lamp of the lighthouse every evening?")
    assert len(answer["citations"]) >= 2
    await require_quotes_on_their_pages(app, answer["citations"])
    assert answer["answer"] == " ".join(f"{citation['quote']} [{citation['n']}]" for citation in answer["citations"])
    assert len({citation["quote"] for citation in answer["citations"]}) == len(answer["citations"])


async def test_boxes_frame_exactly_the_quoted_words(app: App) -> None:
    answer = await ask(app, "How many tons of krill eats a blue whale in one day?")
    citation = answer["citations"][0]
    page = await page_of(app, citation)
    wanted = citation["quote"].split()
    words = page["words"]
    at = next(i for i in range(len(words)) if [word["text"] for word in words[i : i + len(wanted)]] == wanted)
    quoted = words[at : at + len(wanted)]
    boxes = citation["boxes"]
    assert {box["page"] for box in boxes} == {2}

    def is_inside(word: dict[str, Any], box: dict[str, Any]) -> bool:
        x, y = (word["x0"] + word["x1"]) / 2, (word["y0"] + word["y1"]) / 2
        return bool(box["x0"] <= x <= box["x1"] and box["y0"] <= y <= box["y1"])

    framed = [word for word in words if any(is_inside(word, box) for box in boxes)]
    assert framed == quoted


async def test_nothing_is_claimed_when_nothing_matches(app: App) -> None:
    for question in ("zygomorphic quaternion xylography", "quantum entanglement paradox"):
        answer = await ask(app, question)
        assert (answer["state"], answer["answer"], answer["citations"]) == ("no_match", NO_MATCH, [])


async def test_an_empty_collection_has_no_answer(app: App) -> None:
    empty = await app.new_collection(f"empty {new_id()}")
    answer = await ask(app, "Who lights the lamp of the lighthouse?", collection_ids=[empty])
    assert answer["state"] == "no_match"


async def test_filters_narrow_what_may_answer(app: App) -> None:
    answer = await ask(app, "Who lights the lamp of the lighthouse?", filters={"media_types": ["text/markdown"]})
    assert {citation["document_name"] for citation in answer["citations"]} == {"notes.md"}
    assert [citation["boxes"] for citation in answer["citations"]] == [[]], "a text file has no places"


async def test_a_quote_that_is_not_on_its_page_is_dropped(app: App) -> None:
    """The stored page changes beneath its chunks, as a damaged store would."""
    words = "The sexton keeps the only key of the old chapel tower."
    (document,) = await app.ingest(("key.txt", words.encode()))
    question = "Who keeps the only key of the old chapel tower?"
    assert (await ask(app, question))["citations"][0]["quote"] == words
    async with app.container.operations._database.write() as session:
        row = await session.get(StoredPage, (document["sha256"], "1", 1))
        assert row is not None
        page = decode_page(row.payload)
        row.payload = encode_page(type(page)(number=1, text=words.replace("sexton", "bishop"), blocks=page.blocks))
    answer = await ask(app, question)
    assert not any("sexton" in citation["quote"] for citation in answer["citations"])
    assert "sexton" not in answer["answer"]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"question": ""},
        {"question": " "},
        {"question": "x" * 4097},
        {"question": "x", "mode": "slow"},
        {"question": "x", "sources": ["moon"]},
        {"question": "x", "stream": True},
        {"question": "x", "colour": 1},
    ],
)
async def test_what_cannot_be_asked_is_refused(app: App, body: dict[str, Any]) -> None:
    assert (await app.client.post("/api/v1/answers", json=body)).status_code == 400


async def test_a_document_is_summarized_in_its_own_sentences_and_order(app: App) -> None:
    sections = [
        f"# Part {number}\n\n" + f"Part {number} explains the {topic} of the harbour in some detail. " * 12
        for number, topic in enumerate(("cranes", "tides", "customs", "pilots", "ferries", "storms", "wharves"))
    ]
    (document,) = await app.ingest(("harbour.md", "\n\n".join(sections).encode()))
    summary = (await app.client.post(f"/api/v1/documents/{document['id']}/summary")).json()
    assert set(summary) == {"document_id", "summary", "citations", "generated_by"}
    assert (summary["document_id"], summary["generated_by"]) == (document["id"], "extractive")
    await require_quotes_on_their_pages(app, summary["citations"])
    assert 2 <= len(summary["citations"]) <= 5
    assert all("explains the" in citation["quote"] for citation in summary["citations"])
    parts = [int(citation["quote"].split()[1]) for citation in summary["citations"]]
    assert parts == sorted(set(parts)), "in the document's order, nothing twice"
    assert summary["summary"] == " ".join(f"{item['quote']} [{item['n']}]" for item in summary["citations"])


async def test_only_ready_documents_are_summarized(app: App) -> None:
    (document,) = await app.ingest(("bad", b"\x7fELF" + new_id().encode()))
    answer = await app.client.post(f"/api/v1/documents/{document['id']}/summary")
    assert answer.status_code == 409
    assert (await app.client.post(f"/api/v1/documents/{new_id()}/summary")).status_code == 404
