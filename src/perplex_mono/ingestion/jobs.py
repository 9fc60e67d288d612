"""The `ingest` operation: every document it was given, a few at a time, each judged alone."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial

from loguru import logger
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel.ext.asyncio.session import AsyncSession

from perplex_mono.errors import DocumentFailure, PerplexError, StaleLease, StorageFull, Unavailable
from perplex_mono.ingestion.committer import IndexCommitter
from perplex_mono.ingestion.document_states import DocumentStates
from perplex_mono.ingestion.metrics import IngestionMetrics
from perplex_mono.ingestion.pipeline import IngestPipeline, Work
from perplex_mono.ingestion.places import DocumentPlaces, Place
from perplex_mono.ingestion.prepared import IndexSwitched
from perplex_mono.ingestion.targets import IndexTargets
from perplex_mono.library.models import Document
from perplex_mono.library.repository import DocumentRepository
from perplex_mono.library.throughput import Throughput
from perplex_mono.operations.ledger import Claim, Ledger
from perplex_mono.operations.models import FINAL_STATES
from perplex_mono.operations.progress import DocumentProgress, ProgressMeter
from perplex_mono.operations.repository import OperationRepository
from perplex_mono.operations.retries import is_transient
from perplex_mono.storage.database import Database
from perplex_mono.storage.disk_full import MESSAGE, is_disk_full
from perplex_mono.telemetry.waiting import at_work, in_line, mark_waiting

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
        throughput: Throughput,
        metrics: IngestionMetrics,
        *,
        concurrent_documents: int,
    ) -> None:
        self._database = database
        self._ledger = ledger
        self._states = states
        self._pipeline = pipeline
        self._committer = committer
        self._targets = targets
        self._throughput = throughput
        self._metrics = metrics
        self._places = DocumentPlaces(concurrent_documents)

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
        try:
            async with meter.recording():
                while documents := await self._next_documents(claim, meter):
                    await self._ingest_together(claim, documents, meter)
        except ExceptionGroup as errors:
            raise _first(errors) from errors
        async with self._database.read() as session:
            failed = await DocumentRepository(session).count_failed(claim.operation_id)
        await self._ledger.complete(claim, failed_count=failed)

    async def _ingest_together(self, claim: Claim, documents: Sequence[Document], meter: ProgressMeter) -> None:
        """Each as soon as there is a place for it; large ones may take only half of the places."""
        with in_line():  # for a place, or for its own documents, each of which is at work
            async with asyncio.TaskGroup() as group:
                for document in documents:
                    place = await self._places.take(claim, is_large=document.size_bytes > LARGE_BYTES)
                    task = group.create_task(self._ingest(claim, document, meter, place))
                    task.add_done_callback(place.leave)

    async def _ingest(self, claim: Claim, document: Document, meter: ProgressMeter, place: Place) -> None:
        progress = DocumentProgress(meter, document.id, document.name)
        self._committer.in_flight += 1
        try:
            with at_work():
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
        document, started = work.document, time.perf_counter()
        try:
            with self._throughput.working(document.media_type, document.size_bytes):
                await self._pipeline.ingest(work)
            self._metrics.document_seconds.labels("ready").observe(time.perf_counter() - started)
        except DocumentFailure as failure:
            self._metrics.document_seconds.labels("failed").observe(time.perf_counter() - started)
            logger.info("document.failed", document_id=document.id, code=failure.code, reason=str(failure))
            await self._states.fail(work.claim, document, failure, work.reading)
        except asyncio.CancelledError:
            await self._put_away(work)
            raise
        except Exception as error:
            await self._judge(work, error)

    async def _put_away(self, work: Work) -> None:
        """Keep what was read before a pause or a shutdown; whatever cannot be stored is read again."""
        try:
            await self._states.put_away(work.claim, work.document, work.reading)
        except StaleLease:
            return
        except Exception as error:
            logger.warning("document.pages_not_kept", document_id=work.document.id, reason=str(error))

    async def _judge(self, work: Work, error: Exception) -> None:
        """What may pass and trouble with the storage is raised, to be tried again; the rest is the document's own."""
        document = work.document
        if isinstance(error, PerplexError) and is_transient(error):
            raise error
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
            mark_waiting()
            await asyncio.sleep(FED_POLL_SECONDS)

    async def _meter(self, session: AsyncSession, claim: Claim) -> ProgressMeter:
        settled, total = await DocumentRepository(session).count_pages(claim.operation_id)
        record = partial(self._ledger.record_progress, claim)
        return ProgressMeter(record, unit="pages", done=settled, total=total, unopened=total - settled)


class _Hungry(Exception):
    """Nothing is left to do for now, and the operation that feeds this one does not run either."""


def _first(errors: ExceptionGroup[Exception]) -> Exception:
    """What went wrong first; the others were cancelled because of it."""
    error: Exception = errors
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error
