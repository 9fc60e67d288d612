"""The lines of the pages for operators that other programs run: typed as they stand there, on other ports."""

import re
import shlex
import shutil
import stat
import subprocess
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from tests.server_process import free_port, running_server
from tests.system.faults.means import missing
from tests.system.test_monitoring import eventually, running

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with the files that the pages speak of."""
    shutil.copytree(ROOT / "deploy", tmp_path / "checkout" / "deploy")
    return tmp_path / "checkout"


def shell_lines(text: str) -> list[str]:
    """The commands of all `sh` blocks, continued lines joined."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return "".join(blocks).replace("\\\n", " ").splitlines()


def test_without_containers_every_target_is_up(tmp_path: Path, checkout: Path) -> None:
    page = (DOCS / "monitoring.md").read_text(encoding="utf-8")
    part = page.partition("\n### Without containers\n")[2].partition("\n### ")[0]
    server_port, own, alerts = free_port(), free_port(), free_port()
    ports = {"127.0.0.1:9464": server_port, "127.0.0.1:9090": own, "127.0.0.1:9093": alerts}

    def here(text: str) -> str:
        for address, port in ports.items():
            text = text.replace(address, f"127.0.0.1:{port}")
        return text

    shipped = checkout / "deploy/prometheus/prometheus.yml"
    shipped.write_text(here(shipped.read_text()))  # its own address
    edit, *programs = shell_lines(here(part))
    subprocess.run(edit, shell=True, cwd=checkout, check=True)
    settings = {"PERPLEX_QUEUE__EMBEDDED_REDIS": "false", "PERPLEX_TELEMETRY__METRICS_PORT": str(server_port)}
    with ExitStack() as stack:
        stack.enter_context(running_server(tmp_path, settings))
        for command in programs:
            program, *options = shlex.split(command)
            stack.enter_context(running(program, checkout / f"{program}.log", *options))
        (asked,) = re.findall(r"`curl -s '([^']+query=up)'`", here(part))

        def reached() -> dict[str, str]:
            found = httpx.get(asked, timeout=10).json()["data"]["result"]
            return {figure["metric"]["job"]: figure["value"][1] for figure in found}

        eventually(
            lambda: reached() == dict.fromkeys(("perplex-mono", "prometheus", "alertmanager"), "1"), "all are up"
        )


@pytest.mark.parametrize(
    ("page", "secret"),
    [("monitoring.md", "secrets/grafana_password"), ("deployment.md", "deploy/kubernetes/setup-token")],
)
def test_a_secret_is_made_that_others_cannot_read(checkout: Path, page: str, secret: str) -> None:
    if shutil.which("openssl") is None:
        missing("openssl is not installed")
    (line,) = [line for line in shell_lines((DOCS / page).read_text(encoding="utf-8")) if "openssl rand" in line]
    subprocess.run(line, shell=True, cwd=checkout, check=True)
    made = checkout / secret
    assert len(made.read_text().strip()) >= 32
    assert not made.stat().st_mode & stat.S_IROTH or not made.parent.stat().st_mode & stat.S_IXOTH
