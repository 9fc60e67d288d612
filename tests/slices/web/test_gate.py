"""Every answer leaves through the one door: a problem with its type, our id and headers, in time and within limits."""

import asyncio
import base64
import hashlib
import inspect
import json
import re
from collections.abc import AsyncIterator, MutableMapping
from typing import Any

import httpx
import pytest
import pytest_asyncio

from perplex_mono import errors
from perplex_mono.web import health
from tests.app_client import App, local_client, open_app

pytestmark = pytest.mark.asyncio(loop_scope="module")
PROBLEM = "application/problem+json"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def app(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[App]:
    async with open_app(tmp_path_factory.mktemp("gate"), limits={"body_idle_seconds": 0.3}) as opened:
        yield opened


def require_problem(answer: httpx.Response, status: int, kind: str) -> dict[str, Any]:
    """The problem's JSON, having checked its form."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == PROBLEM
    require_our_headers(answer)
    body: dict[str, Any] = answer.json()
    assert body["type"] == f"/problems/{kind}"
    assert body["status"] == status
    assert body["title"]
    assert body["detail"]
    assert body["instance"] == answer.request.url.path
    return body


def require_our_headers(answer: httpx.Response) -> None:
    assert len(answer.headers["x-request-id"]) >= 8
    assert answer.headers.get_list("x-request-id", split_commas=True) == [answer.headers["x-request-id"]]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert answer.headers["cross-origin-opener-policy"] == "same-origin"
    assert answer.headers["cache-control"]
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    assert "access-control-allow-origin" not in answer.headers


async def handshake(app: App) -> MutableMapping[str, Any]:
    """What follows the server's acceptance of a feed from this machine: its first message, or why it was closed."""
    headers = [(b"host", b"127.0.0.1:8080"), (b"sec-websocket-version", b"13")]
    scope: dict[str, Any] = {
        "type": "websocket",
        "path": "/ws/operations",
        "raw_path": b"/ws/operations",
        "query_string": b"",
        "root_path": "",
        "scheme": "ws",
        "client": ("127.0.0.1", 50_000),
        "server": ("127.0.0.1", 8080),
        "headers": headers,
        "subprotocols": [],
    }
    from_client: asyncio.Queue[MutableMapping[str, Any]] = asyncio.Queue()
    from_server: asyncio.Queue[MutableMapping[str, Any]] = asyncio.Queue()
    from_client.put_nowait({"type": "websocket.connect"})
    serving = asyncio.create_task(app.application(scope, from_client.get, from_server.put))
    assert (await from_server.get())["type"] == "websocket.accept"
    first = await from_server.get()
    from_client.put_nowait({"type": "websocket.disconnect", "code": 1000})
    await serving
    return first


async def test_good_answers_carry_our_headers(app: App) -> None:
    for path in ("/health", "/ready", "/metrics", "/api/v1/collections", "/schema/openapi.json"):
        answer = await app.client.get(path)
        assert answer.status_code == 200
        require_our_headers(answer)


async def test_the_reference_page_may_use_its_own_style_and_nothing_else(app: App) -> None:
    answer = await app.client.get("/schema")
    require_our_headers(answer)
    (style,) = re.findall(r"<style>(.*?)</style>", answer.text)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in answer.headers["content-security-policy"]
    assert "style=" not in answer.text


async def test_what_is_private_is_never_kept_by_anybody_on_the_way(app: App) -> None:
    for path in ("/api/v1/collections", "/api/v1/auth/me", "/health", "/nowhere"):
        assert (await app.client.get(path)).headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("method", "path", "status", "kind"),
    [
        ("GET", "/nowhere", 404, "not-found"),
        ("GET", "/api/v1/nowhere", 404, "not-found"),
        ("GET", "/api/v1/documents/0198c0de-0000-7000-8000-000000000000", 404, "not-found"),
        ("GET", "/api/v1/operations/unknown/events", 404, "not-found"),
        ("PUT", "/api/v1/collections", 405, "method-not-allowed"),
        ("DELETE", "/health", 405, "method-not-allowed"),
        ("GET", "/api/v1/collections?limit=0", 400, "invalid-input"),
        ("GET", "/api/v1/collections?limit=many", 400, "invalid-input"),
        ("GET", "/api/v1/operations?state=sleeping", 400, "invalid-input"),
        ("DELETE", "/api/v1/collections/default", 409, "conflict"),
    ],
)
async def test_refusals_are_problems(app: App, method: str, path: str, status: int, kind: str) -> None:
    require_problem(await app.client.request(method, path), status, kind)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"query": 1}',
        b'{"query": "x", "colour": 1}',
        b'{"query": "x", "limit": 0}',
        b"\xff\xfe",
    ],
)
async def test_bodies_that_are_not_what_they_should_be(app: App, content: bytes) -> None:
    answer = await app.client.post("/api/v1/search", content=content, headers={"content-type": "application/json"})
    require_problem(answer, 400, "invalid-input")


