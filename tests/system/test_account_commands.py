"""Accounts from the command line, with a running server and without one."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.app_client import PASSWORD
from tests.server_process import ServerProcess, running_server


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    with running_server(tmp_path, {"PERPLEX_QUEUE__EMBEDDED_REDIS": "false"}) as started:
        yield started


def _run(folder: Path, *arguments: str, given: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    variables = {name: value for name, value in os.environ.items() if not name.startswith("PERPLEX_")}
    return subprocess.run(
        [sys.executable, "-m", "perplex_mono", *arguments],
        cwd=folder,
        env={**variables, **environment},
        input=given,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_from_the_first_user_to_a_revoked_key(server: ServerProcess, tmp_path: Path) -> None:
    def run(*arguments: str, given: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        return _run(tmp_path, *arguments, "--server", server.url, given=given, **environment)

    made = run("user", "setup", "ada", "--password-file", "-", "--json", given=f"{PASSWORD}\n")
    assert json.loads(made.stdout)["role"] == "admin", made.stderr
    refused = run("search", "anything")
    assert refused.returncode == 1
    assert "PERPLEX_API_KEY" in refused.stderr

    everything = ("--scope", "read", "--scope", "write", "--scope", "admin")
    created = run("key", "create", "laptop", *everything, "--login", "ada", "--password-file", "-", given=PASSWORD)
    secret = created.stdout.strip()
    assert secret.startswith("pmk_"), created.stderr
    (tmp_path / "key").write_text(secret)
    for environment in ({"PERPLEX_API_KEY": secret}, {"PERPLEX_API_KEY_FILE": str(tmp_path / "key")}):
        assert run("search", "anything", **environment).returncode == 0

    key = {"PERPLEX_API_KEY": secret}
    (tmp_path / "walrus.txt").write_text("Walruses rest on the ice.")
    assert run("ingest", str(tmp_path / "walrus.txt"), **key).returncode == 0, "follows its feed with the key"
    assert run("user", "add", "bob", "--password-file", "-", given=PASSWORD, **key).returncode == 0
    assert "bob" in run("user", "list", **key).stdout
    (work,) = json.loads(run("operations", "--everyone", "--json", **key).stdout)["items"]
    assert (work["owner_name"], work["operation"]["kind"]) == ("ada", "ingest")
    his = run("key", "create", "his", "--scope", "write", "--login", "bob", "--password-file", "-", given=PASSWORD)
    for options in ((), ("--cancel", work["operation"]["id"])):
        refused = run("operations", "--everyone", *options, PERPLEX_API_KEY=his.stdout.strip())
        assert (refused.returncode, "Only an administrator" in refused.stderr) == (1, True), refused.stderr
    done = run("operations", "--everyone", "--cancel", work["operation"]["id"], **key)
    assert (done.returncode, "is completed and cannot be cancelled" in done.stderr) == (1, True), "it is reached"
    unclear = run("operations", "--everyone", "--follow", work["operation"]["id"], **key)
    assert (unclear.returncode, "--follow" in unclear.stderr) == (2, True)
    changed = run("user", "change", "bob", "--disable", "--json", **key)
    assert json.loads(changed.stdout)["is_disabled"] is True
    (listed,) = json.loads(run("key", "list", "--json", **key).stdout)["items"]
    by_key = run("key", "revoke", listed["id"], **key)
    assert (by_key.returncode, "logged in" in by_key.stderr) == (1, True)
    by_ada = ("--login", "ada", "--password-file", "-")
    assert run("key", "revoke", listed["id"], *by_ada, given=PASSWORD).returncode == 0
    assert run("user", "list", **key).returncode == 1


def test_without_a_server_on_the_data_directory(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('[server]\nport = 9\n[ocr]\nengine = "none"\n')
    made = _run(tmp_path, "user", "setup", "ada", "--password-file", "-", given=PASSWORD)
    assert made.returncode == 0, made.stderr
    again = _run(tmp_path, "user", "setup", "eve", "--password-file", "-", given=PASSWORD)
    assert (again.returncode, "set up already" in again.stderr) == (1, True)
    short = _run(tmp_path, "user", "add", "bob", "--password-file", "-", given="short")
    assert (short.returncode, "12 to 512 characters" in short.stderr) == (2, True)
    assert _run(tmp_path, "key", "create", "script").stdout.startswith("pmk_")


def test_nothing_to_change_is_told(tmp_path: Path) -> None:
    told = _run(tmp_path, "user", "change", "bob")
    assert told.returncode == 2
    assert "--role" in told.stderr


def test_after_a_restore_without_secrets_a_password_is_set_on_the_data_directory(tmp_path: Path) -> None:
    process = ServerProcess(tmp_path, {"PERPLEX_QUEUE__EMBEDDED_REDIS": "false"})
    here = {"PERPLEX_DATA__DIRECTORY": str(process.data), "PERPLEX_SERVER__PORT": str(process.port)}
    given = ("--password-file", "-")
    assert _run(tmp_path, "user", "setup", "ada", *given, given=PASSWORD, **here).returncode == 0
    saved = _run(tmp_path, "backup", "library.tar", **here)
    assert saved.returncode == 0, saved.stderr
    restored = _run(tmp_path, "restore", "library.tar", "--yes", **here)
    assert restored.returncode == 0, restored.stderr
    login = {"name": "ada", "password": PASSWORD}
    process.start()
    try:
        assert httpx.post(f"{process.url}/api/v1/auth/login", json=login, timeout=30).status_code == 401
    finally:
        process.stop()
    changed = _run(tmp_path, "user", "change", "ada", "--password", *given, given=PASSWORD, **here)
    assert changed.returncode == 0, changed.stderr
    process.start()
    try:
        assert httpx.post(f"{process.url}/api/v1/auth/login", json=login, timeout=30).status_code == 200
    finally:
        process.stop()
