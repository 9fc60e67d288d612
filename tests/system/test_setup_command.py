"""`perplex-mono setup`: with answers, without a terminal, and on a machine where something cannot work."""

import json
import socket
import threading
import tomllib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, get_args

import pytest
from click.testing import CliRunner, Result

from perplex_mono.cli.main import cli
from perplex_mono.cli.setup_command import DEVICES
from perplex_mono.settings import load_settings
from perplex_mono.settings.schema import setting_type
from tests.server_process import free_port

PASSWORD = "a long walk along the canal"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("papers", "scans"):
        (tmp_path / name).mkdir()
    return tmp_path


def run(*arguments: str, answers: list[str] | None = None) -> Result:
    return CliRunner().invoke(cli, ["setup", *arguments], input="".join(f"{line}\n" for line in answers or []))


def written(folder: Path) -> dict[str, Any]:
    return tomllib.loads((folder / "config.toml").read_text())


def test_answers_become_a_file_with_what_differs_from_the_defaults(folder: Path) -> None:
    port = free_port()
    result = run(answers=["store", "me", str(port), "papers:scans", "cpu", "y"])
    assert result.exit_code == 0, result.output
    assert written(folder) == {
        "server": {"port": port},
        "data": {"directory": "store"},
        "embedding": {"device": "cpu"},
        "sources": {"roots": [str(folder / "papers"), str(folder / "scans")]},
    }
    text = (folder / "config.toml").read_text()
    assert "# port to listen on\nport = " in text
    assert load_settings(folder / "config.toml", {}).server.port == port
    assert "perplex-mono serve" in result.stdout
    assert not (folder / "store").exists()


def test_others_are_asked_for_address_names_and_first_user(folder: Path) -> None:
    port = free_port()
    typed = ["data", "others", "0.0.0.0", "*, docs", "docs.example.com, docs", str(port), "-", "cpu", "y", "-"]
    result = run(answers=typed)
    assert result.exit_code == 0, result.output
    assert "'*' is not the name of a host" in result.stderr
    assert written(folder)["server"] == {
        "host": "0.0.0.0",
        "port": port,
        "allowed_hosts": ["docs.example.com", "docs"],
    }
    assert "user setup NAME" in result.stdout


def test_the_first_user_is_asked_for_where_the_server_would_start_closed(folder: Path) -> None:
    answers = ["data", "others", "0.0.0.0", "-", str(free_port()), "-", "cpu", "y", "ada", PASSWORD, PASSWORD]
    result = run(answers=answers)
    assert result.exit_code == 0, result.output
    assert "Made: the administrator ada" in result.stdout
    assert "user setup" not in result.stdout
    again = run("--yes", "--replace", "--user", "bob", "--password-file", "-", answers=[PASSWORD])
    assert again.exit_code == 1
    assert "is written, but no user was made" in again.stderr


def test_a_bad_password_writes_nothing(folder: Path) -> None:
    result = run("--yes", "--user", "ada", "--password-file", "-", answers=["short"])
    assert result.exit_code == 2
    assert "A password has" in result.stderr
    assert not (folder / "config.toml").exists()


def test_without_a_terminal_options_are_enough_and_a_user_is_made(folder: Path) -> None:
    (folder / "secret").write_text(f"{PASSWORD}\n")
    arguments = ("--host", "0.0.0.0", "--port", str(free_port()), "--device", "cpu", "--folder", "papers")
    result = run("--yes", "--json", *arguments, "--user", "ada", "--password-file", "secret")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert (report["file"], report["is_written"], report["user"]) == ("config.toml", True, "ada")
    assert report["settings"]["sources.roots"] == [str(folder / "papers")]
    assert {check["name"]: check["status"] for check in report["checks"]}["folder"] == "ok"
    assert PASSWORD not in result.output
    listed = CliRunner().invoke(cli, ["user", "list", "--json"])
    assert [user["name"] for user in json.loads(listed.stdout)["items"]] == ["ada"]


