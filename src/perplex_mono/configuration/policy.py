"""Which settings nobody may change while the server runs, and why."""

from perplex_mono.errors import InvalidInput
from perplex_mono.settings import variable_name
from perplex_mono.settings.loading import require_known

FINDS_THE_SERVER = "commands find the server by it"
OPENS_THE_DATABASE = "it is needed before the database opens, where such changes are kept"
KEEPS_THE_TRACES = "whoever may change settings must not be able to remove the log of it"
DECIDES_WHOM_TO_TRUST = "it decides whom and what this machine trusts, which is up to whoever starts the server"

FIXED = {
    "server.host": FINDS_THE_SERVER,
    "server.port": FINDS_THE_SERVER,
    "server.base_path": FINDS_THE_SERVER,
    "server.allowed_hosts": DECIDES_WHOM_TO_TRUST,
    "server.allowed_origins": DECIDES_WHOM_TO_TRUST,
    "server.trusted_proxies": DECIDES_WHOM_TO_TRUST,
    "queue.redis_url": DECIDES_WHOM_TO_TRUST,
    "embedding.allow_download": DECIDES_WHOM_TO_TRUST,
    "sources.roots": DECIDES_WHOM_TO_TRUST,
    "backups.directory": DECIDES_WHOM_TO_TRUST,
    "auth.setup_token_file": DECIDES_WHOM_TO_TRUST,
    "auth.audit_days": KEEPS_THE_TRACES,
}
FIXED_SECTIONS = {
    "data": OPENS_THE_DATABASE,
    "outbound": DECIDES_WHOM_TO_TRUST,
    "llm": DECIDES_WHOM_TO_TRUST,
    "web_search": DECIDES_WHOM_TO_TRUST,
    "telemetry": OPENS_THE_DATABASE,
    "logging": OPENS_THE_DATABASE,
}
CHANGEABLE = frozenset({"logging.level"})
"""Exceptions from the sections."""


def reason_fixed(name: str) -> str:
    """Why `section.key` cannot be changed at run time; empty when it can."""
    if name in CHANGEABLE:
        return ""
    return FIXED.get(name) or FIXED_SECTIONS.get(name.partition(".")[0], "")


def require_changeable(name: str) -> None:
    """Raise `ConfigurationError` for an unknown setting, `InvalidInput` for one that only a start can change."""
    require_known(name)
    reason = reason_fixed(name)
    if reason:
        raise InvalidInput(
            f"{name} cannot be changed at run time: {reason}. Set it in config.toml or as {variable_name(name)}"
            " and start the server again."
        )
