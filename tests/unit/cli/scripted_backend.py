"""A backend that answers as a test tells it to: broken connections and refusals, which no real server gives on cue."""

from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from perplex_mono.answers.schemas import Answer, AnswerRequest
from perplex_mono.backups.schemas import BackupAccepted, BackupView
from perplex_mono.cli.source_file import SourceFile
from perplex_mono.errors import PerplexError
from perplex_mono.library.index_schemas import IndexActivated, IndexList, ReindexAccepted, Reindexing
from perplex_mono.library.schemas import (
    CollectionPage,
    DocumentView,
    OperationAccepted,
    UploadAccepted,
    UploadedDocument,
)
from perplex_mono.operations.schemas import (
    Action,
    Envelope,
    EventPage,
    OperationPage,
    OperationView,
    OwnedOperation,
    OwnedOperationPage,
)
from perplex_mono.search.schemas import SearchRequest, SearchResponse
from perplex_mono.sources.schemas import NewSource, ScanAccepted, SourcePage, SourceView

START = datetime(2024, 1, 1, tzinfo=UTC)
PAGE = 1000


def event(seq: int, event_type: str, **data: Any) -> Envelope:
    """The event with this number, `seq` seconds after the start."""
    return Envelope(type=event_type, time=START + timedelta(seconds=seq), data=data, operation_id="op", seq=seq)


def operation(state: str, finished_at: datetime | None = None) -> OperationView:
    """The followed operation."""
    return OperationView(
        id="op",
        kind="ingest",
        state=state,
        collection_id="c",
        parent_id=None,
        created_at=START,
        started_at=START,
        finished_at=finished_at,
        done=1,
        total=1,
        unit="pages",
        failed_count=0,
        attempt=1,
        eta_seconds=None,
        error=None,
    )


class ScriptedBackend:
    """Events appear in `stored` at once; each call of `live` plays the next of `feeds`, then the connection drops.

    `refuse` may raise for an upload. `failures` are raised by the next calls for events, one each.
    """

    place = "a script"
    outlives_command = True
    accounts: Any = None

    def __init__(
        self,
        *,
        stored: Sequence[Envelope] = (),
        feeds: Sequence[Sequence[Envelope]] = (),
        refuse: Callable[[list[str]], PerplexError | None] = lambda _: None,
    ) -> None:
        self.stored = list(stored)
        self.feeds = [list(feed) for feed in feeds]
        self.refuse = refuse
        self.failures: list[PerplexError] = []
        self.uploads: list[list[str]] = []
        self.stored_bytes: dict[str, bytes] = {}
        self.live_from: list[int] = []

    async def upload(self, collection_id: str, files: Sequence[SourceFile], tags: Sequence[str]) -> UploadAccepted:
        names = [file.name for file in files]
        contents = {file.name: file.rewind().read() for file in files}
        self.uploads.append(names)
        refusal = self.refuse(names)
        if refusal is not None:
            raise refusal
        self.stored_bytes |= contents
        documents = [
            UploadedDocument(id=f"d-{name}", name=name, status="received", duplicate_of=None) for name in names
        ]
        return UploadAccepted(operation_id=f"op-{len(self.uploads)}", documents=documents)

    async def events(self, operation_id: str, after: int) -> EventPage:
        if self.failures:
            raise self.failures.pop(0)
        newer = [item for item in self.stored if isinstance(item.seq, int) and item.seq > after]
        return EventPage(items=newer[:PAGE])

    async def live(self, operation_id: str, after: int) -> AsyncIterator[Envelope]:
        self.live_from.append(after)
        for item in self.feeds.pop(0) if self.feeds else ():
            if isinstance(item.seq, int):
                self.stored.append(item)
            yield item

    async def operation(self, operation_id: str) -> OperationView:
        ends = [item for item in self.stored if item.type in ("completed", "failed", "dead", "cancelled")]
        if not ends or any(item.type == "started" and item.time > ends[-1].time for item in self.stored):
            return operation("running")
        return operation(ends[-1].type, ends[-1].time)

    async def collections(self, cursor: str | None) -> CollectionPage:
        raise NotImplementedError

    async def document(self, document_id: str) -> DocumentView:
        raise NotImplementedError

    async def media_type(self, document_id: str) -> str:
        raise NotImplementedError

    async def operations(self, state: str | None) -> OperationPage:
        raise NotImplementedError

    async def act(self, action: Action, operation_id: str) -> OperationView:
        raise NotImplementedError

    async def all_operations(self, state: str | None) -> OwnedOperationPage:
        raise NotImplementedError

    async def act_on_any(self, action: Action, operation_id: str) -> OwnedOperation:
        raise NotImplementedError

    async def retry_document(self, document_id: str) -> OperationAccepted:
        raise NotImplementedError

    async def indexes(self, collection_id: str) -> IndexList:
        raise NotImplementedError

    async def reindex(self, collection_id: str, wanted: Reindexing) -> ReindexAccepted:
        raise NotImplementedError

    async def activate(self, collection_id: str, index_id: str) -> IndexActivated:
        raise NotImplementedError

    async def search(self, request: SearchRequest) -> SearchResponse:
        raise NotImplementedError

    async def answer(self, request: AnswerRequest) -> Answer:
        raise NotImplementedError

    async def sources(self, collection_id: str, cursor: str | None) -> SourcePage:
        raise NotImplementedError

    async def add_source(self, collection_id: str, new: NewSource) -> SourceView:
        raise NotImplementedError

    async def scan_source(self, collection_id: str, source_id: str) -> ScanAccepted:
        raise NotImplementedError

    async def remove_source(self, collection_id: str, source_id: str) -> OperationAccepted:
        raise NotImplementedError

    async def start_backup(self, *, include_secrets: bool) -> BackupAccepted:
        raise NotImplementedError

    async def backup(self, backup_id: str) -> BackupView:
        raise NotImplementedError

    def backup_chunks(self, backup_id: str) -> AsyncIterator[bytes]:
        raise NotImplementedError

    async def delete_backup(self, backup_id: str) -> None:
        raise NotImplementedError
