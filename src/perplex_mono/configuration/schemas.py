"""Settings as clients see them; a secret is only ever 'set' or 'not set'."""

from typing import Any, Literal

from msgspec import UNSET, Struct, UnsetType

from perplex_mono.settings import secret_names, variable_name
from perplex_mono.settings.descriptions import defaults, descriptions
from perplex_mono.settings.loading import Source

SettingValue = str | int | float | bool | list[str] | None
TakesEffect = Literal["at_once", "next_start", "fixed"]


class SettingView(Struct, frozen=True, omit_defaults=True):
    """A setting as it holds now.

    `source` is default, file, environment or override; `variable` is the environment variable that sets it.
    `takes_effect` says when a change does: at_once, next_start, or fixed (not while the server runs, for `reason`).
    `next_value` is there when the next start will change it.
    """

    name: str
    value: Any
    default: Any
    source: Source
    variable: str
    description: str
    takes_effect: TakesEffect | UnsetType = UNSET
    reason: str | UnsetType = UNSET
    next_value: Any | UnsetType = UNSET


class SettingList(Struct, frozen=True):
    """Every setting, in the order of `config.toml`."""

    items: list[SettingView]


def shown(name: str, value: object) -> object:
    """The value of `section.key`, unless it is a secret."""
    if name not in secret_names():
        return value
    return "set" if value else "not set"


def setting_view(
    name: str,
    value: object,
    source: Source,
    *,
    takes_effect: TakesEffect | UnsetType = UNSET,
    reason: str = "",
    next_value: Any | UnsetType = UNSET,
) -> SettingView:
    """What may be shown of a setting."""
    return SettingView(
        name=name,
        value=shown(name, value),
        default=shown(name, defaults()[name]),
        source=source,
        variable=variable_name(name),
        description=descriptions()[name],
        takes_effect=takes_effect,
        reason=reason or UNSET,
        next_value=UNSET if next_value is UNSET else shown(name, next_value),
    )
