"""Prometheus and Alertmanager as they are shipped, from Debian's packages, watch a real server, and tell when it dies.

The files of deploy/ are taken as they are but for addresses, and for waiting times that are minutes there.
"""

import json
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
import yaml

from tests.contract.test_monitoring_queries import RULE_FILES, names_in, queries
from tests.server_process import ServerProcess, free_port, running_server
from tests.system.faults.means import missing

ROOT = Path(__file__).parents[2]
WAIT_SECONDS = 60.0


class Receiver:
    """Takes Alertmanager's webhooks, and remembers who was told what."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str, str]] = []
        told = self.told

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                told.extend((self.path, alert["labels"]["alertname"], alert["status"]) for alert in body["alerts"])
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Silence."""

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Take no more."""
        self._server.shutdown()
        self._server.server_close()


class Watch(NamedTuple):
    """What runs during the test."""

    server: ServerProcess
    prometheus: str
    receiver: Receiver

    def ask(self, path: str, **query: str) -> dict[str, Any]:
        """What Prometheus' API says."""
        answer = httpx.get(f"{self.prometheus}/api/v1/{path}", params=query, timeout=10)
        assert answer.status_code == 200, answer.text
        data: dict[str, Any] = answer.json()["data"]
        return data


def eventually(condition: Callable[[], object], what: str) -> None:
    """Wait until the condition holds."""
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        try:
            if condition():
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise AssertionError(f"{what}: not in {WAIT_SECONDS} s")


def replaced(text: str, changes: dict[str, str]) -> str:
    """The text with each pattern replaced; one that is not there is a mistake."""
    for pattern, by in changes.items():
        text, count = re.subn(pattern, by, text)
        assert count, pattern
    return text


def prometheus_files(folder: Path, server: int, own: int, alertmanager: int) -> Path:
    """The shipped configuration with addresses of the test, in a hurry: asks every two seconds."""
    shutil.copytree(ROOT / "deploy" / "prometheus", folder)
    configuration, rules = folder / "prometheus.yml", folder / "rules" / "server.yml"
    changes = {
        r"(scrape|evaluation)_interval: 15s": r"\1_interval: 2s",
        "scrape_timeout: 10s": "scrape_timeout: 2s",
        "alertmanager:9093": f"127.0.0.1:{alertmanager}",
        "127.0.0.1:9090": f"127.0.0.1:{own}",
        r"perplex:\d+": f"127.0.0.1:{server}",
    }
    configuration.write_text(replaced(configuration.read_text(), changes))
    loaded = yaml.safe_load(rules.read_text())
    (down,) = [rule for group in loaded["groups"] for rule in group["rules"] if rule["alert"] == "ServerDown"]
    down["for"] = "1s"
    rules.write_text(yaml.safe_dump(loaded))
    return configuration


def alertmanager_file(folder: Path, receiver: int) -> Path:
    """The shipped configuration, whose messages go to the test, and at once; the half hour of escalation stays."""
    text = (ROOT / "deploy/alertmanager/alertmanager.yml").read_text()
    changes = {
        "http://alerts.example.org": f"http://127.0.0.1:{receiver}",
        "group_wait: 10s": "group_wait: 1s",
        "group_interval: 5m": "group_interval: 1s",
    }
    file = folder / "alertmanager.yml"
    file.write_text(replaced(text, changes))
    return file


@contextmanager
def running(program: str, log: Path, *options: str) -> Iterator[None]:
    """A program that runs meanwhile."""
    path = shutil.which(program)
    if path is None:
        missing(f"{program} is not installed (Debian: prometheus, prometheus-alertmanager)")
    with log.open("wb") as output:
        process = subprocess.Popen([str(path), *options], cwd=log.parent, stdout=output, stderr=output)
    try:
        yield
        assert process.poll() is None, log.read_text()[-2000:]
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def watch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watch]:
    """A server, Prometheus that asks it, Alertmanager that Prometheus tells, and somebody whom Alertmanager tells."""
    folder = tmp_path_factory.mktemp("monitoring")
    own, alertmanager = free_port(), free_port()
    receiver = Receiver()
    with running_server(folder, {"PERPLEX_QUEUE__EMBEDDED_REDIS": "false"}) as server:
        configuration = prometheus_files(folder / "prometheus", server.port, own, alertmanager)
        with (
            running(
                "prometheus-alertmanager",
                folder / "alertmanager.log",
                f"--config.file={alertmanager_file(folder, receiver.port)}",
                f"--storage.path={folder / 'alerts'}",
                f"--web.listen-address=127.0.0.1:{alertmanager}",
                "--cluster.listen-address=",
            ),
            running(
                "prometheus",
                folder / "prometheus.log",
                f"--config.file={configuration}",
                f"--storage.tsdb.path={folder / 'figures'}",
                f"--web.listen-address=127.0.0.1:{own}",
            ),
        ):
            url = f"http://127.0.0.1:{own}"
            eventually(lambda: httpx.get(f"{url}/-/ready", timeout=60).status_code == 200, "Prometheus is ready")
            yield Watch(server, url, receiver)
    receiver.close()


def test_every_target_is_up(watch: Watch) -> None:
    def health() -> dict[str, str]:
        targets = watch.ask("targets", state="active")["activeTargets"]
        return {target["labels"]["job"]: target["health"] for target in targets}

    up = {"perplex-mono": "up", "prometheus": "up", "alertmanager": "up"}
    eventually(lambda: health() == up, "all targets are up")
    eventually(
        lambda: (
            [figure["metric"]["job"] for figure in watch.ask("query", query="application_info")["result"]]
            == ["perplex-mono"]
        ),
        "its figures are kept",
    )


def test_every_rule_is_loaded_and_can_be_evaluated(watch: Watch) -> None:
    shipped = {
        rule["alert"]
        for file in (ROOT / "deploy/prometheus/rules").glob("*.yml")
        for group in yaml.safe_load(file.read_text())["groups"]
        for rule in group["rules"]
    }

    def health() -> dict[str, str]:
        return {rule["name"]: rule["health"] for group in watch.ask("rules")["groups"] for rule in group["rules"]}

    eventually(lambda: health() == dict.fromkeys(shipped, "ok"), "all rules were evaluated")


def test_every_query_of_rules_and_dashboards_can_be_answered(watch: Watch) -> None:
    for _, query in queries():
        watch.ask("query", query=query)


def test_states_that_alerts_are_about_are_there_before_anything_happens(watch: Watch) -> None:
    """An alert about a series that never is would never come; counters with labels appear with their first event."""
    wanted = {
        selector[0]
        for _, query in queries(RULE_FILES)
        for name in names_in(query)
        if not name.endswith(("_total", "_bucket"))
        for selector in re.finditer(rf"\b{name}\b(\{{[^}}]*\}})?", query)
    }
    assert 'operations_active{state="queued"}' in wanted

    def missing() -> list[str]:
        return [selector for selector in sorted(wanted) if not watch.ask("query", query=selector)["result"]]

    eventually(lambda: not missing(), f"all of {sorted(wanted)} are there")


def test_a_dead_server_is_told_to_who_is_on_call_and_so_is_its_return(watch: Watch) -> None:
    watch.server.kill()
    eventually(lambda: ("/on-call", "ServerDown", "firing") in watch.receiver.told, "the alert is delivered")
    watch.server.start()
    eventually(lambda: ("/on-call", "ServerDown", "resolved") in watch.receiver.told, "its end is delivered")
    assert not [path for path, name, _ in watch.receiver.told if name == "ServerDown" and path != "/on-call"]
