"""Settings over HTTP, for administrators."""

from litestar import Controller, get, patch
from litestar.di import NamedDependency
from litestar.params import JSONBody

from perplex_mono.configuration.schemas import SettingList, SettingValue
from perplex_mono.configuration.service import SettingsService
from perplex_mono.web.callers import ADMIN, Caller, Identity


class SettingsController(Controller):
    """Every setting, and changes that outlive a restart. They stand above file and environment."""

    path = "/api/v1/settings"
    tags = ("settings",)
    opt = ADMIN

    @get(summary="List every setting: its value, who set it, and when a change takes effect")
    async def list_settings(self, setting_service: NamedDependency[SettingsService]) -> SettingList:
        """The settings; of secrets only whether they are set."""
        return setting_service.list_settings()

    @patch(summary="Change settings by name, all or none; null takes a change back")
    async def change_settings(
        self,
        data: JSONBody[dict[str, SettingValue]],
        setting_service: NamedDependency[SettingsService],
        caller: NamedDependency[Caller],
        identity: NamedDependency[Identity],
    ) -> SettingList:
        """The settings as they are now; `takes_effect` and `next_value` tell what waits for the next start."""
        return await setting_service.change(data, caller, address=identity.address)
