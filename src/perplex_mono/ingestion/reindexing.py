"""The `reindex` operation: a second index is filled from stored pages beside the active one, then takes its place.

Searches go on in the active index until the last ready document is in the new one; the switch is one transaction.
What becomes ready meanwhile is caught up with; what is being ingested at the switch goes into the new index.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from functools import partial

from perplex_mono.errors import DataCorrupt, StaleLease
from perplex_mono.ingestion.chunks import Outline
from perplex_mono.ingestion.committer import IndexCommitter
from perplex_mono.ingestion.cutting import Cutter
from perplex_mono.ingestion.indexing import ChunkStore
from perplex_mono.ingestion.page_store import PageStore
from perplex_mono.ingestion.pages import Page
from perplex_mono.ingestion.prepared import PreparedDocument
from perplex_mono.ingestion.targets import IndexTarget, IndexTargets
from perplex_mono.library.index_repository import IndexRepository
from perplex_mono.library.models import Collection, Document, SearchIndex
from perplex_mono.library.service import ingest_anew
from perplex_mono.operations.ledger import Claim, Ledger
from perplex_mono.operations.progress import ProgressMeter
from perplex_mono.storage.database import Database
from perplex_mono.telemetry.failpoints import failpoint
from perplex_mono.telemetry.traces import span

BATCH_DOCUMENTS = 64
CONCURRENT_DOCUMENTS = 8
BATCH_PAGES = 16


class ReindexHandler:
    """Runs `reindex` operations. What an index holds is in its entries, so an interrupted one simply goes on."""

    def __init__(
        self,
        database: Database,
        ledger: Ledger,
        pages: PageStore,
        cutter: Cutter,
        chunks: ChunkStore,
        committer: IndexCommitter,
        targets: IndexTargets,
    ) -> None:
        self._database = database
        self._ledger = ledger
        self._pages = pages
        self._cutter = cutter
        self._chunks = chunks
        self._committer = committer
        self._targets = targets
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def run(self, claim: Claim) -> None:
        """Fill the index until it holds every ready document, then make it the active one.

        One at a time for each index: of two that were asked for, the second finds what the first left to do.
        """
        async with self._turns[str(claim.params["index_id"])]:
            index = await self._wanted_index(claim)
            if index is None:
                await self._ledger.complete(claim, summary={"reason": "the index is not wanted any more"})
            else:
                await self._build(claim, index)

    async def _build(self, claim: Claim, index: SearchIndex) -> None:
        target = await self._targets.open(index)
        async with self._database.read() as session:
            done, total = await IndexRepository(session).count_pages(index)
        meter = ProgressMeter(partial(self._ledger.record_progress, claim), unit="pages", done=done, total=total)
        async with meter.recording():
            while not await self._switch(claim, index.id):
                await self._fill(claim, target, meter)
        await self._ledger.complete(claim, summary={"index_id": index.id})

    async def _fill(self, claim: Claim, target: IndexTarget, meter: ProgressMeter) -> None:
        """Add what the index lacks now, a few documents at a time."""
        places = asyncio.Semaphore(CONCURRENT_DOCUMENTS)

        async def add(document: Document) -> None:
            async with places:
                await self._add(claim, document, target, meter)

        async with self._database.read() as session:
            repository = IndexRepository(session)
            documents = await repository.list_missing(target.index, BATCH_DOCUMENTS)
            _, total = await repository.count_pages(target.index)
        meter.expect(total - meter.total)
        try:
            async with asyncio.TaskGroup() as group:
                for document in documents:
                    group.create_task(add(document))
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from errors

    async def _add(self, claim: Claim, document: Document, target: IndexTarget, meter: ProgressMeter) -> None:
        """Cut and embed one document anew from its stored pages. One that was deleted meanwhile is passed over."""
        self._committer.in_flight += 1
        try:
            with span("reindex.document", document_id=document.id), suppress(_Gone):
                chunks = await self._cut_and_embed(claim, document, target, meter)
                failpoint("before_reindex_commit")
                await self._commit(claim, document, target.index, chunks)
        except DataCorrupt as damage:
            await self._ingest_anew(claim, document, damage)
        finally:
            self._committer.in_flight -= 1

    async def _cut_and_embed(self, claim: Claim, document: Document, target: IndexTarget, meter: ProgressMeter) -> int:
        async with self._ledger.fenced(claim) as (session, _):
            await ChunkStore.clear(session, document.id)
        pages = chunks = 0
        outline: Outline = ()
        async for batch in self._batches(document):
            cut_pages, outline = await self._cutter.cut(target, batch, outline)
            vectors = await self._chunks.embed(target.embedder, cut_pages)
            async with self._ledger.fenced(claim) as (session, operation):
                row = await session.get(Document, document.id)
                if row is None or row.status != "ready":
                    raise _Gone
                chunks += await self._chunks.add(session, document.id, target.index, cut_pages, chunks, vectors)
                self._ledger.mark_checkpoint(operation)
            pages += len(batch)
            current = {"document_id": document.id, "document": document.name, "page": batch[-1].number}
            meter.advance(len(batch), current)
        if pages != document.page_count:
            raise DataCorrupt(f"Of '{document.name}' {pages} of {document.page_count} pages are stored.")
        return chunks

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

    async def _batches(self, document: Document) -> AsyncIterator[Sequence[Page]]:
        batch: list[Page] = []
        async for page in self._pages.load(document.sha256):
            batch.append(page)
            if len(batch) == BATCH_PAGES:
                yield batch
                batch = []
        if batch:
            yield batch

    async def _commit(self, claim: Claim, document: Document, index: SearchIndex, chunks: int) -> None:
        prepared = PreparedDocument(
            claim, document.id, document.name, index, document.page_count or 0, chunks, is_ready=True
        )
        try:
            await self._committer.commit(prepared)
        except StaleLease:
            async with self._ledger.fenced(claim):
                return  # the operation is still ours: only the document was deleted

    async def _switch(self, claim: Claim, index_id: str) -> bool:
        """Make the index the active one if it lacks nothing, at once; True when nothing is left to do."""
        failpoint("before_switch")
        async with self._ledger.fenced(claim) as (session, _):
            index = await IndexRepository(session).find(index_id)
            collection = await session.get(Collection, claim.collection_id)
            if index is None or collection is None or not _is_wanted(collection, index):
                return True
            if await IndexRepository(session).count_missing(index):
                return False
            if index.state == "building":
                await IndexRepository(session).make_active(collection, index)
            collection.fallback_index_id = None
        failpoint("after_switch")
        return True

    async def _wanted_index(self, claim: Claim) -> SearchIndex | None:
        async with self._database.read() as session:
            collection = await session.get(Collection, claim.collection_id)
            index = await IndexRepository(session).find(str(claim.params["index_id"]))
        return index if index is not None and collection is not None and _is_wanted(collection, index) else None


def _is_wanted(collection: Collection, index: SearchIndex) -> bool:
    """Whether the index is to be filled: for the first time, or because it is searched again and lacks something."""
    is_living = collection.deleted_at is None
    return is_living and (index.state == "building" or collection.active_index_id == index.id)


class _Gone(Exception):
    """The document was deleted meanwhile."""
