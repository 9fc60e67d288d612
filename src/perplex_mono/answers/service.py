"""A question becomes a cited answer. Every citation is checked against the page it names before it leaves."""

import time
from collections.abc import Sequence
from typing import Protocol

from loguru import logger

from perplex_mono.answers.extractive import Quote
from perplex_mono.answers.metrics import AnswerMetrics
from perplex_mono.answers.schemas import Answer, AnswerRequest, Citation
from perplex_mono.errors import REFUSALS, NotFound
from perplex_mono.ingestion.boxes import boxes_for
from perplex_mono.ingestion.page_store import PageStore
from perplex_mono.library.models import Chunk
from perplex_mono.library.repository import DocumentRepository
from perplex_mono.search.schemas import Box, Hit, SearchRequest
from perplex_mono.search.service import SearchService
from perplex_mono.storage.database import Database
from perplex_mono.storage.identity import new_id
from perplex_mono.telemetry.traces import span

PASSAGES = {"speed": 4, "balanced": 8, "quality": 16}
NO_MATCH = "Nothing in the documents answers this question."


class AnswerWriter(Protocol):
    """Writes an answer from passages. Language models are other writers behind this."""

    name: str

    async def write(self, question: str, hits: Sequence[Hit]) -> list[Quote]:
        """What to say, as quotes of the passages, in order."""
        ...


class AnswerService:
    """Answers questions from the owner's library."""

    def __init__(
        self,
        database: Database,
        search: SearchService,
        pages: PageStore,
        writer: AnswerWriter,
        metrics: AnswerMetrics | None = None,
    ) -> None:
        self._database = database
        self._search = search
        self._writer = writer
        self._metrics = metrics or AnswerMetrics()
        self._citations = CitationChecker(database, pages, self._metrics)

    async def answer(self, request: AnswerRequest, owner_id: str) -> Answer:
        """The answer; honest when nothing matches. Raises what search raises."""
        started = time.perf_counter()
        try:
            answer = await self._answer(request, owner_id)
        except Exception as error:
            outcome = "refused" if isinstance(error, REFUSALS) else "failed"
            self._metrics.answers.labels(request.mode, outcome).inc()
            raise
        self._metrics.answers.labels(request.mode, answer.state).inc()
        self._metrics.seconds.labels(request.mode).observe(time.perf_counter() - started)
        return answer

    async def _answer(self, request: AnswerRequest, owner_id: str) -> Answer:
        with span("answer", mode=request.mode):
            found = await self._search.search(
                SearchRequest(
                    query=request.question,
                    collection_ids=request.collection_ids,
                    filters=request.filters,
                    limit=PASSAGES[request.mode],
                ),
                owner_id,
            )
            started = time.perf_counter()
            with span("answer.write", writer=self._writer.name, passages=len(found.hits)):
                quotes = await self._writer.write(request.question, found.hits)
            with span("answer.check_citations", quotes=len(quotes)):
                citations = await self._citations.check(quotes)
        text = " ".join(f"{citation.quote} [{citation.n}]" for citation in citations)
        timings = dict(found.timings_ms)
        timings["write"] = round((time.perf_counter() - started) * 1000, 2)
        timings["total"] = round(timings["total"] + timings["write"], 2)
        return Answer(
            id=new_id(),
            chat_id=None,
            answer=text or NO_MATCH,
            citations=citations,
            generated_by=self._writer.name,
            state="complete" if citations else "no_match",
            warnings=found.warnings,
            suggestions=[],
            timings_ms=timings,
        )


class CitationChecker:
    """Finds each quote on its page again; one that is not there is dropped."""

    def __init__(self, database: Database, pages: PageStore, metrics: AnswerMetrics) -> None:
        self._database = database
        self._pages = pages
        self._metrics = metrics

    async def check(self, quotes: Sequence[Quote]) -> list[Citation]:
        """Citations numbered from 1 in the order of the quotes, with the boxes of exactly the quoted words."""
        async with self._database.read() as session:
            rows = await DocumentRepository(session).chunks_with_documents([quote.hit.chunk_id for quote in quotes])
        citations: list[Citation] = []
        for quote in quotes:
            if quote.hit.chunk_id not in rows:
                continue
            chunk, document = rows[quote.hit.chunk_id]
            boxes = await self._locate(document.sha256, chunk, quote)
            if boxes is None:
                logger.warning("citation.dropped", chunk_id=chunk.id)
                continue
            citations.append(
                Citation(
                    n=len(citations) + 1,
                    chunk_id=chunk.id,
                    document_id=document.id,
                    document_name=document.name,
                    pages=[chunk.page],
                    boxes=boxes,
                    quote=" ".join(quote.text.split()),
                    support=quote.support,
                )
            )
        self._metrics.checked(verified=len(citations), dropped=len(quotes) - len(citations))
        return citations

    async def _locate(self, sha256: str, chunk: Chunk, quote: Quote) -> list[Box] | None:
        """Where the quote stands; None when the page does not say it."""
        try:
            page = await self._pages.get(sha256, chunk.page)
        except NotFound:
            return None
        shown_start = chunk.start - (quote.hit.matched.start if quote.hit.matched is not None else 0)
        start, end = shown_start + quote.start, shown_start + quote.end
        if page.text[start:end] != quote.text:
            return None
        return [Box(chunk.page, *box) for box in boxes_for(page, start, end)]
