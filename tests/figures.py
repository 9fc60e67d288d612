"""Reading what `/metrics` shows, as Prometheus does."""

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from tests.app_client import App

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


def parse(text: str) -> Series:
    """Every series of an exposition with its value."""
    samples = (sample for family in text_string_to_metric_families(text) for sample in family.samples)
    return {(sample.name, frozenset(sample.labels.items())): sample.value for sample in samples}


def value(series: Series, name: str, **labels: str) -> float:
    """The sum of all series of this name that have these labels; 0 when there is none."""
    wanted = labels.items()
    return sum(figure for (found, having), figure in series.items() if found == name and wanted <= dict(having).items())


def figure(registry: CollectorRegistry, name: str, **labels: str) -> float:
    """A figure of a registry."""
    return value(parse(generate_latest(registry).decode()), name, **labels)


class Counted:
    """What an application counted since this was begun."""

    def __init__(self, app: App, before: Series) -> None:
        self._app = app
        self._before = before
        self._now = before

    @classmethod
    async def begin(cls, app: App) -> "Counted":
        """Count from now on."""
        return cls(app, await _look(app))

    async def look(self) -> None:
        """Read the figures anew."""
        self._now = await _look(self._app)

    def more(self, name: str, **labels: str) -> float:
        """By how much a figure has grown, as of the last look."""
        return value(self._now, name, **labels) - value(self._before, name, **labels)

    def now(self, name: str, **labels: str) -> float:
        """A figure as of the last look."""
        return value(self._now, name, **labels)


async def _look(app: App) -> Series:
    answer = await app.client.get("/metrics")
    assert answer.status_code == 200
    return parse(answer.text)
