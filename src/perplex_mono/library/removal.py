"""How documents go: hidden in the caller's transaction, purged by a `delete` operation behind."""

from collections.abc import Sequence

from sqlalchemy import update
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from perplex_mono.library.models import Document
from perplex_mono.library.repository import DocumentRepository
from perplex_mono.operations.ledger import Ledger
from perplex_mono.operations.models import Operation


async def hide_documents(
    session: AsyncSession, ledger: Ledger, documents: Sequence[Document], requested_by: str | None = None
) -> Operation:
    """Hide these documents of one collection, and their attachments, and queue the operation that purges them.

    The operation is that of the user who asked for it, or of the documents' owner.
    """
    ids = [document.id for document in documents]
    family = [member.id for member in await DocumentRepository(session).list_families(ids)]
    await session.exec(update(Document).where(col(Document.id).in_(family)).values(status="deleting"))
    return await ledger.enqueue(
        session,
        owner_id=requested_by or documents[0].owner_id,
        kind="delete",
        collection_id=documents[0].collection_id,
        params={"document_ids": ids},
        total=len(family),
        unit="documents",
    )


async def with_replaced(session: AsyncSession, document: Document) -> list[Document]:
    """The document and the versions it was to replace: to whoever deletes it they are one."""
    versions = [document]
    while (older := versions[-1].replaces_id) is not None:
        row = await session.get(Document, older)
        if row is None or row.status == "deleting" or row in versions:
            break
        versions.append(row)
    return versions


async def replace_old_versions(session: AsyncSession, ledger: Ledger, ready_ids: Sequence[str]) -> None:
    """Hide what these documents take the place of, now that they are ready."""
    query = select(Document).where(col(Document.id).in_(ready_ids), col(Document.replaces_id).is_not(None))
    old: list[Document] = []
    for document in (await session.exec(query)).all():
        old += (await with_replaced(session, document))[1:]
        document.replaces_id = None
    if old:
        await hide_documents(session, ledger, old)