def test_a_port_that_is_taken_stops_it_and_nothing_is_written(folder: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = run("--yes", "--json", "--device", "cpu", "--port", str(port))
        assert result.exit_code == 1
        report = json.loads(result.stdout)
        assert not report["is_written"]
        (found,) = (check for check in report["checks"] if check["status"] == "error")
        assert (found["name"], str(port) in found["message"]) == ("address", True)
        assert not (folder / "config.toml").exists()

        free = free_port()
        again = ["data", "me", str(port), "-", "cpu", "y", "data", "me", str(free), "-", "cpu", "y"]
        assert run(answers=again).exit_code == 0
        (folder / "config.toml").unlink()
        given = ["data", "me", "-", "cpu", "y", "data", "me", str(free), "-", "cpu", "y"]
        assert run("--port", str(port), answers=given).exit_code == 0
    assert written(folder)["server"] == {"port": free}


@pytest.mark.parametrize(
    ("arguments", "check", "status"),
    [
        (("--data", "file/below"), "data directory", "error"),
        (("--device", "cuda"), "device", "error"),
        (("--data", ".", "--folder", "papers"), "folder", "error"),
        (("--folder", "gone"), "folder", "warning"),
    ],
)
def test_what_cannot_work_is_named(folder: Path, arguments: tuple[str, ...], check: str, status: str) -> None:
    (folder / "file").write_text("no folder")
    result = run("--yes", "--json", "--port", str(free_port()), *_flat({"--device": "cpu"} | _pairs(arguments)))
    checks = {(found["name"], found["status"]) for found in json.loads(result.stdout)["checks"]}
    assert (check, status) in checks
    assert result.exit_code == (1 if status == "error" else 0)


def test_language_model_and_web_search_are_asked_whether_they_are_there(folder: Path) -> None:
    """A file that names them is looked at as it is, and what is missing stops nothing: they may come later."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Ollama) as service:
        threading.Thread(target=service.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{service.server_port}"
        named = (
            f'[llm]\nprovider = "ollama"\nbase_url = "{url}"\nmodel = "small"\n[web_search]\nsearxng_url = "{url}"\n'
        )
        (folder / "config.toml").write_text(named)
        checks = _checks(run("--yes", "--json", "--replace", "--device", "cpu", "--port", str(free_port())))
        service.shutdown()
    assert checks["language model"] == ("ok", f"small at {url}")
    assert checks["web search"][0] == "warning"
    assert "add json to search.formats" in checks["web search"][1]
    assert written(folder)["llm"] == {"provider": "ollama", "base_url": url, "model": "small"}
    gone = _checks(run("--yes", "--json", "--replace", "--device", "cpu", "--port", str(free_port())))
    assert {gone[name][0] for name in ("language model", "web search")} == {"warning"}


def test_a_key_that_would_travel_in_the_open_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "key").write_text("s3cret-key\n")
    monkeypatch.setenv("PERPLEX_LLM__API_KEY_FILE", str(folder / "key"))
    (folder / "config.toml").write_text(
        '[llm]\nprovider = "openai"\nbase_url = "http://0.0.0.1:9/v1"\nmodel = "small"\n'
    )
    result = run("--yes", "--json", "--replace", "--device", "cpu", "--port", str(free_port()))
    told = [check["message"] for check in json.loads(result.stdout)["checks"] if check["name"] == "language model"]
    assert len(told) == 1
    assert "not asked, since llm.api_key would travel to http://0.0.0.1:9/v1 unencrypted" in told[0]
    assert "s3cret-key" not in result.output + (folder / "config.toml").read_text()


class _Ollama(BaseHTTPRequestHandler):
    """An Ollama with one model; to everything else it says that this is forbidden, as a SearXNG without JSON does."""

    def do_GET(self) -> None:
        is_listing = self.path == "/api/tags"
        self.send_response(200 if is_listing else 403)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(b'{"models": [{"name": "small:latest"}]}')

    def log_message(self, *_: object) -> None:
        """Silent."""


def _checks(result: Result) -> dict[str, tuple[str, str]]:
    return {check["name"]: (check["status"], check["message"]) for check in json.loads(result.stdout)["checks"]}


def _flat(options: dict[str, str]) -> list[str]:
    return [word for pair in options.items() for word in pair]


def _pairs(arguments: tuple[str, ...]) -> dict[str, str]:
    return dict(zip(arguments[::2], arguments[1::2], strict=True))


def test_a_file_that_is_there_is_kept_unless_it_is_to_be_replaced(folder: Path) -> None:
    before = '# mine\n[limits]\nmax_k = 7\n[server]\nport = 1234\n[queue]\nredis_url = "redis://u:hunter2@h/0"\n'
    (folder / "config.toml").write_text(before)
    (folder / "config.toml").chmod(0o600)
    port = str(free_port())
    refused = run("--yes", "--device", "cpu", "--port", port)
    assert refused.exit_code == 2
    assert "--replace" in refused.stderr
    assert run(answers=["n"]).exit_code == 1
    assert (folder / "config.toml").read_text() == before

    done = run("--yes", "--device", "cpu", "--port", port, "--replace")
    assert done.exit_code == 0, done.output
    assert "hunter2" not in done.output
    assert written(folder)["limits"] == {"max_k": 7}
    assert written(folder)["queue"] == {"redis_url": "redis://u:hunter2@h/0"}
    assert (folder / "config.toml.old").read_text() == before
    assert {(folder / name).stat().st_mode & 0o777 for name in ("config.toml", "config.toml.old")} == {0o600}
    assert run("--yes", "--device", "cpu", "--port", port, "--replace").exit_code == 0
    assert (folder / "config.toml.old1").is_file()
    assert sorted(path.name for path in folder.glob(".config*")) == []


def test_saying_no_or_nothing_writes_nothing(folder: Path) -> None:
    answers = ["data", "me", str(free_port()), "-", "cpu"]
    assert run(answers=[*answers, "n", "n"]).exit_code == 1
    for ended in (run(answers=answers), run(answers=[])):
        assert ended.exit_code == 2
        assert "--yes asks nothing" in ended.stderr
    assert not (folder / "config.toml").exists()


def test_wrong_use_is_exit_code_two(folder: Path) -> None:
    assert run("--json").exit_code == 2
    assert run("--yes", "--allowed-host", "*").exit_code == 2
    assert run("--yes", "--port", "0").exit_code == 2


def test_the_devices_are_those_of_the_setting() -> None:
    assert get_args(setting_type("embedding.device")) == DEVICES


def test_what_the_environment_sets_is_what_is_looked_at(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERPLEX_DATA__DIRECTORY", str(folder / "elsewhere"))
    monkeypatch.setenv("PERPLEX_SERVER__HOST", "0.0.0.0")
    arguments = ("--yes", "--json", "--device", "cpu", "--port", str(free_port()))
    result = run(*arguments, "--user", "ada", "--password-file", "-", answers=[PASSWORD])
    assert result.exit_code == 0, result.output
    assert (folder / "elsewhere" / "perplex.db").is_file()
    assert not (folder / "data").exists()


def test_a_variable_that_would_stop_the_start_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERPLEX_SERVER_PORT", "9000")
    result = run("--yes", "--json", "--device", "cpu")
    assert result.exit_code == 1
    (check,) = json.loads(result.stdout)["checks"]
    assert (check["name"], check["status"]) == ("environment", "error")
    assert "PERPLEX_SERVER__PORT" in check["message"]
    assert not (folder / "config.toml").exists()


def test_a_password_without_a_user_is_a_mistake(folder: Path) -> None:
    result = run("--yes", "--password-file", "-", answers=[PASSWORD])
    assert result.exit_code == 2
    assert "--user" in result.stderr
