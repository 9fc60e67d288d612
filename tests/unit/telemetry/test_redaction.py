"""Secrets are not shown, whatever text they stand in; what only looks a little like one is."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perplex_mono.telemetry.redaction import MAX_TEXT_CHARS, REDACTED, is_secret_name, redacted, redacted_text

SECRET = "hunter2-Zx81_q"


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Bearer {}",
        "authorization=Basic {}9==",
        "headers {{'Authorization': 'Bearer {}', 'Accept': '*/*'}}",
        "[(b'authorization', b'x'), (b'cookie', b'y')] Cookie: session={}; theme=dark",
        "Set-Cookie: refresh={}; HttpOnly",
        "sent Bearer {} to it",
        "password={}",
        "PASSWORD: {}",
        '{{"password": "{}", "name": "x"}}',
        'a body of "{{\\"api_key\\": \\"{}\\"}}"',
        "{{'client_secret': b'{}'}}",
        "GET /ws/operations?token={}&after=3",
        "GET /x?api-key={}",
        "https://host/path?key={}#top",
        "redis://default:{}@queue:6379/0",
        "refresh_token = {}",
        "X-Api-Key: {}",
        "-----BEGIN RSA PRIVATE KEY-----\n{}\n-----END RSA PRIVATE KEY-----",
        "came with pmk_0199f0a1-7c2e-7d1a-9b1e-3f0c2a1b4c5d_{}",
        "offered access_token.pma_0199f0a1-7c2e-7d1a-9b1e-3f0c2a1b4c5d_{} as subprotocol",
        "pmr_0199f0a1-7c2e-7d1a-9b1e-3f0c2a1b4c5d_family.{} came again",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.{}",
    ],
)
def test_a_secret_in_a_text_is_not_shown(text: str) -> None:
    shown = redacted_text(text.format(SECRET))
    assert SECRET not in shown
    assert REDACTED in shown


@pytest.mark.parametrize(
    "text",
    [
        "max_tokens=200 batch_tokens: 4096 token_count=7",
        "http://127.0.0.1:8080/api/v1/documents?limit=3&after=5",
        "chunking.overlap_tokens (90) must be at most half of chunking.max_tokens (100).",
        "Basic information about bearer bonds",
        "mail to someone@example.org at 12:30",
    ],
)
def test_what_is_no_secret_is_shown(text: str) -> None:
    assert redacted_text(text) == text


@pytest.mark.parametrize("name", ["password", "X-API-Key", "refresh_token", "client_secret", "Set-Cookie", "sessionId"])
def test_names_of_secrets_are_known(name: str) -> None:
    assert is_secret_name(name)
    assert redacted({"outer": [{name: SECRET}]}) == {"outer": [{name: REDACTED}]}


@pytest.mark.parametrize("name", ["tokens", "max_tokens", "token_count", "tokenizer", "key_count", "author"])
def test_names_of_other_things_are_not_taken_for_secrets(name: str) -> None:
    assert not is_secret_name(name)


class Unprintable:
    """Its text holds a secret."""

    def __str__(self) -> str:
        return f"connection to redis://user:{SECRET}@host"


def test_values_of_any_kind_become_json_without_secrets() -> None:
    deep: Any = SECRET
    for _ in range(50):
        deep = [deep, Unprintable()]
    shown = json.dumps(redacted({"object": Unprintable(), "number": float("nan"), "deep": deep, "raw": b"password=x9"}))
    assert f"user:{SECRET}" not in shown
    assert "x9" not in shown
    assert "NaN" not in shown
    assert len(shown) < 20 * MAX_TEXT_CHARS


def test_long_values_are_cut() -> None:
    assert len(redacted_text("x" * 1_000_000)) < MAX_TEXT_CHARS + 100
    assert len(redacted(list(range(10_000)))) == 100


@given(
    st.lists(st.sampled_from(["token", "authorization", "-", ":", " ", '"', "\\", "=", "://", "@", "a"]), max_size=400)
)
def test_no_text_breaks_it(parts: list[str]) -> None:
    assert isinstance(redacted_text("".join(parts)), str)
