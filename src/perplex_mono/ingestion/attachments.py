"""Files inside mail and PDF become documents of their own, two levels deep."""

import asyncio
from pathlib import Path

from sqlmodel import select

from perplex_mono.errors import StaleLease, TooLarge
from perplex_mono.ingestion.pages import Attachment
from perplex_mono.library.media_types import sniff
from perplex_mono.library.models import MAX_ATTACHMENT_DEPTH, Document
from perplex_mono.library.names import clean_name
from perplex_mono.library.requeueing import requeue
from perplex_mono.operations.ledger import Claim, Ledger
from perplex_mono.storage.blobs import BlobStore, read_chunks


class AttachmentKeeper:
    """Takes over what a reader child found inside a document."""

    def __init__(self, ledger: Ledger, blobs: BlobStore, *, max_bytes: int, max_name_chars: int) -> None:
        self._ledger = ledger
        self._blobs = blobs
        self._max_bytes = max_bytes
        self._max_name_chars = max_name_chars

    async def keep(self, claim: Claim, parent: Document, attachment: Attachment) -> bool:
        """Store the bytes and queue them as a child document of the same operation; whether there is a new one.

        Raises `StaleLease` when the parent was deleted or taken back meanwhile.
        """
        name = clean_name(attachment.name, self._max_name_chars)
        if parent.depth >= MAX_ATTACHMENT_DEPTH:
            await self._warn(claim, parent, name, f"attachments are followed {MAX_ATTACHMENT_DEPTH} levels deep")
            return False
        try:
            blob = await self._blobs.receive_all(read_chunks(Path(attachment.path)), self._max_bytes)
        except TooLarge as error:
            await self._warn(claim, parent, name, str(error))
            return False
        try:
            async with self._ledger.fenced(claim) as (session, operation):
                owner = await session.get(Document, parent.id)
                if owner is None or owner.status == "deleting" or owner.operation_id != operation.id:
                    raise StaleLease(f"Document {parent.id} was deleted or taken back.")
                known = select(Document).where(Document.parent_id == parent.id, Document.sha256 == blob.sha256)
                child = (await session.exec(known)).first()
                if child is not None and child.status in ("failed", "cancelled") and child.operation_id != operation.id:
                    requeue(child, operation.id)  # its parent was taken up again by another operation
                    return True
                if child is not None:
                    return False
                session.add(
                    Document(
                        owner_id=parent.owner_id,
                        collection_id=parent.collection_id,
                        parent_id=parent.id,
                        depth=parent.depth + 1,
                        operation_id=operation.id,
                        name=name,
                        sha256=blob.sha256,
                        size_bytes=blob.size_bytes,
                        media_type=sniff(blob.head, name),
                        tags=list(parent.tags),
                    )
                )
                blob.keep()
            return True
        finally:
            blob.discard()
            await asyncio.to_thread(Path(attachment.path).unlink, missing_ok=True)

    async def _warn(self, claim: Claim, parent: Document, name: str, reason: str) -> None:
        message = f"'{name}' was left out: {reason.removesuffix('.')}."
        async with self._ledger.fenced(claim) as (session, operation):
            warning = {"document_id": parent.id, "name": parent.name, "message": message}
            await self._ledger.emit(session, operation, "warning", warning)
