"""Settings that are changed while the server runs: checked as the file is, kept, written down, handed out."""

import asyncio
from collections.abc import Callable, Collection, Mapping
from typing import Any, Self

from loguru import logger
from msgspec import UNSET

from perplex_mono.accounts.audit import record
from perplex_mono.configuration.policy import reason_fixed, require_changeable
from perplex_mono.configuration.repository import OverrideRepository
from perplex_mono.configuration.schemas import SettingList, SettingValue, SettingView, setting_view, shown
from perplex_mono.errors import PerplexError
from perplex_mono.settings import LiveSettings, Settings, setting_names
from perplex_mono.settings.live import value_of
from perplex_mono.settings.loading import Source, sources_of, with_overrides
from perplex_mono.storage.database import Database, after_commit
from perplex_mono.web.callers import Caller

RequireWorkable = Callable[[Settings], None]
"""Raises `ConfigurationError` where the model is not on this machine, or chunks do not fit it. Blocks."""
WORKABLE_TOGETHER = frozenset(
    {"embedding.model", "chunking.strategy", "chunking.max_tokens", "chunking.overlap_tokens"}
)


class SettingsService:
    """The overrides above what file and environment say. `live` is what holds now."""

    def __init__(
        self,
        database: Database,
        configured: Settings,
        sources: Mapping[str, Source],
        overrides: Mapping[str, Any],
        ignored: Collection[str],
        require_workable: RequireWorkable,
    ) -> None:
        self._database = database
        self._require_workable = require_workable
        self._configured = configured
        self._sources = sources
        self._overrides = dict(overrides)
        self._started_with = frozenset(overrides)
        self._ignored = frozenset(ignored)
        self._wanted = with_overrides(configured, overrides)
        self._changing = asyncio.Lock()
        self.live = LiveSettings(self._wanted)

    @classmethod
    async def open(
        cls,
        database: Database,
        configured: Settings,
        sources: Mapping[str, Source] | None,
        require_workable: RequireWorkable,
    ) -> Self:
        """Read the overrides. One that cannot hold (any more) is left out and told: a start must not fail for it."""
        async with database.read() as session:
            stored = await OverrideRepository(session).list_all()
        usable = usable_overrides(configured, stored)
        sources = sources_of(configured) if sources is None else sources
        if usable:
            logger.info("settings.overridden", settings=sorted(usable))
        return cls(database, configured, sources, usable, stored.keys() - usable.keys(), require_workable)

    @property
    def overridden(self) -> list[str]:
        """The names of the settings that are changed."""
        return sorted(self._overrides)

    def list_settings(self) -> SettingList:
        """Every setting."""
        return SettingList([self._view(name) for name in setting_names()])

    async def change(self, changes: Mapping[str, SettingValue], caller: Caller, *, address: str = "") -> SettingList:
        """Change settings by `section.key`, all or none; None takes a change back.

        Raises `ConfigurationError` for an unknown name or a value that cannot work, `InvalidInput` for a setting that
        only a start can change.
        """
        for name in changes:
            if changes[name] is not None or name not in self._ignored:
                require_changeable(name)
        async with self._changing:
            overrides = {**self._overrides, **changes}
            overrides = {name: value for name, value in overrides.items() if value is not None}
            wanted = with_overrides(self._configured, overrides)
            if any(changes[name] is not None for name in WORKABLE_TOGETHER & changes.keys()):
                await asyncio.to_thread(self._require_workable, wanted)
            if changes:
                await self._store(changes, wanted, overrides, caller, address)
        return self.list_settings()

    async def _store(
        self,
        changes: Mapping[str, SettingValue],
        wanted: Settings,
        overrides: dict[str, Any],
        caller: Caller,
        address: str,
    ) -> None:
        values = {name: None if value is None else value_of(wanted, name) for name, value in changes.items()}
        details = {name: "removed" if value is None else shown(name, value) for name, value in values.items()}

        def take() -> None:
            self._overrides, self._wanted = overrides, wanted
            self.live.change(wanted)

        async with self._database.write(is_content=False) as session:
            await OverrideRepository(session).put(values)
            record(
                session, "settings_changed", actor=caller, target=", ".join(values), address=address, details=details
            )
            after_commit(session, take)

    def _view(self, name: str) -> SettingView:
        value, wanted = value_of(self.live.current, name), value_of(self._wanted, name)
        is_live, reason = self.live.is_followed(name), reason_fixed(name)
        is_overridden = name in (self._overrides if is_live else self._started_with)
        return setting_view(
            name,
            value,
            "override" if is_overridden else self._sources.get(name, "default"),
            takes_effect="fixed" if reason else "at_once" if is_live else "next_start",
            reason=reason,
            next_value=UNSET if wanted == value else wanted,
        )


def usable_overrides(configured: Settings, stored: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the stored overrides that can hold, together if possible; the log tells of the others."""
    usable: dict[str, Any] = {}
    reasons = dict.fromkeys(stored, "")
    is_growing = True
    while is_growing:  # one may only fit beside another that comes later
        is_growing = False
        for name in list(reasons):
            try:
                require_changeable(name)
                with_overrides(configured, {**usable, name: stored[name]})
            except PerplexError as error:
                reasons[name] = str(error)
            else:
                usable[name] = stored[name]
                del reasons[name]
                is_growing = True
    for name, reason in reasons.items():
        logger.warning("settings.override_ignored", setting=name, reason=reason)
    return usable


async def held_overrides(configured: Settings, database: Database) -> dict[str, Any]:
    """The overrides that hold, of a database that may be another process's or an older version's. Only reads."""
    async with database.read() as session:
        overrides = OverrideRepository(session)
        stored = await overrides.list_all() if await overrides.exists() else {}
    return usable_overrides(configured, stored)
