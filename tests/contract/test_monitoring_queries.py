"""Rules and dashboards ask for figures that the server gives; panels and their sources are where Grafana looks."""

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.app_client import open_app

ROOT = Path(__file__).parents[2]
RULE_FILES = sorted((ROOT / "deploy/prometheus/rules").glob("*.yml"))
GRAFANA = ROOT / "deploy" / "grafana"
DASHBOARDS = sorted((GRAFANA / "dashboards").glob("*.json"))
OF_PROMETHEUS = {"up", "ALERTS"}
WORDS = {"and", "or", "unless", "bool", "offset"}
HISTOGRAM_ENDINGS = ("_bucket", "_sum", "_count")


def names_in(query: str) -> set[str]:
    """The metrics that a PromQL query names: what is left without strings, labels, ranges, functions and words."""
    for part in (r'"(?:\\.|[^"\\])*"', r"\{[^}]*\}", r"\[[^\]]*\]", r"\b(?:by|without|on|ignoring)\s*\([^)]*\)"):
        query = re.sub(part, " ", query)
    query = re.sub(r"\boffset\s+\w+", " ", query)
    return set(re.findall(r"\b[a-zA-Z_:][\w:]*\b(?!\s*\()", query)) - WORDS


def panels(file: Path) -> list[dict[str, Any]]:
    dashboard = json.loads(file.read_text(encoding="utf-8"))
    found: list[dict[str, Any]] = dashboard["panels"]
    return found


def queries(files: Sequence[Path] = (*RULE_FILES, *DASHBOARDS)) -> Iterator[tuple[str, str]]:
    """Where each PromQL query stands, and the query."""
    for file in files:
        if file.suffix == ".yml":
            for group in yaml.safe_load(file.read_text(encoding="utf-8"))["groups"]:
                yield from ((rule["alert"], rule["expr"]) for rule in group["rules"])
            continue
        for panel in panels(file):
            if panel["datasource"]["type"] == "prometheus":
                yield from ((f"{file.stem}: {panel['title']}", target["expr"]) for target in panel["targets"])


async def exposed(directory: Path) -> set[str]:
    """Every series name the server can give, whether or not something happened yet that makes it appear."""
    async with open_app(directory) as app:
        text = (await app.client.get("/metrics")).text
    names: set[str] = set()
    for name, kind in re.findall(r"^# TYPE (\S+) (\S+)$", text, flags=re.MULTILINE):
        names.update(f"{name}{ending}" for ending in HISTOGRAM_ENDINGS) if kind == "histogram" else names.add(name)
    return names


async def test_every_figure_asked_for_exists(tmp_path: Path) -> None:
    known = await exposed(tmp_path) | OF_PROMETHEUS
    assert "http_request_duration_seconds_bucket" in known
    asked = {where: names_in(query) for where, query in queries()}
    assert len(asked) > 80
    unknown = sorted(f"{name} ({where})" for where, names in asked.items() for name in names - known)
    assert unknown == []


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("histogram_quantile(0.95, sum by (a, le) (rate(x_bucket[5m]))) > 1e9", {"x_bucket"}),
        ('sum(rate(x_total{s=~"5..", t="by (y)"}[5m])) / on (i) y', {"x_total", "y"}),
        ("x unless x offset 15m or vector(0)", {"x"}),
        ("predict_linear(free[3h], 24 * 3600) < reserve and free > 2 * reserve", {"free", "reserve"}),
    ],
)
def test_names_are_told_from_the_rest_of_a_query(query: str, names: set[str]) -> None:
    assert names_in(query) == names


def test_the_dashboards_are_those_promised() -> None:
    assert {file.stem for file in DASHBOARDS} == {"overview", "ingestion", "search", "models", "errors"}
    loaded = [json.loads(file.read_text(encoding="utf-8")) for file in DASHBOARDS]
    assert len({dashboard["uid"] for dashboard in loaded}) == len(loaded)
    assert len({dashboard["title"] for dashboard in loaded}) == len(loaded)


@pytest.mark.parametrize("file", DASHBOARDS, ids=lambda file: file.stem)
def test_panels_have_a_place_of_their_own_and_a_known_source(file: Path) -> None:
    provisioned = yaml.safe_load((GRAFANA / "provisioning/datasources/datasources.yml").read_text(encoding="utf-8"))
    sources = {(source["type"], source["uid"]) for source in provisioned["datasources"]}
    taken: set[tuple[int, int]] = set()
    for panel in panels(file):
        assert (panel["datasource"]["type"], panel["datasource"]["uid"]) in sources
        assert panel["targets"], panel["title"]
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {(place["x"] + column, place["y"] + row) for column in range(place["w"]) for row in range(place["h"])}
        assert not cells & taken, panel["title"]
        taken |= cells
    identifiers = [panel["id"] for panel in panels(file)]
    assert len(set(identifiers)) == len(identifiers)


def test_grafana_finds_the_dashboards_where_compose_puts_them() -> None:
    (provider,) = yaml.safe_load((GRAFANA / "provisioning/dashboards/dashboards.yml").read_text(encoding="utf-8"))[
        "providers"
    ]
    volumes = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))["services"]["grafana"]["volumes"]
    assert f"./deploy/grafana/dashboards:{provider['options']['path']}:ro" in volumes
    assert "./deploy/grafana/provisioning:/etc/grafana/provisioning:ro" in volumes


def test_log_panels_ask_for_labels_that_promtail_sets() -> None:
    promtail = yaml.safe_load((ROOT / "deploy/promtail/promtail.yml").read_text(encoding="utf-8"))["scrape_configs"][0]
    labels = {"job"} | {name for stage in promtail["pipeline_stages"] for name in stage.get("labels", {})}
    asked = [
        t["expr"] for file in DASHBOARDS for panel in panels(file) if panel["type"] == "logs" for t in panel["targets"]
    ]
    assert asked
    for query in asked:
        assert set(re.findall(r"(\w+)=", query.split("}")[0])) <= labels
