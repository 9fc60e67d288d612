"""Queries on changed settings."""

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlmodel import col, delete, select
from sqlmodel.ext.asyncio.session import AsyncSession

from perplex_mono.configuration.models import SettingOverride


class OverrideRepository:
    """The overrides, within one session."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def exists(self) -> bool:
        """Whether there is a table at all: a database that an older version wrote has none."""
        connection = await self._session.connection()
        return await connection.run_sync(lambda sync: sa.inspect(sync).has_table(SettingOverride.__tablename__))

    async def list_all(self) -> dict[str, Any]:
        """Values by `section.key`."""
        rows = (await self._session.exec(select(SettingOverride).order_by(col(SettingOverride.name)))).all()
        return {row.name: row.value for row in rows}

    async def put(self, values: Mapping[str, Any]) -> None:
        """Set these; None removes one."""
        names = list(values)
        await self._session.exec(delete(SettingOverride).where(col(SettingOverride.name).in_(names)))
        self._session.add_all(
            [SettingOverride(name=name, value=value) for name, value in values.items() if value is not None]
        )
