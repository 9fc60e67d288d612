"""Everybody's operations, for administrators: what the machine is busy with, and how to make it stop."""

from sqlmodel.ext.asyncio.session import AsyncSession

from perplex_mono.accounts.audit import record
from perplex_mono.errors import NotFound
from perplex_mono.operations.models import Operation
from perplex_mono.operations.repository import OperationRepository
from perplex_mono.operations.schemas import Action, OwnedOperation, OwnedOperationPage, operation_view
from perplex_mono.operations.service import OperationService
from perplex_mono.storage.database import Database
from perplex_mono.web.callers import Caller


class OversightService:
    """Operations whoever's they are, without their events; what an error says may name a document or a folder."""

    def __init__(self, database: Database, operations: OperationService) -> None:
        self._database = database
        self._operations = operations

    async def list_operations(
        self, *, owner_id: str | None, state: str | None, kind: str | None, limit: int, cursor: str | None
    ) -> OwnedOperationPage:
        """A page of operations, newest first; of one owner if named."""
        async with self._database.read() as session:
            repository = OperationRepository(session)
            rows = await repository.list_page(
                owner_id, state=state, kind=kind, collection_id=None, limit=limit + 1, before=cursor
            )
            names = await repository.owner_names({row.owner_id for row in rows})
        items = [OwnedOperation(row.owner_id, names.get(row.owner_id), operation_view(row)) for row in rows[:limit]]
        return OwnedOperationPage(items, items[-1].operation.id if len(rows) > limit else None)

    async def act(self, action: Action, operation_id: str, caller: Caller, *, address: str) -> OwnedOperation:
        """Pause, resume, cancel or retry one, which the log of security events keeps.

        Raises `NotFound`, and `Conflict` as it does for its owner.
        """
        async with self._database.write() as session:
            operation = await _existing(session, operation_id)
            await self._operations.steer(session, action, operation)
            details = {"action": action, "kind": operation.kind, "owner_id": operation.owner_id}
            record(session, "operation_steered", actor=caller, target=operation_id, address=address, details=details)
            names = await OperationRepository(session).owner_names({operation.owner_id})
        return OwnedOperation(operation.owner_id, names.get(operation.owner_id), operation_view(operation))


async def _existing(session: AsyncSession, operation_id: str) -> Operation:
    operation = await OperationRepository(session).find(operation_id)
    if operation is None:
        raise NotFound("operation", operation_id)
    return operation
