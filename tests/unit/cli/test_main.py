"""The command line as a whole: help, exit codes, and one line for every error."""

import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any, get_args

import click
import pytest
from click.testing import CliRunner

from perplex_mono import __version__
from perplex_mono.cli import settings_table
from perplex_mono.cli.commands import COMMANDS, SEARCH_MODES
from perplex_mono.cli.long_work_commands import OPERATION_STATES
from perplex_mono.cli.main import cli
from perplex_mono.operations.models import OperationState
from perplex_mono.search.schemas import SearchMode
from perplex_mono.settings import Settings, load_settings, secret_names, setting_names, variable_name
from perplex_mono.settings.live import value_of


@pytest.fixture
def runner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    """Away from any config.toml and PERPLEX_ variable."""
    monkeypatch.chdir(tmp_path)
    return CliRunner(env={"PERPLEX_SERVER__PORT": None, "PERPLEX_DATA__DIRECTORY": None})


def test_the_version_is_told(runner: CliRunner) -> None:
    assert runner.invoke(cli, ["--version"], prog_name="perplex-mono").output == f"perplex-mono {__version__}\n"


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: str(command.name))
def test_every_command_explains_itself_with_examples(runner: CliRunner, command: click.Command) -> None:
    assert command.name is not None
    result = runner.invoke(cli, [command.name, "--help"])
    assert result.exit_code == 0
    assert f"perplex-mono {command.name}" in result.output or f"{command.name} " in result.output.split("Examples:")[1]
    assert all(parameter.help for parameter in command.params if isinstance(parameter, click.Option))


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['perplex-mono', 'ingest', '--help']\n"
        "from perplex_mono.__main__ import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'lancedb', 'litestar', 'sqlmodel', 'sqlalchemy', 'httpx', 'rich', 'numpy', 'onnxruntime'}\n"
        "print('loaded:', sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert "loaded: []" in done.stdout, done.stderr


