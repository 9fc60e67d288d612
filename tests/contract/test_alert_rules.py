"""Every alert fires when it should and falls silent when it may, says what to do, and reaches who is to be told."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.system.faults.means import missing

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"
ALERTMANAGER = ROOT / "deploy" / "alertmanager" / "alertmanager.yml"
RULE_FILES = sorted((PROMETHEUS / "rules").glob("*.yml"))
PAGE = (ROOT / "docs" / "monitoring.md").read_text(encoding="utf-8")

ALERTS: dict[str, dict[str, Any]] = {
    rule["alert"]: rule
    for file in RULE_FILES
    for group in yaml.safe_load(file.read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
}


def tool(name: str) -> str:
    """Where a program of Debian's packages is."""
    path = shutil.which(name)
    if path is None:
        missing(f"{name} is not installed (Debian: prometheus, prometheus-alertmanager)")
    return str(path)


def run(*command: str | Path) -> str:
    """What the program says, when it ends well."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_prometheus_takes_its_configuration_and_all_rules() -> None:
    said = run(tool("promtool"), "check", "config", PROMETHEUS / "prometheus.yml")
    assert f"{len(RULE_FILES)} rule files found" in said


@pytest.mark.parametrize("file", RULE_FILES, ids=lambda file: file.stem)
def test_the_rules_do_what_their_tests_say(file: Path) -> None:
    run(tool("promtool"), "test", "rules", PROMETHEUS / "tests" / file.name)


@pytest.mark.parametrize("name", sorted(ALERTS))
def test_every_alert_is_seen_to_fire_and_then_to_be_silent(name: str) -> None:
    suites = [yaml.safe_load(file.read_text(encoding="utf-8")) for file in (PROMETHEUS / "tests").glob("*.yml")]
    (case,) = [case for suite in suites for case in suite["tests"] if case["name"] == name]
    firing = f'count(ALERTS{{alertname="{name}", alertstate="firing"}})'
    fires, is_silent = case["promql_expr_test"]
    assert (fires["expr"], is_silent["expr"]) == (firing, firing)
    assert [sample["value"] for sample in fires["exp_samples"]] == [1]
    assert is_silent["exp_samples"] == []
    assert int(fires["eval_time"].rstrip("m")) < int(is_silent["eval_time"].rstrip("m"))


@pytest.mark.parametrize(
    ("name", "condition", "held"),
    [
        ("ErrorRateHigh", "> 0.05", "5m"),
        ("AnswersSlow", "> 1", "5m"),
        ("MemoryHigh", "> 0.8", "5m"),
        ("WorkerHung", "> 600", "1m"),
        ("QueueStalled", "operations_running == 0", "10m"),
    ],
)
def test_thresholds_are_the_agreed_ones(name: str, condition: str, held: str) -> None:
    assert ALERTS[name]["expr"].strip().endswith(condition)
    assert ALERTS[name]["for"] == held


@pytest.mark.parametrize("rule", ALERTS.values(), ids=lambda rule: rule["alert"])
def test_every_alert_says_how_bad_it_is_and_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert rule["labels"]["area"]
    assert rule["annotations"]["summary"]
    assert len(rule["annotations"]["description"]) > 40
    page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    assert (ROOT / page).is_file()
    assert anchor == rule["alert"].lower()


def test_the_page_describes_every_alert_and_no_other() -> None:
    assert re.findall(r"^### (\w+)$", PAGE, flags=re.MULTILINE) == list(ALERTS)


COMMANDS = re.findall(r"^((?:promtool|amtool) .+)$", PAGE, flags=re.MULTILINE)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_commands_on_the_page_work(command: str) -> None:
    name, *arguments = command.split()
    done = subprocess.run([tool(name), *arguments], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_page_has_commands() -> None:
    assert len(COMMANDS) == 4


def test_alertmanager_takes_its_configuration() -> None:
    assert "SUCCESS" in run(tool("amtool"), "check-config", ALERTMANAGER)


@pytest.mark.parametrize("rule", ALERTS.values(), ids=lambda rule: rule["alert"])
def test_what_is_critical_pages_and_escalates_and_the_rest_is_told(rule: dict[str, Any]) -> None:
    labels = [f"{name}={value}" for name, value in rule["labels"].items()]
    told = {"critical": "escalation,on-call", "warning": "team"}[rule["labels"]["severity"]]
    run(
        tool("amtool"),
        "config",
        "routes",
        "test",
        f"--config.file={ALERTMANAGER}",
        f"--verify.receivers={told}",
        *labels,
    )


def test_escalation_waits_half_an_hour_and_paging_does_not() -> None:
    escalation, on_call = yaml.safe_load(ALERTMANAGER.read_text(encoding="utf-8"))["route"]["routes"]
    assert (escalation["receiver"], escalation["group_wait"], escalation["continue"]) == ("escalation", "30m", True)
    assert (on_call["receiver"], on_call["group_wait"]) == ("on-call", "10s")


def test_what_follows_from_something_worse_is_not_told() -> None:
    down, thresholds = yaml.safe_load(ALERTMANAGER.read_text(encoding="utf-8"))["inhibit_rules"]
    assert down == {
        "source_matchers": ['alertname="ServerDown"'],
        "target_matchers": ['alertname!="ServerDown"'],
        "equal": ["instance"],
    }
    assert thresholds["equal"] == ["instance", "area"]
    areas = {rule["labels"]["area"] for rule in ALERTS.values()}
    assert {"memory", "disk"} <= areas
