"""What the owner decides: defaults, `config.toml`, then `PERPLEX_<SECTION>__<KEY>` in the environment.

Nothing reads settings at import. They are loaded once, by the command line, and passed down.
"""

from perplex_mono.settings.environment import ENVIRONMENT_PREFIX, variable_name
from perplex_mono.settings.live import LiveSettings
from perplex_mono.settings.loading import Configuration, load_configuration, load_settings
from perplex_mono.settings.schema import (
    ChunkStrategy,
    LimitSettings,
    LlmSettings,
    LoggingSettings,
    LogLevel,
    SearchSettings,
    Settings,
    TelemetrySettings,
    WebSearchSettings,
    secret_names,
    setting_names,
)

__all__ = [
    "ENVIRONMENT_PREFIX",
    "ChunkStrategy",
    "Configuration",
    "LimitSettings",
    "LiveSettings",
    "LlmSettings",
    "LogLevel",
    "LoggingSettings",
    "SearchSettings",
    "Settings",
    "TelemetrySettings",
    "WebSearchSettings",
    "load_configuration",
    "load_settings",
    "secret_names",
    "setting_names",
    "variable_name",
]
