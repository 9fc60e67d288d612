"""What one transaction of a scan collects and hands over at its end: work for the child, bytes to keep, warnings."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlmodel.ext.asyncio.session import AsyncSession

from perplex_mono.library.models import Document
from perplex_mono.library.removal import hide_documents
from perplex_mono.library.requeueing import requeue
from perplex_mono.operations.ledger import Ledger
from perplex_mono.operations.models import FINAL_STATES, Operation
from perplex_mono.operations.repository import OperationRepository
from perplex_mono.sources.progress import ScanProgress
from perplex_mono.sources.sourced_document_repository import SourcedDocumentRepository
from perplex_mono.sources.walking import Skip, printable
from perplex_mono.storage.blobs import IncomingBlob, keep_all
from perplex_mono.telemetry.failpoints import failpoint


@dataclass
class Changes:
    """New documents, cancelled ones to take up again, versions that never became ready, new bytes, and skips."""

    fresh: list[Document] = field(default_factory=list)
    again: list[Document] = field(default_factory=list)
    superseded: list[Document] = field(default_factory=list)
    blobs: list[IncomingBlob] = field(default_factory=list)
    skipped: list[Skip] = field(default_factory=list)


class ChangeHandover:
    """Ends the transactions of one scan."""

    def __init__(self, ledger: Ledger, progress: ScanProgress) -> None:
        self._ledger = ledger
        self._progress = progress

    async def hand_over(self, session: AsyncSession, operation: Operation, changes: Changes) -> None:
        """Hand new and cancelled documents to the child operation, which begins with the first of them."""
        documents = SourcedDocumentRepository(session)
        superseded = [document for document in changes.superseded if not await documents.is_used(document.id)]
        if superseded:
            await hide_documents(session, self._ledger, superseded)
        again = [document for document in changes.again if document not in changes.fresh]
        if changes.fresh or again:
            child = await self._child(session, operation, len(changes.fresh) + len(again))
            for document in changes.fresh:
                document.operation_id = child.id
            for document in again:
                requeue(document, child.id)
        if changes.blobs:
            await session.flush()
            await asyncio.to_thread(keep_all, changes.blobs)
            failpoint("after_scan_blobs")
        await self._warn(session, operation, changes.skipped)

    async def _child(self, session: AsyncSession, operation: Operation, more: int) -> Operation:
        for child in await OperationRepository(session).list_children(operation.id):
            if child.state not in FINAL_STATES:
                child.total += more
                return child
        return await self._ledger.enqueue(
            session,
            owner_id=operation.owner_id,
            kind="ingest",
            collection_id=operation.collection_id,
            total=more,
            unit="pages",
            parent_id=operation.id,
        )

    async def _warn(self, session: AsyncSession, operation: Operation, skipped: Sequence[Skip]) -> None:
        told = skipped[: self._progress.warnings_left]
        self._progress.warnings_left -= len(told)
        warnings = [{"name": printable(skip.path), "message": f"Skipped: {skip.reason.rstrip('.')}."} for skip in told]
        await self._ledger.emit_all(session, operation, "warning", warnings)