async def test_a_missing_body_is_told_in_words(app: App) -> None:
    body = require_problem(await app.client.post("/api/v1/search"), 400, "invalid-input")
    assert body["errors"] == [{"field": "data", "message": "The body is missing; this call needs a JSON object."}]


async def test_a_wrong_field_is_named(app: App) -> None:
    body = require_problem(
        await app.client.post("/api/v1/search", json={"query": "x", "limit": "ten"}), 400, "invalid-input"
    )
    assert "limit" in json.dumps(body)


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (errors.InvalidInput("x"), 400, "invalid-input"),
        (errors.ConfigurationError("x"), 400, "invalid-input"),
        (errors.NotFound("thing", "1"), 404, "not-found"),
        (errors.Conflict("x"), 409, "conflict"),
        (errors.StaleLease("x"), 409, "conflict"),
        (errors.TooLarge("x"), 413, "too-large"),
        (errors.DocumentFailure("corrupt", "x"), 422, "document-failure"),
        (errors.Overloaded("x", 7), 429, "overloaded"),
        (errors.DataCorrupt("x"), 500, "data-corrupt"),
        (errors.Unavailable("ocr", "x"), 503, "unavailable"),
        (errors.StorageFull("x"), 507, "storage-full"),
        (RuntimeError("the password is swordfish"), 500, "internal"),
        (RecursionError(), 400, "invalid-input"),
    ],
)
async def test_every_kind_of_error_has_its_status(
    app: App, monkeypatch: pytest.MonkeyPatch, error: Exception, status: int, kind: str
) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(type(app.container.collections), "list_collections", fail)
    answer = await app.client.get("/api/v1/collections")
    body = require_problem(answer, status, kind)
    assert "swordfish" not in answer.text
    assert answer.headers.get("retry-after") == ("7" if status == 429 else None)
    if isinstance(error, errors.PerplexError):
        assert body["detail"] == str(error)


async def test_the_clients_request_id_is_kept_when_it_is_harmless(app: App) -> None:
    answer = await app.client.get("/health", headers={"x-request-id": "client-chosen.17"})
    assert answer.headers["x-request-id"] == "client-chosen.17"
    for bad in ("short", "x" * 65, "with space in it", 'quote"quote"', "émile-émile"):
        answer = await app.client.get("/nowhere", headers=[(b"x-request-id", bad.encode())])
        assert answer.headers["x-request-id"] != bad
        require_our_headers(answer)


async def test_other_sites_and_names_are_refused_before_routing(app: App) -> None:
    for headers in ({"host": "evil.example"}, {"origin": "http://evil.example"}, {"x-forwarded-for": "1.2.3.4"}):
        for path in ("/api/v1/collections", "/nowhere", "/health"):
            require_problem(await app.client.post(path, headers=headers, json={}), 403, "forbidden")


async def test_deep_json_is_refused_and_not_a_crash(app: App) -> None:
    deep = b"[" * 100_000 + b"]" * 100_000
    for content in (deep, b'{"query": ' + deep + b"}", b'{"a":' * 100_000 + b"1" + b"}" * 100_000):
        for kind in (
            "application/json",
            "application/json; charset=utf-8",
            "text/plain",
            "application/vnd.x+json",
            None,
        ):
            headers = {} if kind is None else {"content-type": kind}
            answer = await app.client.post("/api/v1/search", content=content, headers=headers)
            assert answer.status_code in (400, 415), (kind, answer.text[:200])
            assert answer.headers["content-type"] == PROBLEM


async def test_brackets_inside_strings_are_words(app: App) -> None:
    assert (await app.search("[" * 2000 + '"{{{{\\'))["hits"] == []


async def test_large_json_is_refused(app: App) -> None:
    content = json.dumps({"query": "x" * 1_100_000}).encode()
    for headers in ({"content-type": "application/json"}, {"content-type": "text/plain"}):
        require_problem(await app.client.post("/api/v1/search", content=content, headers=headers), 413, "too-large")


async def stalling(first: bytes) -> AsyncIterator[bytes]:
    """A body that stops arriving."""
    yield first
    await asyncio.sleep(3600)


