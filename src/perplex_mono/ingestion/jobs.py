"""The `ingest` operation: every document it was given, a few at a time, each judged alone."""

import asyncio
from contextlib import suppress
from functools import partial

from loguru import logger
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel.ext.asyncio.session import AsyncSession

from perplex_mono.errors import DocumentFailure, PerplexError, StaleLease, StorageFull, Unavailable
from perplex_mono.ingestion.committer import IndexCommitter, IndexSwitched
from perplex_mono.ingestion.document_states import DocumentStates
from perplex_mono.ingestion.pipeline import IngestPipeline, Work
from perplex_mono.ingestion.targets import IndexTargets
from perplex_mono.library.models import Document
from perplex_mono.library.repository import DocumentRepository
from perplex_mono.operations.ledger import Claim, Ledger
from perplex_mono.operations.models import FINAL_STATES
from perplex_mono.operations.progress import DocumentProgress, ProgressMeter
from perplex_mono.operations.repository import OperationRepository
from perplex_mono.storage.database import Database
from perplex_mono.storage.disk_full import MESSAGE, is_disk_full

BATCH_DOCUMENTS = 100
LARGE_BYTES = 4 * 1024 * 1024
FED_POLL_SECONDS = 0.25
HUNGRY_SECONDS = 2.0


class IngestHandler:
    """Runs `ingest` operations; all of them share the same few places for documents."""

    def __init__(
        self,
        database: Database,
        ledger: Ledger,
        states: DocumentStates,
        pipeline: IngestPipeline,
        committer: IndexCommitter,
        targets: IndexTargets,
        *,
        concurrent_documents: int,
    ) -> None:
        self._database = database
        self._ledger = ledger
        self._states = states
        self._pipeline = pipeline
        self._committer = committer
        self._targets = targets
        self._places = asyncio.Semaphore(concurrent_documents)
        self._large_places = asyncio.Semaphore(max(1, concurrent_documents // 2))

    async def run(self, claim: Claim) -> None:
        """Ingest until nothing of the operation is left to do, attachments found on the way included."""
        try:
            await self._run(claim)
        except _Hungry:
            await self._ledger.release(claim, pause_seconds=HUNGRY_SECONDS)
        except BaseException:
            with suppress(StaleLease):
                await self._states.forgive(claim)
            raise

    async def _run(self, claim: Claim) -> None:
        if await self._targets.active(claim.collection_id) is None:
            await self._ledger.complete(claim, summary={"reason": "the collection was deleted"})
            return
        async with self._database.read() as session:
            meter = await self._meter(session, claim)
        recording = asyncio.create_task(meter.run())
        try:
            while documents := await self._next_documents(claim, meter):
                async with asyncio.TaskGroup() as group:
                    for document in documents:
                        place = await self._take_place(document)
                        task = group.create_task(self._ingest(claim, document, meter, place))
                        task.add_done_callback(place.leave)
        except ExceptionGroup as errors:
            raise _first(errors) from errors
        finally:
            recording.cancel()
        await meter.flush()
        async with self._database.read() as session:
            failed = await DocumentRepository(session).count_failed(claim.operation_id)
        await self._ledger.complete(claim, failed_count=failed)

    async def _take_place(self, document: Document) -> "_Place":
        """Wait for a place; large documents may take only half of them, so that small ones never wait for giants."""
        is_large = document.size_bytes > LARGE_BYTES
        place = _Place([self._large_places, self._places] if is_large else [self._places])
        await place.take()
        return place

    async def _ingest(self, claim: Claim, document: Document, meter: ProgressMeter, place: "_Place") -> None:
        progress = DocumentProgress(meter, document.id, document.name)
        self._committer.in_flight += 1
        try:
            while (target := await self._targets.active(claim.collection_id)) is not None:
                with suppress(IndexSwitched):
                    await self._ingest_or_fail(Work(claim, document, target, progress, place.leave))
                    break
        except StaleLease:
            if not await self._was_taken_back(claim, document):
                raise
        finally:
            self._committer.in_flight -= 1
            progress.finish()

    async def _ingest_or_fail(self, work: Work) -> None:
        """What is wrong with the document alone ends in its row; anything else is raised."""
        document = work.document
        try:
            await self._pipeline.ingest(work)
        except DocumentFailure as failure:
            logger.info("document.failed", document_id=document.id, code=failure.code, reason=str(failure))
            await self._states.fail(work.claim, document, failure, work.reading)
        except PerplexError:
            raise
        except Exception as error:
            await self._judge(work, error)

    async def _judge(self, work: Work, error: Exception) -> None:
        """Trouble with the storage is raised, to be tried again; anything else must be the document's own."""
        document = work.document
        if is_disk_full(error):
            raise StorageFull(MESSAGE) from error
        if isinstance(error, (SQLAlchemyError, OSError)):
            raise Unavailable("storage", f"{type(error).__name__} while ingesting '{document.name}'") from error
        logger.opt(exception=error).error("document.broke", document_id=document.id)
        reason = f"The server could not process it ({type(error).__name__}); its log says more."
        await self._states.fail(work.claim, document, DocumentFailure("internal", reason), work.reading)

    async def _was_taken_back(self, claim: Claim, document: Document) -> bool:
        """Whether only this document is no longer ours (deleted meanwhile), and the operation still is."""
        async with self._ledger.fenced(claim) as (session, _):
            row = await session.get(Document, document.id)
            return row is None or row.status == "deleting" or row.operation_id != claim.operation_id

    async def _next_documents(self, claim: Claim, meter: ProgressMeter) -> list[Document]:
        """What to take up next; waits while an operation that feeds this one may find more. Raises `_Hungry`."""
        while True:
            async with self._database.read() as session:
                feeder = await OperationRepository(session).find_parent(claim.operation_id)
                is_fed = feeder is not None and feeder.state not in FINAL_STATES
                documents = await DocumentRepository(session).list_pending(claim.operation_id, BATCH_DOCUMENTS)
                if feeder is not None and documents:
                    _, total = await DocumentRepository(session).count_pages(claim.operation_id)
                    meter.expect(total - meter.total)
            if documents or not is_fed:
                return list(documents)
            if feeder is not None and feeder.state == "queued":
                raise _Hungry  # it may be waiting for the very place that this one holds
            await asyncio.sleep(FED_POLL_SECONDS)

    async def _meter(self, session: AsyncSession, claim: Claim) -> ProgressMeter:
        settled, total = await DocumentRepository(session).count_pages(claim.operation_id)
        return ProgressMeter(partial(self._ledger.record_progress, claim), unit="pages", done=settled, total=total)


class _Hungry(Exception):
    """Nothing is left to do for now, and the operation that feeds this one does not run either."""


class _Place:
    """The right to read and embed; left before the commit, where documents wait for each other."""

    def __init__(self, semaphores: list[asyncio.Semaphore]) -> None:
        self._wanted = semaphores
        self._taken: list[asyncio.Semaphore] = []

    async def take(self) -> None:
        """Wait until all are free; a cancelled wait takes none."""
        try:
            for semaphore in self._wanted:
                await semaphore.acquire()
                self._taken.append(semaphore)
        except BaseException:
            self.leave()
            raise

    def leave(self, *_: object) -> None:
        """Let another document have it; harmless the second time."""
        while self._taken:
            self._taken.pop().release()


def _first(errors: ExceptionGroup[Exception]) -> Exception:
    """What went wrong first; the others were cancelled because of it."""
    error: Exception = errors
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error