@pytest.mark.parametrize("module", ["search", "ask"])
def test_searching_through_a_server_loads_no_tables_and_no_models(module: str) -> None:
    code = (
        f"import sys; import perplex_mono.cli.{module}; import perplex_mono.cli.server_backend\n"
        "print('loaded:', sorted({'torch', 'lancedb', 'litestar', 'sqlmodel', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert "loaded: []" in done.stdout, done.stderr


def test_the_choices_are_those_of_the_product() -> None:
    assert get_args(OperationState) == OPERATION_STATES
    assert get_args(SearchMode) == SEARCH_MODES


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["ingest"],
        ["ingest", "/no/such/file"],
        ["search"],
        ["search", "x", "--limit", "0"],
        ["search", "x", "--mode", "psychic"],
        ["operations", "--follow", "x", "--state", "running"],
        ["serve", "--port", "70000"],
        ["--config", "/no/such/file", "settings"],
    ],
)
def test_wrong_usage_is_code_2(runner: CliRunner, arguments: list[str]) -> None:
    result = runner.invoke(cli, arguments)
    assert result.exit_code == 2
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("arguments", "environment", "code", "said"),
    [
        (["settings"], {"PERPLEX_SERVER__PROT": "1"}, 2, "error: Unknown setting 'server.prot'"),
        (["settings"], {"PERPLEX_SERVER__PORT": "many"}, 2, "error: Setting has a value that cannot work"),
        (["search", "x", "--server", "http://127.0.0.1:1"], {}, 1, "error: The server at http://127.0.0.1:1 is not"),
        (["search", "x", "--server", "localhost:8080"], {}, 2, "error: 'localhost:8080' is not the address"),
        (["ingest", "."], {}, 2, "error: There is no file to ingest in '.'."),
    ],
)
def test_errors_are_one_line(
    runner: CliRunner, arguments: list[str], environment: dict[str, str], code: int, said: str
) -> None:
    result = runner.invoke(cli, arguments, env=environment)
    assert result.exit_code == code
    assert result.stdout == ""
    assert result.stderr.startswith(said)
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "code"), [(RuntimeError("bang \x1b[2J"), 1), (KeyboardInterrupt(), 130), (OSError(28, "full", "/x"), 1)]
)
def test_no_traceback_reaches_the_user(
    runner: CliRunner, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(settings_table, "show_settings", broken)
    result = runner.invoke(cli, ["settings"])
    assert result.exit_code == code
    assert "Traceback" not in result.output
    assert "\x1b" not in result.output


def test_settings_say_where_they_come_from(runner: CliRunner, tmp_path: Path) -> None:
    (tmp_path / "my.toml").write_text(
        '[server]\nport = 9000\nhost = "::1"\n[queue]\nredis_url = "redis://u:hush@h:1/0"\n'
    )
    result = runner.invoke(cli, ["--config", "my.toml", "settings", "--json"], env={"PERPLEX_SERVER__PORT": "9001"})
    found = {item["name"]: item for item in json.loads(result.stdout)["items"]}
    assert list(found) == setting_names()
    assert found["server.port"] == {
        "name": "server.port",
        "value": 9001,
        "source": "environment",
        "variable": "PERPLEX_SERVER__PORT",
        "default": 8080,
        "description": "port to listen on",
    }
    assert (found["server.host"]["value"], found["server.host"]["source"]) == ("::1", "file")
    assert found["server.backlog"]["source"] == "default"
    assert found["queue.redis_url"]["value"] == "set"
    assert "hush" not in result.stdout
    table = runner.invoke(cli, ["--config", "my.toml", "settings"])
    assert "hush" not in table.stdout
    assert all(name in table.stdout for name in setting_names())


def test_a_setting_is_changed_and_taken_back_without_a_server(runner: CliRunner, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("[search]\nrrf_k = 7\n[server]\nport = 9\n")

    def shown(*arguments: str) -> dict[str, Any]:
        result = runner.invoke(cli, ["settings", *arguments, "--json"])
        assert result.exit_code == 0, result.output
        return {item["name"]: item for item in json.loads(result.stdout)["items"]}

    changed = shown("--set", "search.rrf_k=20")
    assert changed["search.rrf_k"]["value"] == 7
    assert (changed["search.rrf_k"]["next_value"], changed["search.rrf_k"]["takes_effect"]) == (20, "next_start")
    assert (shown()["search.rrf_k"]["value"], shown()["search.rrf_k"]["source"]) == (20, "override")
    table = runner.invoke(cli, ["settings", "--set", "limits.max_k=50"]).stdout
    assert "1000 -> 50" in table
    assert runner.invoke(cli, ["settings", "--set", "embedding.model=nowhere"]).exit_code == 2
    with closing(sqlite3.connect(tmp_path / "data" / "perplex.db")) as database, database:  # it was there once
        database.execute(
            "INSERT INTO setting_overrides VALUES ('embedding.model', '\"nowhere\"', '2026-01-01 00:00:00')"
        )
    broken = runner.invoke(cli, ["search", "anything"])
    assert broken.exit_code == 2
    assert "Changed at run time are embedding.model, limits.max_k, search.rrf_k" in broken.stderr
    shown("--unset", "embedding.model", "--unset", "search.rrf_k", "--unset", "limits.max_k")
    assert (shown()["search.rrf_k"]["value"], shown()["search.rrf_k"]["source"]) == (7, "file")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("search.rrf_k", "write NAME=VALUE"),
        ("search.rff_k=1", "Did you mean 'search.rrf_k'?"),
        ("search.rrf_k=0", "search.rrf_k"),
        ("data.directory=/x", "before the database opens"),
    ],
)
def test_a_change_that_cannot_be_is_one_line_and_exit_code_two(runner: CliRunner, change: str, said: str) -> None:
    result = runner.invoke(cli, ["settings", "--set", change])
    assert result.exit_code == 2
    assert said in result.stderr
    assert result.stderr.count("\n") == 1


def test_every_variable_that_is_shown_works() -> None:
    views = settings_table.describe_settings(Settings(), {}, {})
    for view in views:
        if view.name in secret_names():
            continue
        shown = settings_table.as_text(view.name, view.value).strip('"')
        load_settings(environment={view.variable: shown})


def test_openapi_needs_no_server(runner: CliRunner, tmp_path: Path) -> None:
    result = runner.invoke(cli, ["openapi", "--output", "api.json"])
    assert (result.exit_code, result.output) == (0, "")
    paths = json.loads((tmp_path / "api.json").read_text())["paths"]
    assert "/api/v1/search" in paths
    assert json.loads(runner.invoke(cli, ["openapi"]).stdout)["paths"] == paths


@pytest.mark.parametrize("name", ["server.allowed_hosts", "sources.roots"])
def test_a_list_is_shown_as_its_variable_takes_it(name: str) -> None:
    text = settings_table.as_text(name, ["docs.example.com", "docs"])
    settings = load_settings(environment={variable_name(name): text})
    assert value_of(settings, name) == ["docs.example.com", "docs"]
