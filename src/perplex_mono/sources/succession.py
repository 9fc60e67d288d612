"""Which document takes whose place, and whose name, when the files of a source change, move and go."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from sqlmodel.ext.asyncio.session import AsyncSession

from perplex_mono.library.models import Document
from perplex_mono.library.names import clean_name
from perplex_mono.library.repository import PENDING_STATUSES
from perplex_mono.sources.changes import Changes
from perplex_mono.sources.models import Source, SourceFile
from perplex_mono.sources.repository import SourceFileRepository
from perplex_mono.sources.sourced_document_repository import SourcedDocumentRepository
from perplex_mono.sources.walking import printable


class Succession:
    """Files of one source that go over from one path or document to another."""

    def __init__(self, source: Source, max_name_chars: int) -> None:
        self._source = source
        self._max_name_chars = max_name_chars

    async def leave(
        self, session: AsyncSession, row: SourceFile, old_id: str | None, new: Document | None, changes: Changes
    ) -> None:
        """A file went over from one document to another, perhaps as the last one of the old.

        A new version takes the old one's place when it becomes ready. An old one that never became ready goes at once,
        and what it was to replace awaits the new one.
        """
        documents = SourcedDocumentRepository(session)
        if new is not None:
            await documents.keep(new.id)
        await session.flush()
        old = await living(session, old_id)
        if old is None or new is None or old.id == new.id:
            return
        if await documents.is_used(old.id):
            await self.name_after_others(
                session, [SourceFile(source_id=row.source_id, path=row.path, document_id=old.id)]
            )
            return
        if old.source_id is None:
            return
        if old.status in PENDING_STATUSES:
            changes.superseded.append(old)
        if old.status == "ready" and new.status != "ready":
            new.replaces_id = new.replaces_id or old.id
        elif new.status != "ready":
            new.replaces_id, old.replaces_id = new.replaces_id or old.replaces_id, None

    async def rename(
        self, session: AsyncSession, before: SourceFile, row: SourceFile, document: Document | None
    ) -> bool:
        """The file that was at `before` is at `row` now, and so is the document's name, if it came from there.

        False when that file turned up elsewhere already.
        """
        gone = await SourceFileRepository(session, self._source.id).find(before.path)
        if gone is None:
            return False
        if gone.identity == before.identity:
            await session.delete(gone)
            await session.flush()
        if document is not None and document.source_id is not None and document.name == self.name(before.path):
            document.name = self.name(row.path)
        return True

    async def moved_from(
        self, session: AsyncSession, moved: Mapping[bytes, SourceFile], row: SourceFile, document: Document
    ) -> bool:
        """Whether `row` is a file that stood for the document and is not where it was; then it is renamed."""
        for before in moved.values():
            if before.document_id == document.id and await self.rename(session, before, row, document):
                return True
        return False

    async def name_after_others(self, session: AsyncSession, files: Sequence[SourceFile]) -> None:
        """Documents lost these files; one that is named after such a file takes the name of one it still has."""
        names = defaultdict(set)
        for file in files:
            names[file.document_id or ""].add(self.name(file.path))
        for document, path in await SourcedDocumentRepository(session).list_used(list(names)):
            if document.source_id is not None and document.name in names[document.id]:
                document.name = self.name(path)

    def name(self, path: bytes) -> str:
        """What a document is called after the file there."""
        return clean_name(printable(path), self._max_name_chars)


async def living(session: AsyncSession, document_id: str | None) -> Document | None:
    """The document, unless there is none or it is being deleted."""
    document = await session.get(Document, document_id) if document_id is not None else None
    return None if document is None or document.status == "deleting" else document
