"""The settings of a running process, of which a few can change while it runs."""

from collections.abc import Callable, Iterable

import msgspec

from perplex_mono.settings.schema import Settings

Follow = Callable[[Settings], None]


class LiveSettings:
    """The settings that hold now. A setting can change if somebody follows it, else it holds until the next start."""

    def __init__(self, settings: Settings) -> None:
        self.current = settings
        self._followers: list[tuple[frozenset[str], Follow]] = []

    def follow(self, names: Iterable[str], take: Follow) -> None:
        """Call `take` with the settings whenever one of `names` (`section.key`) has changed. It must not fail."""
        self._followers.append((frozenset(names), take))

    def is_followed(self, name: str) -> bool:
        """Whether a change of this setting takes effect at once."""
        return any(name in names for names, _ in self._followers)

    def change(self, wanted: Settings) -> None:
        """Make what is followed as wanted; everything else stays as it is."""
        followed = frozenset[str]().union(*(names for names, _ in self._followers))
        changed = {name for name in followed if value_of(wanted, name) != value_of(self.current, name)}
        for name in changed:
            self.current = with_value(self.current, name, value_of(wanted, name))
        for names, take in self._followers:
            if names & changed:
                take(self.current)


def value_of(settings: Settings, name: str) -> object:
    """The value of `section.key`."""
    section, _, key = name.partition(".")
    value: object = getattr(getattr(settings, section), key)
    return value


def with_value(settings: Settings, name: str, value: object) -> Settings:
    """The settings with another value for `section.key`."""
    section, _, key = name.partition(".")
    changed = msgspec.structs.replace(getattr(settings, section), **{key: value})
    return msgspec.structs.replace(settings, **{section: changed})
