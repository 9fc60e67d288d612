"""Documents queued to be ingested again, and what becomes of those whose operation stopped before they were done."""

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from perplex_mono.errors import FailureCode
from perplex_mono.library.index_repository import IndexRepository
from perplex_mono.library.models import Document
from perplex_mono.library.repository import DocumentRepository
from perplex_mono.operations.ledger import Ledger
from perplex_mono.operations.models import Operation
from perplex_mono.storage.identity import utc_now


async def settle_unfinished(session: AsyncSession, operation: Operation) -> None:
    """What becomes of the documents an operation leaves unfinished.

    They fail with it and its reason, or are cancelled with it and lose what was read of them; when it is paused,
    they wait, and nobody blames them for having been in flight.
    """
    repository = DocumentRepository(session)
    if operation.state in ("failed", "dead"):
        failure: FailureCode = "internal"
        reason = operation.error_message
        await repository.update_pending(
            operation.id, status="failed", failure_code=failure, failure_message=reason, updated_at=utc_now()
        )
        operation.failed_count = await repository.count_failed(operation.id)
    elif operation.state == "cancelled":
        await repository.update_pending(operation.id, status="cancelled", updated_at=utc_now())
        await repository.purge_partial(operation.id)
    elif operation.state == "paused":
        await repository.update_pending(operation.id, attempts=0)


async def requeue_unready(session: AsyncSession, operation: Operation) -> None:
    """Whatever of an operation failed or was cancelled is to be ingested again."""
    unready = (col(Document.operation_id) == operation.id) & col(Document.status).in_(("failed", "cancelled"))
    for document in (await session.exec(select(Document).where(unready))).all():
        requeue(document, operation.id)
    operation.done, operation.total = await DocumentRepository(session).count_pages(operation.id)


def requeue(document: Document, operation_id: str) -> None:
    """Have an operation ingest the document anew, its past failures forgotten."""
    document.operation_id = operation_id
    document.status = "received"
    document.attempts = 0
    document.failure_code = document.failure_message = None
    document.updated_at = utc_now()


async def ingest_anew(session: AsyncSession, ledger: Ledger, document: Document) -> None:
    """Queue a ready document to be read once more, in the caller's transaction; no index holds it until it was."""
    operation = await ledger.enqueue(
        session,
        owner_id=document.owner_id,
        kind="ingest",
        collection_id=document.collection_id,
        total=1,
        unit="pages",
    )
    requeue(document, operation.id)
    await IndexRepository(session).leave(document.id)
