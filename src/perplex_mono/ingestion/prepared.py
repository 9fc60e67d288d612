"""Documents on their way into an index: what is known of each when it is committed, and whether it is still wanted."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from opentelemetry.trace import SpanContext
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from perplex_mono.errors import PerplexError, StaleLease
from perplex_mono.library.index_repository import IndexRepository
from perplex_mono.library.models import Collection, Document, SearchIndex
from perplex_mono.operations.ledger import Claim
from perplex_mono.operations.models import Operation
from perplex_mono.storage.identity import utc_now
from perplex_mono.telemetry.traces import current_span


class IndexSwitched(PerplexError):
    """The collection got another active index while the document was ingested: it belongs into that one."""


@dataclass(eq=False)
class PreparedDocument:
    """A document whose chunks and vectors are all in SQLite; `is_ready` when it only enters a further index."""

    claim: Claim
    document_id: str
    name: str
    index: SearchIndex
    page_count: int
    chunk_count: int
    is_ready: bool = False
    span: SpanContext = field(default_factory=current_span)
    # done early when the waiting task was cancelled; the commit goes on for the others of its group
    committed: "asyncio.Future[None]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())


async def judge(
    session: AsyncSession, operation: Operation, group: Sequence[PreparedDocument]
) -> dict[PreparedDocument, PerplexError | None]:
    """Enter those documents into their index that are still what they were; for the others, why not."""
    query = (
        select(Document, Collection.active_index_id)
        .join(Collection, col(Collection.id) == col(Document.collection_id))
        .where(col(Document.id).in_([prepared.document_id for prepared in group]))
    )
    rows = {document.id: (document, active) for document, active in (await session.exec(query)).all()}
    judged: dict[PreparedDocument, PerplexError | None] = {}
    entries: list[dict[str, object]] = []
    for prepared in group:
        row, active_index_id = rows.get(prepared.document_id, (None, None))
        if row is None or not _is_ours(prepared, row, operation):
            judged[prepared] = StaleLease("The document was deleted or taken back while it was indexed.")
        elif not prepared.is_ready and active_index_id != prepared.index.id:
            judged[prepared] = IndexSwitched("The collection got another active index meanwhile.")
        else:
            judged[prepared] = None
            entries.append(_entry(prepared))
            if not prepared.is_ready:
                row.status, row.updated_at = "ready", utc_now()
                row.page_count, row.chunk_count = prepared.page_count, prepared.chunk_count
    await session.flush()
    await IndexRepository(session).enter(entries)
    return judged


def _is_ours(prepared: PreparedDocument, row: Document, operation: Operation) -> bool:
    if prepared.is_ready:
        return row.status == "ready"
    return row.status == "processing" and row.operation_id == operation.id


def _entry(prepared: PreparedDocument) -> dict[str, object]:
    return {
        "index_id": prepared.index.id,
        "document_id": prepared.document_id,
        "chunk_count": prepared.chunk_count,
    }


def done_event(prepared: PreparedDocument) -> dict[str, object]:
    return {
        "document_id": prepared.document_id,
        "name": prepared.name,
        "pages": prepared.page_count,
        "chunks": prepared.chunk_count,
    }
