"""The owner's operations: what there is, and the words a person may say to it: pause, resume, cancel, retry."""

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Final

from sqlmodel.ext.asyncio.session import AsyncSession

from perplex_mono.errors import Conflict
from perplex_mono.operations.ledger import Ledger
from perplex_mono.operations.models import FINAL_STATES, Operation, OperationState
from perplex_mono.operations.repository import OperationRepository
from perplex_mono.operations.schemas import Action, EventPage, OperationPage, OperationView, envelope, operation_view
from perplex_mono.storage.database import Database, after_commit

# What may be said to an operation in each state.
ALLOWED: Final[Mapping[OperationState, tuple[Action, ...]]] = {
    "queued": ("pause", "cancel"),
    "running": ("pause", "cancel"),
    "paused": ("resume", "cancel"),
    "completed": (),
    "failed": ("retry",),
    "dead": ("retry",),
    "cancelled": ("retry",),
}
PAST: Final[Mapping[Action, str]] = {
    "pause": "paused",
    "resume": "resumed",
    "cancel": "cancelled",
    "retry": "retried",
}
# A deletion was promised to whoever asked for it: it is never held up, only tried again.
ONLY_RETRIED: Final = frozenset({"delete"})
# What these had built is gone with their cancellation: another one is begun instead.
GONE_WHEN_CANCELLED: Final = frozenset({"reindex"})


class OperationService:
    """Operations as their owner sees and steers them. Every method raises `NotFound` for another owner's.

    A change of state is one transaction; what runs is told to stop the moment it is durable, and whatever it still
    tries to write is refused by the ledger.
    """

    def __init__(self, database: Database, ledger: Ledger, interrupt: Callable[[str], None]) -> None:
        self._database = database
        self._interrupt = interrupt
        self._acts: Mapping[Action, Callable[[AsyncSession, Operation], Awaitable[None]]] = {
            "pause": ledger.pause,
            "resume": ledger.resume,
            "cancel": ledger.cancel,
            "retry": ledger.retry,
        }

    async def get(self, operation_id: str, owner_id: str) -> OperationView:
        """One operation."""
        async with self._database.read() as session:
            return operation_view(await OperationRepository(session).get(operation_id, owner_id))

    async def list_operations(
        self,
        owner_id: str,
        *,
        state: str | None,
        kind: str | None,
        collection_id: str | None,
        limit: int,
        cursor: str | None,
    ) -> OperationPage:
        """A page of the owner's operations, newest first."""
        async with self._database.read() as session:
            rows = await OperationRepository(session).list_page(
                owner_id, state=state, kind=kind, collection_id=collection_id, limit=limit + 1, before=cursor
            )
        items = [operation_view(row) for row in rows[:limit]]
        return OperationPage(items=items, next_cursor=items[-1].id if len(rows) > limit else None)

    async def events(self, operation_id: str, owner_id: str, *, after: int, limit: int) -> EventPage:
        """The operation's events past `after`, oldest first."""
        async with self._database.read() as session:
            repository = OperationRepository(session)
            await repository.get(operation_id, owner_id)
            rows = await repository.events_after(owner_id, operation_id, after, limit)
        return EventPage(items=[envelope(row) for row in rows])

    async def act(self, action: Action, operation_id: str, owner_id: str) -> OperationView:
        """Pause, resume, cancel or retry. Raises `Conflict`, which names what is allowed, in any other state.

        Pause keeps every page that was read, cancel removes what documents that are not ready left behind, retry takes
        up whatever did not become ready. All return at once; no page is started after that.
        """
        async with self._database.write() as session:
            operation = await OperationRepository(session).get(operation_id, owner_id)
            await self.steer(session, action, operation)
        return operation_view(operation)

    async def steer(self, session: AsyncSession, action: Action, operation: Operation) -> None:
        """`act` in the caller's transaction, whoever's the operation is. Raises `Conflict`."""
        _require_allowed(action, operation)
        await _require_own_head(OperationRepository(session), operation)
        await self.apply(session, action, operation)

    async def apply(self, session: AsyncSession, action: Action, operation: Operation) -> None:
        """Do so in the caller's transaction, also to the operations that this one feeds and that allow it."""
        for member in (operation, *await OperationRepository(session).list_children(operation.id)):
            if action not in allowed_actions(member):
                continue
            await self._acts[action](session, member)
            if member.state != "queued":
                after_commit(session, partial(self._interrupt, member.id))


def allowed_actions(operation: Operation) -> tuple[Action, ...]:
    """What may be said to the operation now."""
    actions: tuple[Action, ...] = ALLOWED[operation.state]  # type: ignore[index]  # the column is a plain string
    if operation.state == "completed" and operation.failed_count:
        actions = ("retry",)
    if operation.state == "cancelled" and operation.kind in GONE_WHEN_CANCELLED:
        actions = ()
    return tuple(action for action in actions if action == "retry" or operation.kind not in ONLY_RETRIED)


async def _require_own_head(repository: OperationRepository, operation: Operation) -> None:
    """An operation that is still fed by another is steered through that one."""
    parent = await repository.find(operation.parent_id) if operation.parent_id is not None else None
    if parent is not None and parent.state not in FINAL_STATES:
        raise Conflict(f"This {operation.kind} operation belongs to the {parent.kind} {parent.id}; steer that one.")


def _require_allowed(action: Action, operation: Operation) -> None:
    allowed = allowed_actions(operation)
    if action in allowed:
        return
    now = f"allowed now: {', '.join(allowed)}" if allowed else "nothing is allowed now"
    if operation.state == "cancelled" and operation.kind in GONE_WHEN_CANCELLED:
        now = f"what it had built is gone: begin a new one with {operation.kind}"
    raise Conflict(f"This {operation.kind} operation is {operation.state} and cannot be {PAST[action]}; {now}.")
