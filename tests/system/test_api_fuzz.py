"""Every call of the API's own description, with inputs that nobody would think of: no 500, no unknown shape."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import CheckFunction
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.app_client import PASSWORD
from tests.server_process import ServerProcess, running_server

EXAMPLES = 25
FEW_EXAMPLES = 8  # of calls that hash a password each time, or log in for it
CHECKS: list[CheckFunction] = [
    schemathesis.checks.not_a_server_error,
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
]
SETUP, LOGIN, LOGOUT = "/api/v1/auth/setup", "/api/v1/auth/login", "/api/v1/auth/logout"
PASSWORDS, USERS = "/api/v1/auth/password", "/api/v1/users"
OF_ACCOUNTS = (SETUP, LOGIN, LOGOUT, PASSWORDS, USERS)
"""Where a POST makes credentials or ends the one it comes with: asked on a server of their own."""
LIMITS = {
    "PERPLEX_LIMITS__REQUESTS_PER_MINUTE_USER": "1000000000",
    "PERPLEX_LIMITS__REQUESTS_PER_MINUTE_ANONYMOUS": "1000000000",
    "PERPLEX_LIMITS__LOGIN_ATTEMPTS": "1000000",
    "PERPLEX_QUEUE__EMBEDDED_REDIS": "false",
    "PERPLEX_OCR__ENGINE": "none",
}
BOB = {"name": "bob", "password": PASSWORD}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with running_server(tmp_path_factory.mktemp("fuzz"), LIMITS) as started:
        yield started


@pytest.fixture(scope="module")
def key(server: ServerProcess) -> str:
    """An API key that may do everything."""
    with httpx.Client(base_url=f"{server.url}/api/v1", timeout=30) as client:
        tokens = client.post("/auth/setup", json={"name": "ada", "password": PASSWORD}).json()
        client.headers["Authorization"] = f"Bearer {tokens['access_token']}"
        made = client.post("/api-keys", json={"name": "fuzz", "scopes": ["read", "write", "admin"]}).json()
    return str(made["secret"])


@pytest.fixture
def new_server(tmp_path: Path) -> Iterator[ServerProcess]:
    """A server that nobody has set up yet."""
    with running_server(tmp_path, LIMITS) as started:
        yield started


def test_no_input_breaks_a_call(server: ServerProcess, key: str) -> None:
    failures: dict[str, Exception] = {}
    asked = 0
    api = _described(server, key).exclude(path=list(OF_ACCOUNTS), method="POST")
    for result in api.get_all_operations():
        operation = result.ok()
        asked += 1
        try:
            _ask(operation, lambda: key)
        except Exception as failure:  # of a check or of the server; all calls are to be tried
            failures[operation.label] = failure
        assert httpx.get(f"{server.url}/health", timeout=5).status_code == 200
    assert asked > 35
    assert not failures, "\n\n".join(f"{label}: {failure}" for label, failure in failures.items())


def test_no_input_breaks_the_calls_that_make_and_end_credentials(new_server: ServerProcess) -> None:
    """In the order of a server's life, and each as it should be too. An input may happen to set the server up."""
    api = _described(new_server)
    made = [answer for answer in _ask(api[SETUP]["POST"]) if answer.status_code == 201]
    admin = (made or [_require(api[SETUP]["POST"], 201, body=BOB | {"name": "ada"})])[0].json()["access_token"]
    _ask(api[SETUP]["POST"])
    _require(api[SETUP]["POST"], 409, body=BOB)

    _ask(api[USERS]["POST"], lambda: admin)
    _ask(api[USERS]["POST"], lambda: admin, FEW_EXAMPLES, lambda new: {"name": new["name"], "password": PASSWORD})
    _require(api[USERS]["POST"], 201, admin, body=BOB)

    def bob() -> str:
        return str(_require(api[LOGIN]["POST"], 200, body=BOB).json()["access_token"])

    _ask(api[LOGIN]["POST"], None, FEW_EXAMPLES)
    token = bob()
    _ask(api[PASSWORDS]["POST"], lambda: token, FEW_EXAMPLES)
    _require(api[PASSWORDS]["POST"], 204, token, body={"current_password": PASSWORD, "new_password": PASSWORD})
    _ask(api[LOGOUT]["POST"], bob, FEW_EXAMPLES)
    _require(api[LOGOUT]["POST"], 204, token)
    _require(api[LOGOUT]["POST"], 401, token)


def _described(server: ServerProcess, key: str | None = None) -> Any:
    """The API as the server describes it to who has this key."""
    return schemathesis.openapi.from_url(f"{server.url}/schema/openapi.json", headers=_authorization(key))


def _authorization(token: str | None) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"} if token else {}


def _require(operation: Any, status: int, token: str | None = None, **parts: Any) -> Any:
    """Call it with these parts; the answer, which has this status and is as described."""
    answer = operation.Case(media_type="application/json" if parts else None, **parts).call_and_validate(
        headers=_authorization(token), checks=CHECKS, timeout=30
    )
    assert answer.status_code == status, answer.text
    return answer


def _ask(
    operation: Any,
    token: Callable[[], str] | None = None,
    examples: int = EXAMPLES,
    mended: Callable[[Any], Any] | None = None,
) -> list[Any]:
    """Call it with so many inputs, each with a token of its own and its body mended, if these are given.

    The answers. Raises what the first of them shows that is not as described.
    """
    answers = []

    @settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy())
    def ask(case: Any) -> None:
        if mended:
            case.body = mended(case.body)
        headers = _authorization(token() if token else None)
        answers.append(case.call_and_validate(headers=headers, checks=CHECKS, timeout=30))

    ask()
    return answers
