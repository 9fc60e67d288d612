"""Operations over HTTP, and their live feeds over WebSocket."""

from typing import Annotated

from litestar import Controller, get, post, websocket
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter

from perplex_mono.errors import InvalidInput, NotFound
from perplex_mono.operations.feeds import FeedService
from perplex_mono.operations.models import OperationKind, OperationState
from perplex_mono.operations.oversight import OversightService
from perplex_mono.operations.schemas import (
    Action,
    EventPage,
    OperationPage,
    OperationView,
    OwnedOperation,
    OwnedOperationPage,
)
from perplex_mono.operations.service import OperationService
from perplex_mono.web.callers import ADMIN, READ, WRITE, Caller, Identity
from perplex_mono.web.paging import Cursor, PageLimit
from perplex_mono.web.sockets import CLOSE_NOT_FOUND, Socket, SocketHub

EVENT_PAGE = 1000
MAX_SEQ = 2**63 - 1


class OperationController(Controller):
    """Long work: what there is, how far it is, and what happened."""

    path = "/api/v1/operations"
    tags = ("operations",)

    @get(opt=READ, summary="List operations, newest first")
    async def list_operations(
        self,
        operations: NamedDependency[OperationService],
        owner_id: NamedDependency[str],
        only_state: Annotated[
            OperationState | None, QueryParameter(name="state", description="Only operations in this state")
        ] = None,
        kind: Annotated[OperationKind | None, QueryParameter(description="Only operations of this kind")] = None,
        collection_id: Annotated[str | None, QueryParameter(description="Only of this collection")] = None,
        limit: PageLimit = 50,
        cursor: Cursor = None,
    ) -> OperationPage:
        """A page of operations."""
        return await operations.list_operations(
            owner_id, state=only_state, kind=kind, collection_id=collection_id, limit=limit, cursor=cursor
        )

    @get("/{operation_id:str}", opt=READ, summary="Get one operation")
    async def get_operation(
        self, operation_id: FromPath[str], operations: NamedDependency[OperationService], owner_id: NamedDependency[str]
    ) -> OperationView:
        """The operation as it is now."""
        return await operations.get(operation_id, owner_id)

    @get("/{operation_id:str}/events", opt=READ, summary="List the events of an operation, oldest first")
    async def list_events(
        self,
        operation_id: FromPath[str],
        operations: NamedDependency[OperationService],
        owner_id: NamedDependency[str],
        after: Annotated[int, QueryParameter(ge=0, le=MAX_SEQ, description="Only events with a greater number")] = 0,
        limit: Annotated[int, QueryParameter(ge=1, le=EVENT_PAGE)] = EVENT_PAGE,
    ) -> EventPage:
        """The events past `after`."""
        return await operations.events(operation_id, owner_id, after=after, limit=limit)

    @post(
        "/{operation_id:str}/pause",
        opt=WRITE,
        status_code=200,
        summary="Pause an operation; its finished pages are kept",
    )
    async def pause(
        self,
        operation_id: FromPath[str],
        operations: NamedDependency[OperationService],
        owner_id: NamedDependency[str],
    ) -> OperationView:
        """The paused operation. No page is started any more; resuming reads at most the pages in flight again."""
        return await operations.act("pause", operation_id, owner_id)

    @post("/{operation_id:str}/resume", opt=WRITE, status_code=200, summary="Resume a paused operation")
    async def resume(
        self,
        operation_id: FromPath[str],
        operations: NamedDependency[OperationService],
        owner_id: NamedDependency[str],
    ) -> OperationView:
        """The operation, queued again."""
        return await operations.act("resume", operation_id, owner_id)

    @post(
        "/{operation_id:str}/cancel",
        opt=WRITE,
        status_code=200,
        summary="Cancel an operation and remove its partial results",
    )
    async def cancel(
        self,
        operation_id: FromPath[str],
        operations: NamedDependency[OperationService],
        owner_id: NamedDependency[str],
    ) -> OperationView:
        """The cancelled operation. Documents that were ready stay; the others are cancelled and can be retried."""
        return await operations.act("cancel", operation_id, owner_id)

    @post(
        "/{operation_id:str}/retry",
        opt=WRITE,
        status_code=200,
        summary="Retry what did not become ready in an operation",
    )
    async def retry(
        self,
        operation_id: FromPath[str],
        operations: NamedDependency[OperationService],
        owner_id: NamedDependency[str],
    ) -> OperationView:
        """The operation, queued again with every failed and cancelled document of it.

        A cancelled reindexing cannot be taken up again, only begun anew: what it had built is gone.
        """
        return await operations.act("retry", operation_id, owner_id)


class OversightController(Controller):
    """Everybody's long work, for whoever runs the server."""

    path = "/api/v1/all-operations"
    tags = ("operations",)
    opt = ADMIN

    @get(summary="List everybody's operations, newest first")
    async def list_all_operations(
        self,
        oversight: NamedDependency[OversightService],
        of_owner: Annotated[str | None, QueryParameter(name="owner_id", description="Only of this user")] = None,
        only_state: Annotated[
            OperationState | None, QueryParameter(name="state", description="Only operations in this state")
        ] = None,
        kind: Annotated[OperationKind | None, QueryParameter(description="Only operations of this kind")] = None,
        limit: PageLimit = 50,
        cursor: Cursor = None,
    ) -> OwnedOperationPage:
        """A page of operations, each with whose it is."""
        return await oversight.list_operations(
            owner_id=of_owner, state=only_state, kind=kind, limit=limit, cursor=cursor
        )

    @post("/{operation_id:str}/{action:str}", status_code=200, summary="Steer anybody's operation")
    async def steer(
        self,
        operation_id: FromPath[str],
        action: FromPath[Action],
        oversight: NamedDependency[OversightService],
        caller: NamedDependency[Caller],
        identity: NamedDependency[Identity],
    ) -> OwnedOperation:
        """Pause, resume, cancel or retry it, as its owner could; the log of security events keeps who did."""
        return await oversight.act(action, operation_id, caller, address=identity.address)


@websocket("/ws/operations", opt=READ)
async def all_operations_feed(
    socket: Socket,
    feeds: NamedDependency[FeedService],
    hub: NamedDependency[SocketHub],
    caller: NamedDependency[Caller],
) -> None:
    """Every event of the caller's operations."""
    await hub.serve(socket, caller, lambda: feeds.follow(caller.user_id, after=first_seq(socket)))


@websocket("/ws/operations/{operation_id:str}", opt=READ)
async def operation_feed(
    socket: Socket,
    operation_id: FromPath[str],
    feeds: NamedDependency[FeedService],
    hub: NamedDependency[SocketHub],
    caller: NamedDependency[Caller],
) -> None:
    """The events of one operation."""
    try:
        await feeds.require(operation_id, caller.user_id)
    except NotFound as missing:
        await hub.refuse(socket, CLOSE_NOT_FOUND, str(missing))
        return
    await hub.serve(socket, caller, lambda: feeds.follow(caller.user_id, operation_id, after=first_seq(socket)))


def first_seq(socket: Socket) -> int | None:
    """What `?after=` says. Raises `InvalidInput`."""
    value = socket.query_params.get("after")
    if value is None:
        return None
    if not value.isascii() or not value.isdigit() or len(value) > 18:
        raise InvalidInput(f"'after' must be the number of an event, not '{value[:40]}'.")
    return int(value)