@pytest.mark.parametrize(
    ("path", "kind", "first"),
    [
        ("/api/v1/search", "application/json", b'{"query": '),
        ("/api/v1/collections/default/documents", "multipart/form-data; boundary=b", b"--b\r\nContent-Disp"),
        (
            "/api/v1/collections/default/documents",
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="files"; filename="a.txt"\r\n\r\nsome text',
        ),
    ],
)
async def test_a_body_that_stops_arriving_is_given_up(app: App, path: str, kind: str, first: bytes) -> None:
    async with asyncio.timeout(60):
        answer = await app.client.post(path, content=stalling(first), headers={"content-type": kind})
    body = require_problem(answer, 408, "body-timeout")
    assert "body_idle_seconds" in body["detail"]
    assert not list((app.data / "blobs" / "incoming").iterdir())


async def test_too_many_requests_are_told_when_to_come_back(tmp_path_factory: pytest.TempPathFactory) -> None:
    limits = {"requests_per_minute_user": 5}
    async with open_app(tmp_path_factory.mktemp("rate"), limits=limits) as app:
        answers = [await app.client.get("/api/v1/collections") for _ in range(7)]
        assert [answer.status_code for answer in answers] == [200] * 5 + [429] * 2
        require_problem(answers[-1], 429, "rate-limited")
        assert 1 <= int(answers[-1].headers["retry-after"]) <= 12
        assert (await app.client.get("/health")).status_code == 200, "health is never limited"


async def test_feeds_of_the_local_user_count_as_its_requests(tmp_path_factory: pytest.TempPathFactory) -> None:
    async with open_app(tmp_path_factory.mktemp("feeds"), limits={"requests_per_minute_user": 5}) as app:
        answers = [await handshake(app) for _ in range(6)]
        assert [answer["type"] for answer in answers] == ["websocket.send"] * 5 + ["websocket.close"]
        assert answers[-1]["code"] == 1013
        wait = re.fullmatch(r"Too many requests; try again in (\d+) s\.", answers[-1]["reason"])
        assert wait is not None
        assert 1 <= int(wait.group(1)) <= 12
        require_problem(await app.client.get("/api/v1/collections"), 429, "rate-limited")


async def test_bound_beyond_this_machine_the_server_is_closed(tmp_path_factory: pytest.TempPathFactory) -> None:
    server = {"host": "0.0.0.0"}
    limits = {"requests_per_minute_anonymous": 3}
    async with open_app(tmp_path_factory.mktemp("closed"), server=server, limits=limits) as app:
        assert (await app.client.get("/health")).status_code == 200
        assert (await app.client.get("/ready")).status_code == 200
        for path in ("/api/v1/collections", "/metrics", "/schema", "/nowhere"):
            body = require_problem(await app.client.get(path), 403, "forbidden")
            assert "no user yet" in body["detail"]


async def test_health_is_open_while_nothing_else_is(app: App) -> None:
    body = (await app.client.get("/health")).json()
    assert body["status"] == "ok"
    assert body["memory"]["rss_bytes"] > 1_000_000


async def test_stopping_is_unready_and_alive(tmp_path_factory: pytest.TempPathFactory) -> None:
    async with open_app(tmp_path_factory.mktemp("stopping")) as app:
        assert (await app.client.get("/ready")).json()["status"] in ("ready", "degraded")
        app.container.health_service.stop()
        answer = await app.client.get("/ready")
        assert (answer.status_code, answer.json()["status"]) == (503, "unready")
        assert answer.json()["components"]["server"]["reason"] == "shutting down"
        assert (await app.client.get("/health")).status_code == 200


async def test_why_a_component_is_not_well_is_told_to_who_may_know(tmp_path_factory: pytest.TempPathFactory) -> None:
    async with open_app(tmp_path_factory.mktemp("reasons")) as app:
        app.container.health_service.stop()
        assert (await app.client.get("/ready")).json()["components"]["server"]["reason"] == "shutting down"
        await app.set_up()
        bob, stranger, forger = await app.new_user("bob"), local_client(app.application), local_client(app.application)
        forger.headers["Authorization"] = "Bearer pmk_forged"
        for client, is_told in ((app.client, True), (bob, False), (stranger, False), (forger, False)):
            component = (await client.get("/ready")).json()["components"]["server"]
            assert (component["status"], "reason" in component) == ("down", is_told)


async def test_a_database_that_cannot_be_written_is_unready(tmp_path_factory: pytest.TempPathFactory) -> None:
    async with open_app(tmp_path_factory.mktemp("broken")) as app:
        async with app.container.operations._database.write() as session:
            await (await session.connection()).exec_driver_sql("DROP TABLE heartbeat")
        ready, database = await app.client.get("/ready"), await app.client.get("/db/health")
        assert (ready.status_code, database.status_code) == (503, 503)
        assert ready.json()["components"]["database"]["status"] == "down"
        assert (await app.client.get("/vector/health")).status_code == 200


