"""A server that others can reach and nobody owns yet, from its start to its first user, as an operator sees it."""

import re
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.container_operator import Operator, sh_blocks
from tests.server_process import ServerProcess, running_server

PAGE = (Path(__file__).parents[2] / "docs" / "deployment.md").read_text(encoding="utf-8")
BEYOND_THIS_MACHINE = {"PERPLEX_SERVER__HOST": "0.0.0.0", "PERPLEX_QUEUE__EMBEDDED_REDIS": "false"}
PASSWORD = "a long walk along the canal"
FILE_TOKEN = "0123456789abcdef" * 2
LOG_SECONDS = 60
CALLS = (
    ("GET", "/"),
    ("GET", "/metrics"),
    ("GET", "/db/health"),
    ("GET", "/schema"),
    ("GET", "/schema/openapi.json"),
    ("POST", "/api/v1/auth/login"),
    ("GET", "/api/v1/auth/me"),
    ("GET", "/api/v1/users"),
    ("GET", "/api/v1/settings"),
    ("PATCH", "/api/v1/settings"),
    ("GET", "/api/v1/collections"),
    ("POST", "/api/v1/collections/default/documents"),
    ("POST", "/api/v1/collections/default/sources"),
    ("POST", "/api/v1/search"),
    ("POST", "/api/v1/answers"),
    ("POST", "/api/v1/backups"),
    ("GET", "/api/v1/there/is/no/such/call"),
)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    container = tmp_path / "container"
    container.mkdir()
    with running_server(container, BEYOND_THIS_MACHINE) as started:
        yield started


def closing_line(server: ServerProcess) -> str:
    """The line of the log that says the server is closed."""
    deadline = time.monotonic() + LOG_SECONDS
    while time.monotonic() < deadline:
        told = [line for line in server.log().splitlines() if "server.closed" in line]
        if told:
            return told[0]
        time.sleep(0.1)
    raise AssertionError(server.log())


def setup_code(server: ServerProcess) -> str:
    """The token, found in the log as a person finds it."""
    (code,) = re.findall(r"setup_code\W+([\w-]{32,})", closing_line(server))
    return str(code)


def log_in(server: ServerProcess, name: str) -> httpx.Response:
    return httpx.post(f"{server.url}/api/v1/auth/login", json={"name": name, "password": PASSWORD}, timeout=30)


def require_owned_by_ada(server: ServerProcess) -> None:
    """She logs in and uploads; who does not log in is asked to."""
    entered = log_in(server, "ada")
    assert entered.status_code == 200, entered.text
    upload = f"{server.url}/api/v1/collections/default/documents"
    files = [("files", ("heron.txt", b"The heron waded here. " * 30))]
    assert httpx.post(upload, files=files, timeout=30).status_code == 401
    bearer = {"Authorization": f"Bearer {entered.json()['access_token']}"}
    accepted = httpx.post(upload, files=files, headers=bearer, timeout=30)
    assert accepted.status_code == 202, accepted.text


def shown(program: str) -> str:
    """The one line of the page that makes the first user in this way."""
    lines = [line for block in sh_blocks(PAGE) for line in block]
    (line,) = [line for line in lines if line.startswith(program) and " user setup " in line]
    return line


def test_nothing_but_health_and_set_up_answers(server: ServerProcess) -> None:
    for method, path in CALLS:
        refused = httpx.request(method, server.url + path, json={}, timeout=30)
        assert refused.status_code == 403, (method, path, refused.status_code)
        assert "has no user yet" in refused.json()["detail"]
    with connect(f"ws{server.url.removeprefix('http')}/ws/operations") as feed, pytest.raises(ConnectionClosed) as end:
        feed.recv()
    assert end.value.rcvd is not None
    assert end.value.rcvd.code == 4403
    for path in ("/health", "/ready"):
        assert httpx.get(server.url + path, timeout=30).status_code in (200, 503)
    first = {"name": "eve", "password": PASSWORD, "token": "guessed" * 6}
    assert httpx.post(f"{server.url}/api/v1/auth/setup", json=first, timeout=30).status_code == 403


def test_the_code_in_the_log_makes_the_first_user_once(server: ServerProcess, tmp_path: Path) -> None:
    operator = Operator(tmp_path, server)
    code = setup_code(server)
    for name, text in (("token", code), ("wrong", code[::-1]), ("password", PASSWORD)):
        (operator.folder / name).write_text(f"{text}\n")
    command = f"perplex-mono user setup {{}} --server {server.url} --password-file password --token-file"
    refused = operator.tries(f"{command.format('eve')} wrong")
    assert (refused.returncode, "The set-up token is not right" in refused.stderr) == (1, True)
    operator.types(f"{command.format('ada')} token")
    require_owned_by_ada(server)
    again = operator.tries(f"{command.format('eve')} token")
    assert (again.returncode, "set up already" in again.stderr) == (1, True)
    assert log_in(server, "eve").status_code == 401


def test_in_a_container_the_command_of_the_page_asks_for_password_and_code(
    server: ServerProcess, tmp_path: Path
) -> None:
    Operator(tmp_path, server).types(shown("docker"), PASSWORD, PASSWORD, setup_code(server))
    require_owned_by_ada(server)


def test_a_script_gives_both_on_standard_input(server: ServerProcess, tmp_path: Path) -> None:
    (line,) = re.findall(r"`(docker compose exec -T [^`]+ user setup [^`]+)`", PAGE)
    Operator(tmp_path, server).types(line, setup_code(server), PASSWORD)
    require_owned_by_ada(server)


def test_a_token_from_a_file_is_not_in_the_log_and_makes_the_first_user(tmp_path: Path) -> None:
    token = tmp_path / "setup-token"
    token.write_text(f"{FILE_TOKEN}\n")
    with running_server(tmp_path, {**BEYOND_THIS_MACHINE, "PERPLEX_AUTH__SETUP_TOKEN_FILE": str(token)}) as server:
        assert "auth.setup_token_file" in closing_line(server)
        in_the_pod = shown("kubectl").split(" -- ", 1)[1].replace("/run/secrets/perplex-mono/setup-token", str(token))
        Operator(tmp_path, server).types(in_the_pod, PASSWORD, PASSWORD)
        require_owned_by_ada(server)
        assert FILE_TOKEN not in server.log()
