"""Sources over HTTP, and the live feed of a scan."""

from typing import Annotated

from litestar import Controller, delete, get, post, websocket
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter

from perplex_mono.errors import NotFound
from perplex_mono.library.schemas import OperationAccepted
from perplex_mono.operations.feeds import FeedService
from perplex_mono.operations.routes import first_seq
from perplex_mono.sources.models import FileStatus
from perplex_mono.sources.schemas import NewSource, ScanAccepted, SourceFilePage, SourcePage, SourceView
from perplex_mono.sources.service import SourceService
from perplex_mono.web.callers import ADMIN, READ, WRITE, Caller
from perplex_mono.web.paging import Cursor, PageLimit, PathCursor
from perplex_mono.web.sockets import CLOSE_NOT_FOUND, Socket, SocketHub


class SourceController(Controller):
    """Folders of the server's machine that a collection follows."""

    path = "/api/v1/collections/{collection_id:str}/sources"
    tags = ("sources",)

    @post(opt=ADMIN, summary="Follow a folder")
    async def add_source(
        self,
        collection_id: FromPath[str],
        data: JSONBody[NewSource],
        sources: NamedDependency[SourceService],
        owner_id: NamedDependency[str],
    ) -> SourceView:
        """The new source; scan it to have its files ingested."""
        return await sources.add(collection_id, owner_id, data)

    @get(opt=READ, summary="List the folders a collection follows, oldest first")
    async def list_sources(
        self,
        collection_id: FromPath[str],
        sources: NamedDependency[SourceService],
        owner_id: NamedDependency[str],
        limit: PageLimit = 50,
        cursor: Cursor = None,
    ) -> SourcePage:
        """A page of sources."""
        return await sources.list_sources(collection_id, owner_id, limit=limit, cursor=cursor)

    @get("/{source_id:str}", opt=READ, summary="Get a source")
    async def get_source(
        self,
        collection_id: FromPath[str],
        source_id: FromPath[str],
        sources: NamedDependency[SourceService],
        owner_id: NamedDependency[str],
    ) -> SourceView:
        """The source."""
        return await sources.get(collection_id, source_id, owner_id)

    @get(
        "/{source_id:str}/files",
        opt=READ,
        summary="List the files of a source by path, also those that were skipped or failed, and why",
    )
    async def list_source_files(
        self,
        collection_id: FromPath[str],
        source_id: FromPath[str],
        sources: NamedDependency[SourceService],
        owner_id: NamedDependency[str],
        status: Annotated[
            FileStatus | None, QueryParameter(description="Only such files; failed ones have a document that failed")
        ] = None,
        limit: PageLimit = 50,
        cursor: PathCursor = None,
    ) -> SourceFilePage:
        """A page of files."""
        return await sources.list_files(collection_id, source_id, owner_id, status=status, limit=limit, cursor=cursor)

    @post("/{source_id:str}/scan", opt=WRITE, status_code=202, summary="Scan a folder now")
    async def scan_source(
        self,
        collection_id: FromPath[str],
        source_id: FromPath[str],
        sources: NamedDependency[SourceService],
        owner_id: NamedDependency[str],
    ) -> ScanAccepted:
        """The scan, which goes on in the background; `/ws/directory-scan/{scan_id}` follows it."""
        return await sources.scan(collection_id, source_id, owner_id)

    @delete("/{source_id:str}", opt=WRITE, status_code=202, summary="Stop following a folder and delete its documents")
    async def delete_source(
        self,
        collection_id: FromPath[str],
        source_id: FromPath[str],
        sources: NamedDependency[SourceService],
        owner_id: NamedDependency[str],
    ) -> OperationAccepted:
        """Hidden at once; the files in the folder are never touched."""
        return await sources.delete(collection_id, source_id, owner_id)


@websocket("/ws/directory-scan/{scan_id:str}", opt=READ)
async def scan_feed(
    socket: Socket,
    scan_id: FromPath[str],
    sources: NamedDependency[SourceService],
    feeds: NamedDependency[FeedService],
    hub: NamedDependency[SocketHub],
    caller: NamedDependency[Caller],
) -> None:
    """The events of one scan."""
    try:
        await sources.require_scan(scan_id, caller.user_id)
    except NotFound as missing:
        await hub.refuse(socket, CLOSE_NOT_FOUND, str(missing))
        return
    await hub.serve(socket, caller, lambda: feeds.follow(caller.user_id, scan_id, after=first_seq(socket)))
