"""The import contracts leave out nothing that was added since, and find what they forbid."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
CONTRACTS: list[dict[str, Any]] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"][
    "importlinter"
]["contracts"]
# who may all the same: the command line is a client of the server
CALLERS = {"__main__", "cli", "outbound"}
CLIENTS = ("httpx", "httpcore", "requests", "urllib3", "aiohttp", "websockets")


def _contract(name: str) -> dict[str, Any]:
    [found] = [contract for contract in CONTRACTS if contract["name"] == name]
    return found


def _modules() -> set[str]:
    """Every part of the product that stands in a layer."""
    layers = _contract("Imports point downwards")["layers"]
    return {module.strip() for layer in layers for module in layer.split("|")}


def test_nobody_but_outbound_and_the_command_line_may_call_the_outside() -> None:
    contract = _contract("Only outbound calls the outside")
    assert {name.removeprefix("perplex_mono.") for name in contract["source_modules"]} == _modules() - CALLERS
    assert set(contract["forbidden_modules"]) >= set(CLIENTS)


@pytest.mark.parametrize(
    "statement", ["import urllib.request", "from urllib.request import urlopen", "import http.client"]
)
def test_the_clients_of_the_standard_library_are_refused(statement: str) -> None:
    command = [
        sys.executable,
        "-m",
        "ruff",
        "check",
        "--select",
        "TID251",
        "--stdin-filename",
        "src/perplex_mono/new.py",
    ]
    done = subprocess.run([*command, "-"], input=statement, capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.returncode == 1, done.stderr
    assert "perplex_mono.outbound" in done.stdout


def test_a_slice_with_a_client_of_its_own_breaks_the_contract(tmp_path: Path) -> None:
    package = tmp_path / "perplex_mono"
    for module in _modules():
        (package / module).mkdir(parents=True)
        (package / module / "__init__.py").touch()
    (package / "__init__.py").touch()
    for client in CLIENTS:
        (package / "search" / f"with_{client}.py").write_text(f"def ask() -> None:\n    import {client}\n")
    settings = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    contract = settings[settings.index('[[tool.importlinter.contracts]]\nname = "Only outbound calls the outside"') :]
    head = '[tool.importlinter]\nroot_package = "perplex_mono"\ninclude_external_packages = true\n'
    (tmp_path / "pyproject.toml").write_text(head + contract)
    command = [sys.executable, "-c", "import importlinter.cli; importlinter.cli.lint_imports_command()", "--no-cache"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=60)
    assert done.returncode == 1, done.stdout + done.stderr
    found = re.findall(r"perplex_mono\.search\.with_\w+ -> (\w+)", done.stdout)
    assert set(found) == set(CLIENTS)