async def test_since_when_a_component_is_as_it_is_is_remembered(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "READY_KEEP_SECONDS", 0.0)
    async with open_app(tmp_path_factory.mktemp("since")) as app:

        async def since(name: str) -> dict[str, str]:
            component: dict[str, str] = (await app.client.get("/ready")).json()["components"][name]
            return {component["status"]: component["since"]}

        well = await since("database")
        assert await since("database") == well
        readers = await since("readers")
        async with app.container.operations._database.write() as session:
            await (await session.connection()).exec_driver_sql("DROP TABLE heartbeat")
        broken = await since("database")
        assert "ok" not in broken
        assert broken["down"] > well["ok"]
        assert await since("database") == broken
        assert (await app.client.get("/db/health")).json()["since"] == broken["down"]
        assert await since("readers") == readers


async def test_metrics_count_requests_by_pattern_not_by_path(app: App) -> None:
    await app.client.get("/api/v1/documents/some-id-of-mine")
    await app.client.get("/some/odd/path")
    text = (await app.client.get("/metrics")).text
    assert 'http_requests_total{endpoint="/api/v1/documents/{document_id}",method="GET",status="404"}' in text
    assert "some-id-of-mine" not in text
    assert "odd" not in text


async def test_a_client_that_leaves_early_leaves_nothing(app: App) -> None:
    async with local_client(app.application) as client:
        upload = asyncio.create_task(
            client.post(
                "/api/v1/collections/default/documents",
                content=stalling(b'--b\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\nx'),
                headers={"content-type": "multipart/form-data; boundary=b"},
            )
        )
        await asyncio.sleep(0.1)
        upload.cancel()
        await asyncio.gather(upload, return_exceptions=True)
    assert not list((app.data / "blobs" / "incoming").iterdir())


async def test_a_page_of_a_listed_origin_can_read_why_it_was_refused(tmp_path_factory: pytest.TempPathFactory) -> None:
    page = {"origin": "https://app.example.com", "host": "127.0.0.1"}
    server = {"allowed_origins": ["https://app.example.com"]}
    limits = {"requests_per_minute_anonymous": 3}
    async with open_app(tmp_path_factory.mktemp("pages"), server=server, limits=limits) as app:
        await app.set_up()
        stranger = local_client(app.application)
        asking = {**page, "access-control-request-method": "GET", "access-control-request-headers": "authorization"}
        for _ in range(5):  # a browser asks before every request, and without the token: that must not use up the limit
            preflight = await stranger.options("/api/v1/collections", headers=asking)
            assert preflight.status_code == 204, preflight.text
        answers = [await stranger.get("/api/v1/collections", headers=page) for _ in range(5)]
        assert [answer.status_code for answer in answers] == [401, 401, 401, 429, 429]
        answers.append(await app.client.get("/api/v1/collections", headers=page))
        for answer in answers:
            assert answer.headers.get_list("access-control-allow-origin") == ["https://app.example.com"]
            assert "Retry-After" in answer.headers["access-control-expose-headers"]
        app.application._of_preflights.limit(2)
        preflights = [await stranger.options("/api/v1/collections", headers=asking) for _ in range(4)]
        assert {answer.status_code for answer in preflights} >= {429}, "they have a limit of their own"
        other = await stranger.get("/api/v1/collections", headers={**page, "origin": "https://evil.example"})
        assert other.status_code == 403
        assert "access-control-allow-origin" not in other.headers


async def test_what_breaks_before_routing_is_a_problem_too(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(*_: object) -> float:
        raise RuntimeError("the password is swordfish")

    monkeypatch.setattr(type(app.application), "_wait_seconds", breaks)
    answer = await app.client.get("/api/v1/collections")
    require_problem(answer, 500, "internal")
    assert "swordfish" not in answer.text


async def test_readiness_is_looked_for_once_a_second_whoever_asks(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[None] = []
    probe = app.container.health_service._probes["database"]

    async def counted() -> object:
        looks.append(None)
        status = probe()
        return await status if inspect.isawaitable(status) else status

    monkeypatch.setitem(app.container.health_service._probes, "database", counted)
    monkeypatch.setattr(app.container.health_service, "_view", None)
    monkeypatch.setattr(health, "READY_KEEP_SECONDS", 3600.0)
    answers = await asyncio.gather(*(app.client.get("/ready") for _ in range(20)))
    assert {answer.status_code for answer in answers} == {200}
    assert len(looks) == 1
