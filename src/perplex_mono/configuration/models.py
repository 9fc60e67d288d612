"""Settings that were changed at run time."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON
from sqlmodel import Field, SQLModel

from perplex_mono.storage.identity import UtcDateTime, utc_now


class SettingOverride(SQLModel, table=True):
    """A value above file and environment, by `section.key`; who gave it is in the audit log."""

    __tablename__ = "setting_overrides"

    name: str = Field(primary_key=True)
    value: Any = Field(sa_type=JSON, nullable=False)
    changed_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
