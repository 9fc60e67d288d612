"""Ready documents on their way into a further index, in bundles: many small ones cost what one of their length does.

One document a time, each with its own call of the model and its own transactions, kept the event loop busy and its
questions waiting.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from perplex_mono.errors import DataCorrupt, StaleLease
from perplex_mono.inference.priority import QueryPriority
from perplex_mono.ingestion.chunks import Outline
from perplex_mono.ingestion.committer import IndexCommitter
from perplex_mono.ingestion.cutting import Cutter
from perplex_mono.ingestion.indexing import ChunkStore, CutPage
from perplex_mono.ingestion.page_store import PageStore
from perplex_mono.ingestion.pages import Page
from perplex_mono.ingestion.prepared import PreparedDocument
from perplex_mono.ingestion.targets import IndexTarget
from perplex_mono.library.models import Document, SearchIndex
from perplex_mono.library.requeueing import ingest_anew
from perplex_mono.operations.ledger import Claim, Ledger
from perplex_mono.operations.progress import ProgressMeter
from perplex_mono.telemetry.failpoints import failpoint
from perplex_mono.telemetry.traces import span

BUNDLE_PAGES = 16


def divide(documents: Sequence[Document]) -> Iterator[list[Document]]:
    """Divide documents, in their order, into bundles of `BUNDLE_PAGES` pages at most; a longer one is alone."""
    bundle: list[Document] = []
    pages = 0
    for document in documents:
        count = document.page_count or 0
        if bundle and pages + count > BUNDLE_PAGES:
            yield bundle
            bundle, pages = [], 0
        bundle.append(document)
        pages += count
    if bundle:
        yield bundle


@dataclass(eq=False)
class _Work:
    """A document on its way into the index: what of it is there already, and what became of it."""

    document: Document
    outline: Outline = ()
    pages: int = 0
    chunks: int = 0
    is_begun: bool = False
    is_gone: bool = False
    damage: DataCorrupt | None = None

    def expect_pages(self) -> None:
        """At its end: note the damage if pages are missing."""
        if self.damage is None and not self.is_gone and self.pages != self.document.page_count:
            self.damage = DataCorrupt(
                f"Of '{self.document.name}' {self.pages} of {self.document.page_count} pages are stored."
            )


class BundleIndexer:
    """Cuts and embeds documents from their stored pages, as many pages at a time as a bundle has."""

    def __init__(
        self,
        ledger: Ledger,
        pages: PageStore,
        cutter: Cutter,
        chunks: ChunkStore,
        committer: IndexCommitter,
        priority: QueryPriority,
    ) -> None:
        self._ledger = ledger
        self._pages = pages
        self._cutter = cutter
        self._chunks = chunks
        self._committer = committer
        self._priority = priority

    async def add(self, claim: Claim, bundle: Sequence[Document], target: IndexTarget, meter: ProgressMeter) -> None:
        """Put documents into the index, whole. What was deleted meanwhile is passed over.

        One with damaged pages is read again from its original. Raises `StaleLease`, and what embedding raises.
        """
        works = [_Work(document) for document in bundle]
        self._committer.in_flight += len(works)
        try:
            with span("reindex.documents", documents=len(works)):
                async with aclosing(self._batches(works)) as batches:
                    async for batch in batches:
                        await self._cut_and_embed(claim, batch, target, meter)
                failpoint("before_reindex_commit")
                await self._commit(claim, works, target.index)
            for work in works:
                if work.damage is not None:
                    await self._ingest_anew(claim, work.document, work.damage)
        finally:
            self._committer.in_flight -= len(works)

    async def _batches(self, works: Sequence["_Work"]) -> AsyncGenerator[list[tuple["_Work", Page]], None]:
        """The stored pages of all, some at a time; a document whose pages are damaged or missing is told so."""
        batch: list[tuple[_Work, Page]] = []
        for work in works:
            try:
                async for page in self._pages.load(work.document.sha256):
                    work.pages += 1
                    batch.append((work, page))
                    if len(batch) == BUNDLE_PAGES:
                        yield batch
                        batch = []
                    if work.is_gone:
                        break
            except DataCorrupt as damage:
                work.damage = damage
            work.expect_pages()
        if batch:
            yield batch

    async def _cut_and_embed(
        self, claim: Claim, batch: Sequence[tuple["_Work", Page]], target: IndexTarget, meter: ProgressMeter
    ) -> None:
        cut: list[tuple[_Work, list[CutPage]]] = []
        for work, members in groupby(batch, key=itemgetter(0)):
            cut_pages, work.outline = await self._cutter.cut(target, [page for _, page in members], work.outline)
            cut.append((work, cut_pages))
        await self._priority.stand_aside()
        vectors = await self._chunks.embed(target.embedder, [page for _, pages in cut for page in pages])
        await self._priority.stand_aside()
        async with self._ledger.fenced(claim) as (session, operation):
            await self._mark_gone(session, [work for work, _ in cut])
            living = [(work, pages) for work, pages in cut if not work.is_gone]
            await ChunkStore.clear(session, [work.document.id for work, _ in living if not work.is_begun])
            for work, pages in living:
                work.is_begun = True
                work.chunks += await self._chunks.add(session, work.document.id, target.index, pages, work.chunks)
            await self._chunks.keep(session, target.index.model_key, vectors)
            self._ledger.mark_checkpoint(operation)
        document, page = batch[-1][0].document, batch[-1][1]
        meter.advance(len(batch), {"document_id": document.id, "document": document.name, "page": page.number})

    @staticmethod
    async def _mark_gone(session: AsyncSession, works: Sequence["_Work"]) -> None:
        query = select(Document.id).where(
            col(Document.id).in_([work.document.id for work in works]), Document.status == "ready"
        )
        ready = set((await session.exec(query)).all())
        for work in works:
            work.is_gone = work.document.id not in ready

    async def _commit(self, claim: Claim, works: Sequence["_Work"], index: SearchIndex) -> None:
        prepared = [
            PreparedDocument(claim, work.document.id, work.document.name, index, work.pages, work.chunks, is_ready=True)
            for work in works
            if not work.is_gone and work.damage is None
        ]
        outcomes = await asyncio.gather(*map(self._committer.commit, prepared), return_exceptions=True)
        failures = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        for failure in failures:
            if not isinstance(failure, StaleLease):
                raise failure
        if failures:
            async with self._ledger.fenced(claim):
                return  # the operation is still ours: only documents were deleted

    async def _ingest_anew(self, claim: Claim, document: Document, damage: DataCorrupt) -> None:
        """A document whose stored pages are damaged is read again from its original; it holds up no other."""
        broken = await self._pages.find_broken(document.sha256)
        async with self._ledger.fenced(claim) as (session, operation):
            row = await session.get(Document, document.id)
            if row is None or row.status != "ready":
                return
            await self._pages.drop(session, row.sha256, broken)
            await ingest_anew(session, self._ledger, row)
            message = f"{damage} It is read again from its original."
            warning = {"document_id": row.id, "name": row.name, "message": message}
            await self._ledger.emit(session, operation, "warning", warning)
