"""Documents become searchable here: whole, grouped into one vector commit, ready only when that is on disk."""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress

from loguru import logger
from sqlmodel import col, select

from perplex_mono.errors import NotFound, PerplexError, StaleLease, StorageFull, Unavailable
from perplex_mono.inference.memory import return_free_memory
from perplex_mono.inference.priority import QueryPriority
from perplex_mono.ingestion.indexing import load_chunks
from perplex_mono.ingestion.prepared import PreparedDocument, done_event, judge
from perplex_mono.library.models import Collection, Document, SearchIndex
from perplex_mono.library.removal import replace_old_versions
from perplex_mono.operations.ledger import Ledger
from perplex_mono.storage.database import Database
from perplex_mono.storage.disk_full import MESSAGE, is_disk_full
from perplex_mono.storage.starting import Starting
from perplex_mono.storage.vectors import DocumentRows, VectorStore
from perplex_mono.telemetry.failpoints import failpoint
from perplex_mono.telemetry.traces import span

MAX_GROUP_CHUNKS = 8_000
MAINTAIN_EVERY_COMMITS = 10
MAINTAIN_IDLE_SECONDS = 2.0
LEFTOVERS_AT_ONCE = 500


class IndexCommitter:
    """Collects prepared documents for a moment, so that many small ones cost one commit.

    `in_flight` says how many documents are being ingested: when all of them wait here, nothing is gained by waiting.
    """

    def __init__(
        self,
        database: Database,
        ledger: Ledger,
        vectors: Starting[VectorStore],
        priority: QueryPriority,
        *,
        max_documents: int,
        max_seconds: float,
    ) -> None:
        self._ledger = ledger
        self._database = database
        self._vectors = vectors
        self._priority = priority
        self._max_documents = max_documents
        self._max_seconds = max_seconds
        self._queue: asyncio.Queue[PreparedDocument] = asyncio.Queue(maxsize=max_documents)
        self._commits_since_maintenance = 0
        self._touched: set[str] = set()
        self.in_flight = 0

    async def commit(self, prepared: PreparedDocument) -> None:
        """Return when the document is searchable and marked ready.

        Raises `StaleLease` when it is no longer ours, `IndexSwitched` when its index is no longer the active one.
        """
        await self._queue.put(prepared)
        await prepared.committed

    async def run(self) -> None:
        """Commit groups until cancelled; idle moments go to the upkeep of the tables."""
        await self._take_back_leftovers()
        while True:
            try:
                async with asyncio.timeout(MAINTAIN_IDLE_SECONDS if self._touched else None):
                    first = await self._queue.get()
            except TimeoutError:
                await self._maintain(idle=True)
                continue
            group = await self._gather(first)
            try:
                await self._commit_group(group)
            except Exception as error:
                self._refuse(group, error)
            finally:
                self._settle(group, StaleLease("The server is shutting down."))
            if self._commits_since_maintenance >= MAINTAIN_EVERY_COMMITS:
                await self._maintain(idle=False)

    async def _take_back_leftovers(self) -> None:
        """Remove vectors of documents that gave up after a crash between their commit and their being ready."""
        query = (
            select(SearchIndex.table_name, Document.id)
            .join(Document, col(Document.collection_id) == col(SearchIndex.collection_id))
            .where(col(Document.status).in_(("failed", "cancelled")), SearchIndex.state != "deleting")
        )
        async with self._database.read() as session:
            rows = (await session.exec(query)).all()
        by_table: dict[str, list[str]] = defaultdict(list)
        for table, document_id in rows:
            by_table[table].append(document_id)
        vectors = await self._vectors.wait()
        for table, document_ids in by_table.items():
            for start in range(0, len(document_ids), LEFTOVERS_AT_ONCE):
                with suppress(NotFound):
                    await vectors.delete_documents(table, document_ids[start : start + LEFTOVERS_AT_ONCE])

    @staticmethod
    def _settle(group: Sequence[PreparedDocument], error: PerplexError) -> None:
        """Tell those that were not committed; the ledger will have them tried again."""
        for prepared in group:
            if not prepared.committed.done():
                prepared.committed.set_exception(error)

    def _refuse(self, group: Sequence[PreparedDocument], error: Exception) -> None:
        logger.exception("index.commit_failed", documents=len(group))
        failure = StorageFull(MESSAGE) if is_disk_full(error) else Unavailable("index", f"a commit failed: {error}")
        failure.__cause__ = error
        self._settle(group, failure)

    async def _gather(self, first: PreparedDocument) -> list[PreparedDocument]:
        group, chunks = [first], first.chunk_count
        deadline = asyncio.get_running_loop().time() + self._max_seconds
        while len(group) < min(self._max_documents, self.in_flight) and chunks < MAX_GROUP_CHUNKS:
            try:
                async with asyncio.timeout_at(deadline):
                    group.append(await self._queue.get())
            except TimeoutError:
                break
            chunks += group[-1].chunk_count
        return group

    async def _commit_group(self, group: Sequence[PreparedDocument]) -> None:
        vectors = await self._vectors.wait()
        await self._priority.stand_aside()
        by_table: dict[str, list[PreparedDocument]] = defaultdict(list)
        for prepared in group:
            if not prepared.committed.done():  # its operation was paused or cancelled, and may be at it again
                by_table[prepared.index.table_name].append(prepared)
        for table, members in by_table.items():
            try:
                await self._commit_table(vectors, table, members)
            except Exception as error:  # of this table alone: it may have been dropped with its collection
                self._refuse(members, error)

    async def _commit_table(self, vectors: VectorStore, table: str, members: Sequence[PreparedDocument]) -> None:
        waiting, chunks = [member.span for member in members], sum(member.chunk_count for member in members)
        with span("index.commit", waiting, documents=len(members), chunks=chunks):
            complete = [rows for member in members if (rows := await self._rows(member)) is not None]
            if not complete or not await self._is_wanted(members[0].index):
                self._settle(members, StaleLease("The index was dropped while its documents were indexed."))
                return
            await vectors.create_table(table, members[0].index.dimension)
            failpoint("before_lance_commit")
            await vectors.commit_documents(table, complete)
            failpoint("after_lance_commit")
        self._commits_since_maintenance += 1
        self._touched.add(table)
        committed = {rows.document_id for rows in complete}
        by_claim: dict[tuple[str, int], list[PreparedDocument]] = defaultdict(list)
        for member in members:
            if member.document_id in committed:
                by_claim[member.claim.operation_id, member.claim.epoch].append(member)
        for mine in by_claim.values():
            await self._mark_ready(vectors, table, mine)

    async def _is_wanted(self, index: SearchIndex) -> bool:
        """Whether nobody dropped it; asked at the last moment, or its table would be made again and never go."""
        query = (
            select(SearchIndex.id)
            .join(Collection, col(Collection.id) == col(SearchIndex.collection_id))
            .where(SearchIndex.id == index.id, SearchIndex.state != "deleting", col(Collection.deleted_at).is_(None))
        )
        async with self._database.read() as session:
            return (await session.exec(query)).first() is not None

    async def _rows(self, prepared: PreparedDocument) -> DocumentRows | None:
        """The document's chunks, every one with its vector; otherwise it is told to try again, and left out."""
        batches = await load_chunks(self._database, prepared.document_id, prepared.index)
        if sum(len(batch.ids) for batch in batches) == prepared.chunk_count:
            return DocumentRows(prepared.document_id, True, batches)
        self._settle([prepared], Unavailable("index", f"vectors of '{prepared.name}' went missing"))
        return None

    async def _mark_ready(self, vectors: VectorStore, table: str, group: Sequence[PreparedDocument]) -> None:
        """Say in one transaction that the documents of one claim are ready; take back those no longer ours."""
        failpoint("before_ready")
        judged: dict[PreparedDocument, PerplexError | None] = {}
        try:
            async with self._ledger.fenced(group[0].claim) as (session, operation):
                judged = await judge(session, operation, group)
                done = [prepared for prepared, refusal in judged.items() if refusal is None]
                await self._ledger.emit_all(session, operation, "document_done", [done_event(each) for each in done])
                await replace_old_versions(session, self._ledger, [each.document_id for each in done])
                if done:
                    self._ledger.mark_checkpoint(operation)
        except StaleLease:
            taken_back = StaleLease("The operation was stopped while its documents were indexed.")
            judged = dict.fromkeys(group, taken_back)
        refused = {prepared: refusal for prepared, refusal in judged.items() if refusal is not None}
        if refused:
            with suppress(NotFound):  # the table is gone, and their rows with it
                await vectors.delete_documents(table, [prepared.document_id for prepared in refused])
        for prepared in judged:
            if prepared in refused:
                self._settle([prepared], refused[prepared])
            elif not prepared.committed.done():
                prepared.committed.set_result(None)

    async def _maintain(self, *, idle: bool) -> None:
        """Upkeep of the tables written to; under load only what searches suffer from. Memory goes back when idle."""
        self._commits_since_maintenance = 0
        for table in list(self._touched):
            try:
                await self._vectors.get().maintain(table, idle=idle)
            except Exception:
                logger.exception("index.maintenance_failed", table=table)
        if idle:
            self._touched.clear()
            await asyncio.to_thread(return_free_memory)
