"""Every call of the API's own description, with inputs that nobody would think of: no 500, no unknown shape."""

from collections.abc import Iterator
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
CHECKS: list[CheckFunction] = [
    schemathesis.checks.not_a_server_error,
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
]
# these end the credential that is used, or make so many users that Argon2id takes all the time
LEFT_OUT = ("/api/v1/auth/logout", "/api/v1/auth/password", "/api/v1/users", "/api/v1/auth/setup", "/api/v1/auth/login")
LIMITS = {
    "PERPLEX_LIMITS__REQUESTS_PER_MINUTE_USER": "1000000000",
    "PERPLEX_QUEUE__EMBEDDED_REDIS": "false",
    "PERPLEX_OCR__ENGINE": "none",
}


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


@pytest.fixture(scope="module")
def api(server: ServerProcess, key: str) -> Any:
    headers = {"Authorization": f"Bearer {key}"}
    described = schemathesis.openapi.from_url(f"{server.url}/schema/openapi.json", headers=headers)
    return described.exclude(path=list(LEFT_OUT))


def test_no_input_breaks_a_call(api: Any, key: str, server: ServerProcess) -> None:
    failures: dict[str, Exception] = {}
    asked = 0
    for result in api.get_all_operations():
        operation = result.ok()
        asked += 1
        try:
            _ask(operation, key)
        except Exception as failure:  # of a check or of the server; all calls are to be tried
            failures[operation.label] = failure
        assert httpx.get(f"{server.url}/health", timeout=5).status_code == 200
    assert asked > 35
    assert not failures, "\n\n".join(f"{label}: {failure}" for label, failure in failures.items())


def _ask(operation: Any, key: str) -> None:
    """Call it with as many inputs as there are examples. Raises what the first one shows."""

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy())
    def ask(case: Any) -> None:
        response = case.call(headers={"Authorization": f"Bearer {key}"}, timeout=30)
        case.validate_response(response, checks=CHECKS)

    ask()
