"""One face for the two ways to work: through a running server, or on the data directory in this process.

The views are imported for type checkers only: the tables behind some of them take seconds to import, which a search
through a server need not pay.
"""

import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from perplex_mono.cli.paging import all_items
from perplex_mono.errors import InvalidInput, Unavailable
from perplex_mono.settings import Settings

if TYPE_CHECKING:
    from perplex_mono.answers.schemas import Answer, AnswerRequest
    from perplex_mono.backups.schemas import BackupAccepted, BackupView
    from perplex_mono.cli.account_backends import Accounts
    from perplex_mono.cli.source_file import SourceFile
    from perplex_mono.library.index_schemas import IndexActivated, IndexList, ReindexAccepted, Reindexing
    from perplex_mono.library.schemas import (
        CollectionPage,
        CollectionView,
        DocumentView,
        OperationAccepted,
        UploadAccepted,
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


API_KEY_VARIABLE = "PERPLEX_API_KEY"


class Backend(Protocol):
    """What commands ask for; answers are the API's own. All methods raise `PerplexError` kinds.

    `Unavailable` means that the backend did not answer and may do so later, `Overloaded` that it asks for a pause.
    """

    @property
    def place(self) -> str:
        """What the command works on, in words."""
        ...

    @property
    def outlives_command(self) -> bool:
        """Whether the work goes on when this process ends."""
        ...

    @property
    def accounts(self) -> "Accounts":
        """Users and API keys."""
        ...

    async def collections(self, cursor: str | None) -> "CollectionPage":
        """A page of collections."""
        ...

    async def upload(self, collection_id: str, files: "Sequence[SourceFile]", tags: Sequence[str]) -> "UploadAccepted":
        """Hand open files over; when this returns they are stored. Raises `SourceChanged` for a file that moved."""
        ...

    async def document(self, document_id: str) -> "DocumentView":
        """One document. Raises `NotFound`."""
        ...

    async def media_type(self, document_id: str) -> str:
        """What kind of document it is; cheaper to ask than the whole. Raises `NotFound`."""
        ...

    async def operations(self, state: str | None) -> "OperationPage":
        """The newest operations."""
        ...

    async def operation(self, operation_id: str) -> "OperationView":
        """One operation. Raises `NotFound`."""
        ...

    async def act(self, action: "Action", operation_id: str) -> "OperationView":
        """Pause, resume, cancel or retry an operation. Raises `NotFound`, or `Conflict` with what is allowed."""
        ...

    async def all_operations(self, state: str | None) -> "OwnedOperationPage":
        """Everybody's newest operations, for administrators. Raises `Forbidden`."""
        ...

    async def act_on_any(self, action: "Action", operation_id: str) -> "OwnedOperation":
        """`act` on anybody's operation, for administrators. Raises `Forbidden` too."""
        ...

    async def retry_document(self, document_id: str) -> "OperationAccepted":
        """Ingest one failed or cancelled document again. Raises `NotFound`, or `Conflict` in any other state."""
        ...

    async def events(self, operation_id: str, after: int) -> "EventPage":
        """At most `EVENT_PAGE` stored events past `after`, oldest first."""
        ...

    def live(self, operation_id: str, after: int) -> "AsyncIterator[Envelope]":
        """Events past `after` as they happen; ends when the connection does."""
        ...

    async def indexes(self, collection_id: str) -> "IndexList":
        """The indexes of a collection. Raises `NotFound`."""
        ...

    async def reindex(self, collection_id: str, wanted: "Reindexing") -> "ReindexAccepted":
        """Begin to build another index. Raises `InvalidInput`, or `Conflict` while one is being built."""
        ...

    async def activate(self, collection_id: str, index_id: str) -> "IndexActivated":
        """Search in a kept index again. Raises `NotFound`, or `Conflict` for one that is being built."""
        ...

    async def sources(self, collection_id: str, cursor: str | None) -> "SourcePage":
        """A page of the folders a collection follows. Raises `NotFound`."""
        ...

    async def add_source(self, collection_id: str, new: "NewSource") -> "SourceView":
        """Follow a folder. Raises `NotFound` for one that may not be read, `Conflict` for one that is followed."""
        ...

    async def scan_source(self, collection_id: str, source_id: str) -> "ScanAccepted":
        """Begin to scan a folder. Raises `NotFound`."""
        ...

    async def remove_source(self, collection_id: str, source_id: str) -> "OperationAccepted":
        """Stop following a folder; its documents go. Raises `NotFound`."""
        ...

    async def start_backup(self, *, include_secrets: bool) -> "BackupAccepted":
        """Begin to make a backup. Raises `Conflict` while one is being made, `StorageFull` without room for it."""
        ...

    async def backup(self, backup_id: str) -> "BackupView":
        """A finished backup. Raises `NotFound`."""
        ...

    def backup_chunks(self, backup_id: str) -> "AsyncIterator[bytes]":
        """Its file, in pieces. Raises `NotFound`, and `Unavailable` when it breaks off."""
        ...

    async def delete_backup(self, backup_id: str) -> None:
        """Remove it. Raises `NotFound`."""
        ...

    async def search(self, request: "SearchRequest") -> "SearchResponse":
        """The passages found."""
        ...

    async def answer(self, request: "AnswerRequest") -> "Answer":
        """The cited answer."""
        ...


@asynccontextmanager
async def open_backend(settings: Settings, server: str | None) -> AsyncIterator[Backend]:
    """The server at `server`; else the one of the settings if it answers; else the data directory, opened here.

    Raises `Unavailable` when the named server does not answer, `Conflict` when another process holds the directory.
    """
    from perplex_mono.cli.server_backend import ServerBackend
    from perplex_mono.cli.server_connection import is_running

    address = checked_address(server) if server else server_address(settings)
    if await is_running(address):
        async with ServerBackend(address, api_key(os.environ)) as backend:
            yield backend
    elif server:
        raise Unavailable(f"The server at {address}", "it does not answer; `perplex-mono serve` starts one")
    else:
        from perplex_mono.cli.local_backend import open_local_backend

        async with open_local_backend(settings) as local:
            yield local


def api_key(environment: Mapping[str, str]) -> str | None:
    """What the commands show to a server with accounts. Raises `InvalidInput` for a file that cannot be read."""
    file = environment.get(API_KEY_VARIABLE + "_FILE")
    if not file:
        return environment.get(API_KEY_VARIABLE) or None
    try:
        return Path(file).expanduser().read_text(encoding="utf-8").strip() or None
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{API_KEY_VARIABLE}_FILE: '{file}' cannot be read: {error}") from error


def server_address(settings: Settings) -> str:
    """Where the server of these settings is reached from this machine."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.server.host, settings.server.host)  # noqa: S104
    name = f"[{host}]" if ":" in host else host
    return f"http://{name}:{settings.server.port}{settings.server.base_path.rstrip('/')}"


async def resolve_collections(backend: Backend, keys: Sequence[str]) -> list[str]:
    """The ids of collections given by name or id. Raises `InvalidInput` with the names there are.

    A name means one's own collection; what somebody else shares by that name must not take its place.
    """
    if not keys or set(keys) == {"default"}:
        return ["default"]
    known = await all_items(backend.collections)
    return list(dict.fromkeys(_collection_id(known, key) for key in keys))


def _collection_id(known: "Sequence[CollectionView]", key: str) -> str:
    named = [collection for collection in known if collection.name == key]
    meant = [collection for collection in named if collection.access == "own"] or named
    meant = [collection for collection in known if collection.id == key] or meant
    if len(meant) > 1:
        ids = ", ".join(collection.id for collection in meant)
        raise InvalidInput(f"Several collections named '{key}' are shared with you; give the id: {ids}.")
    if not meant:
        names = ", ".join(f"'{item.name}'" for item in known[:20])
        raise InvalidInput(f"There is no collection '{key}'. There are: {names}{', …' if len(known) > 20 else ''}.")
    return meant[0].id


def checked_address(server: str) -> str:
    """The address somebody typed, without a slash at its end. Raises `InvalidInput`."""
    if not server.startswith(("http://", "https://")):
        raise InvalidInput(f"'{server}' is not the address of a server; it looks like http://127.0.0.1:8080.")
    return server.rstrip("/")
