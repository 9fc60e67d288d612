"""What settings allow: hosts and services that an operator named, each for its own purpose only."""

import pytest

from perplex_mono.outbound.addressing import hosts_of
from perplex_mono.outbound.policy import POLICIES, OutboundRules, origin_of, policies_of
from perplex_mono.settings import Settings
from perplex_mono.settings.loading import with_overrides


def test_without_settings_the_rules_are_the_table() -> None:
    assert policies_of(Settings()) == POLICIES


def test_each_setting_opens_one_purpose() -> None:
    settings = with_overrides(
        Settings(),
        {
            "outbound.private_hosts": ["Wiki.Example.lan"],
            "llm.provider": "ollama",
            "llm.base_url": "http://127.0.0.1:11434/sub",
            "llm.model": "small",
            "web_search.searxng_url": "https://search.example.lan",
        },
    )
    rules = policies_of(settings)
    assert {purpose: (those.allowed_hosts, those.origins) for purpose, those in rules.items()} == {
        "web_page": (frozenset({"wiki.example.lan"}), None),
        "web_search": (frozenset(), frozenset({"https://search.example.lan:443"})),
        "language_model": (frozenset(), frozenset({"http://127.0.0.1:11434"})),
    }


@pytest.mark.parametrize(
    ("place", "host"),
    [
        ("wiki.lan", "wiki.lan"),
        ("wiki.lan:81", "wiki.lan"),
        ("::1", "::1"),
        ("[::1]:81", "::1"),
        ("10.0.0.1:81", "10.0.0.1"),
    ],
)
def test_a_place_is_a_host_with_or_without_a_port(place: str, host: str) -> None:
    assert hosts_of(OutboundRules(allowed_hosts=frozenset({place}))) == {host}


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("http://Docs.example/a?b", "http://docs.example:80"),
        ("https://docs.example", "https://docs.example:443"),
        ("http://[::1]:8888/x", "http://[::1]:8888"),
    ],
)
def test_an_origin_says_its_port(url: str, origin: str) -> None:
    assert origin_of(url) == origin
