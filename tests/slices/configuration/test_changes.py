"""Settings changed while the server runs: checked as the file is, all or none, and really taking effect."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from perplex_mono.configuration import policy
from perplex_mono.configuration.policy import CHANGEABLE, FIXED, FIXED_SECTIONS, reason_fixed
from perplex_mono.container.following import (
    DISK,
    GATE,
    LOGINS,
    RESOURCES,
    SEARCH,
    SOCKETS,
    gate_limits,
    search_options,
)
from perplex_mono.settings import secret_names, setting_names
from perplex_mono.settings.descriptions import descriptions
from perplex_mono.settings.live import value_of
from perplex_mono.storage.disk_full import DiskReserve
from tests.app_client import App, local_client, open_app

URL = "/api/v1/settings"


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[App]:
    async with open_app(tmp_path, search={"rrf_k": 7}, queue={"redis_url": ""}) as opened:
        yield opened


async def shown(app: App) -> dict[str, dict[str, Any]]:
    answer = await app.client.get(URL)
    assert answer.status_code == 200, answer.text
    return {item["name"]: item for item in answer.json()["items"]}


async def change(app: App, **changes: Any) -> dict[str, dict[str, Any]]:
    """Change settings, `section__key=value`; the settings afterwards."""
    answer = await app.client.patch(URL, json={name.replace("__", "."): value for name, value in changes.items()})
    assert answer.status_code == 200, answer.text
    return {item["name"]: item for item in answer.json()["items"]}


async def refusal(app: App, changes: Any) -> str:
    answer = await app.client.patch(URL, json=changes)
    assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json")
    detail: str = answer.json()["detail"]
    return detail


async def test_every_setting_is_shown_with_its_source_and_description(app: App) -> None:
    found = await shown(app)
    assert list(found) == setting_names()
    assert {name: item["description"] for name, item in found.items()} == descriptions()
    assert found["search.rrf_k"] == {
        "name": "search.rrf_k",
        "value": 7,
        "default": 10,
        "source": "file",
        "variable": "PERPLEX_SEARCH__RRF_K",
        "description": descriptions()["search.rrf_k"],
        "takes_effect": "at_once",
    }
    assert (found["ocr.dpi"]["source"], found["ocr.dpi"]["takes_effect"]) == ("default", "next_start")
    assert found["data.directory"]["takes_effect"] == "fixed"
    assert "before the database opens" in found["data.directory"]["reason"]


async def test_a_change_takes_effect_at_once_and_can_be_taken_back(app: App) -> None:
    assert (await app.client.post("/api/v1/search", json={"query": "x", "limit": 6})).status_code == 200
    changed = (await change(app, limits__max_k=5))["limits.max_k"]
    assert (changed["value"], changed["source"], changed["takes_effect"]) == (5, "override", "at_once")
    answer = await app.client.post("/api/v1/search", json={"query": "x", "limit": 6})
    assert "at most 5 (limits.max_k)" in answer.json()["detail"]
    back = (await change(app, limits__max_k=None))["limits.max_k"]
    assert (back["value"], back["source"]) == (1000, "default")
    assert (await app.client.post("/api/v1/search", json={"query": "x", "limit": 6})).status_code == 200


async def test_a_change_is_taken_from_what_searches_remember(app: App) -> None:
    await app.ingest(("a.txt", b"The lighthouse keeper counted walruses."))
    before = (await app.search("walruses", explain=True))["hits"][0]["score"]
    await change(app, search__rrf_k=50)
    assert (await app.search("walruses", explain=True))["hits"][0]["score"] < before / 2


async def test_the_door_takes_its_limits_at_once(app: App) -> None:
    await change(app, limits__max_json_depth=2)
    answer = await app.client.post("/api/v1/search", json={"query": "x", "filters": {"tags": ["a"]}})
    assert "more than 2 levels deep" in answer.json()["detail"]
    await change(app, limits__max_json_depth=None, limits__requests_per_minute_user=1)
    assert {(await app.client.get("/api/v1/collections")).status_code for _ in range(3)} >= {429}


async def test_the_disk_reserve_can_be_raised_at_once(app: App) -> None:
    await change(app, limits__disk_reserve_fraction=1.0)
    assert app.container.blobs.disk_reserve == DiskReserve(0, 1.0)
    assert app.container.backups._handler._reserve is app.container.blobs.disk_reserve, "of backups too"


async def test_logins_feeds_and_warnings_take_theirs(app: App) -> None:
    changed = await change(app, limits__login_attempts=2, limits__sockets_total=1, limits__memory_warning_fraction=0.0)
    assert all(changed[f"limits.{key}"]["takes_effect"] == "at_once" for key in ("login_attempts", "sockets_total"))
    ready = (await app.client.get("/ready")).json()["components"]
    assert "more than 0%" in ready["memory"]["reason"]
    await app.set_up()
    stranger = local_client(app.application)
    tries = [
        (await stranger.post("/api/v1/auth/login", json={"name": "ada", "password": "wrong wrong wrong"})).status_code
        for _ in range(3)
    ]
    assert tries == [401, 401, 429]


async def test_what_cannot_change_at_once_waits_for_the_next_start(tmp_path: Path) -> None:
    async with open_app(tmp_path) as app:
        changed = (await change(app, ocr__dpi=300))["ocr.dpi"]
        assert (changed["value"], changed["next_value"], changed["source"]) == (200, 300, "default")
        assert changed["takes_effect"] == "next_start"
        assert app.container.live.current.ocr.dpi == 200
    async with open_app(tmp_path) as app:
        assert app.container.settings.ocr.dpi == 300
        held = (await shown(app))["ocr.dpi"]
        assert (held["value"], held["source"]) == (300, "override")
        assert "next_value" not in held
        back = (await change(app, ocr__dpi=None))["ocr.dpi"]
        assert (back["value"], back["next_value"], back["source"]) == (300, 200, "override")
    async with open_app(tmp_path) as app:
        assert (await shown(app))["ocr.dpi"]["source"] == "default"


async def test_overrides_are_above_file_and_environment(tmp_path: Path) -> None:
    async with open_app(tmp_path, search={"candidates": 20}) as app:
        await change(app, search__candidates=30)
    async with open_app(tmp_path, search={"candidates": 40}) as app:
        assert (await shown(app))["search.candidates"]["value"] == 30
        assert (await change(app, search__candidates=None))["search.candidates"]["value"] == 40


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"search.rff_k": 5}, "Did you mean 'search.rrf_k'?"),
        ({"search.rrf_k": 0}, "search.rrf_k"),
        ({"search.rrf_k": "many"}, "search.rrf_k"),
        ({"logging.level": "LOUD"}, "logging.level"),
        ({"search.language": "Germann"}, "'German'"),
        ({"chunking.overlap_tokens": 150}, "at most half"),
        ({"search.rrf_k": {"a": 1}}, ""),
        ([], ""),
    ],
)
async def test_what_cannot_work_is_refused_as_in_the_file_and_nothing_is_done(
    app: App, changes: Any, said: str
) -> None:
    before = await shown(app)
    both = {"limits.max_k": 5, **changes} if changes else changes
    assert said in await refusal(app, both)
    assert await shown(app) == before
    events = (await app.client.get("/api/v1/audit?action=settings_changed")).json()["items"]
    assert events == []


@pytest.mark.parametrize("name", [name for name in setting_names() if reason_fixed(name)])
async def test_what_only_a_start_can_change_is_refused_with_the_reason(app: App, name: str) -> None:
    said = await refusal(app, {"limits.max_k": 5, name: "x"})
    assert f"{name} cannot be changed at run time: " in said
    assert f"PERPLEX_{name.upper().replace('.', '__')}" in said
    assert (await shown(app))["limits.max_k"]["source"] == "default"


def test_every_fixed_setting_exists() -> None:
    names = setting_names()
    assert FIXED.keys() | CHANGEABLE <= set(names)
    assert FIXED_SECTIONS.keys() <= {name.partition(".")[0] for name in names}
    assert {name.partition(".")[0] for name in CHANGEABLE} <= FIXED_SECTIONS.keys()


async def test_a_change_is_written_down_with_who_made_it(app: App) -> None:
    await app.set_up()
    await change(app, limits__max_k=5, search__rrf_k=None)
    (event,) = (await app.client.get("/api/v1/audit?action=settings_changed")).json()["items"]
    assert (event["actor_name"], event["target"]) == ("ada", "limits.max_k, search.rrf_k")
    assert event["details"] == {"limits.max_k": 5, "search.rrf_k": "removed"}


async def test_only_administrators_see_and_change_settings(app: App) -> None:
    await app.set_up()
    bob = await app.new_user("bob")
    for answer in (await bob.get(URL), await bob.patch(URL, json={"limits.max_k": 5})):
        assert answer.status_code == 403
    stranger = local_client(app.application)
    assert (await stranger.patch(URL, json={"limits.max_k": 5})).status_code == 401


async def test_a_secret_is_never_shown(tmp_path: Path) -> None:
    async with open_app(tmp_path, queue={"redis_url": "redis://u:hunter2@127.0.0.1:1/0"}) as app:
        answer = await app.client.get(URL)
        assert "hunter2" not in answer.text
        assert (await shown(app))["queue.redis_url"]["value"] == "set"
        assert "hunter2" not in await refusal(app, {"queue.redis_url": "redis://u:hunter2@x/0"})
    async with open_app(tmp_path) as app:
        assert (await shown(app))["queue.redis_url"]["value"] == "not set"


async def test_a_secret_that_may_be_changed_can_be_written_but_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(policy.FIXED, "queue.redis_url")  # no secret of today may be changed at run time
    async with open_app(tmp_path) as app:
        answer = await app.client.patch(URL, json={"queue.redis_url": "redis://u:hunter2@127.0.0.1:1/0"})
        changed = {item["name"]: item for item in answer.json()["items"]}["queue.redis_url"]
        assert (changed["value"], changed["next_value"]) == ("not set", "set")
        audit = await app.client.get("/api/v1/audit")
        assert audit.json()["items"][0]["details"] == {"queue.redis_url": "set"}
        assert "hunter2" not in answer.text + audit.text
    async with open_app(tmp_path) as app:
        assert app.container.settings.queue.redis_url == "redis://u:hunter2@127.0.0.1:1/0"
        assert "hunter2" not in (await app.client.get(URL)).text


async def test_a_stored_change_that_cannot_hold_any_more_does_not_stop_a_start(tmp_path: Path) -> None:
    async with open_app(tmp_path) as app:
        await change(app, search__rrf_k=33)
        path = app.data / "perplex.db"
    with sqlite3.connect(path) as connection:
        rows = [("search.gone", "1"), ("limits.max_k", '"many"'), ("server.port", "1")]
        connection.executemany("INSERT INTO setting_overrides VALUES (?, ?, '2026-01-01 00:00:00')", rows)
    connection.close()
    async with open_app(tmp_path) as app:
        found = await shown(app)
        assert (found["search.rrf_k"]["value"], found["limits.max_k"]["value"]) == (33, 1000)
        assert found["server.port"]["source"] == "default"
        await change(app, search__gone=None)
        assert "Unknown setting 'search.lost'" in await refusal(app, {"search.lost": None})
    with sqlite3.connect(path) as connection:
        left = {name for (name,) in connection.execute("SELECT name FROM setting_overrides")}
    connection.close()
    assert left == {"search.rrf_k", "limits.max_k", "server.port"}


async def test_changes_at_the_same_time_all_hold(app: App) -> None:
    async def one(name: str, value: int) -> httpx.Response:
        return await app.client.patch(URL, json={name: value})

    answers = await asyncio.gather(one("search.rrf_k", 3), one("limits.max_k", 4), one("search.candidates", 15))
    assert [answer.status_code for answer in answers] == [200] * 3
    found = await shown(app)
    assert [found[name]["value"] for name in ("search.rrf_k", "limits.max_k", "search.candidates")] == [3, 4, 15]


async def test_changes_that_only_fit_together_hold_after_a_start(tmp_path: Path) -> None:
    async with open_app(tmp_path) as app:
        await change(app, chunking__max_tokens=40, chunking__overlap_tokens=10)
        with sqlite3.connect(app.data / "perplex.db") as connection:
            connection.execute("INSERT INTO setting_overrides VALUES ('search.gone', '1', '2026-01-01 00:00:00')")
        connection.close()
    async with open_app(tmp_path) as app:
        chunking = app.container.settings.chunking
        assert (chunking.max_tokens, chunking.overlap_tokens) == (40, 10)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"chunking.max_tokens": 512}, "512"),
        ({"embedding.model": "/nowhere/at/all"}, "/nowhere/at/all"),
        ({"embedding.device": "cudo"}, "Did you mean 'cuda'?"),
    ],
)
async def test_what_would_stop_the_next_start_is_refused_now(app: App, changes: dict[str, Any], said: str) -> None:
    assert said in await refusal(app, changes)
    assert not app.container.setting_service.overridden


def _another(value: object) -> object:
    """A value that differs and may be."""
    return value / 2 if isinstance(value, float) else int(str(value)) + 1


async def test_whoever_follows_a_setting_has_it_at_once(app: App) -> None:
    """Every name of the lists, one after another: what is left out of them, or out of what they hand on, shows here."""
    for name in (*SEARCH, *GATE):
        current = value_of(app.container.live.current, name)
        await change(app, **{name.replace(".", "__"): _another(current)})
        live = app.container.live.current
        assert value_of(live, name) != current, name
        assert app.container.searcher._options == search_options(live), name
        assert app.application._limits == gate_limits(live), name
        await change(app, **{name.replace(".", "__"): None})
    names = {name for name in setting_names() if app.container.live.is_followed(name)}
    assert names == {*SEARCH, *GATE, *SOCKETS, *LOGINS, *RESOURCES, *DISK}


def test_no_secret_lies_among_the_changes() -> None:
    """They go into every backup, also into one without secrets."""
    assert all(reason_fixed(name) for name in secret_names())
