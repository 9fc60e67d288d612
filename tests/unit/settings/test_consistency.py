"""Addresses of services: what could never work, or would show a secret, is refused with what would be right."""

import pytest

from perplex_mono.errors import ConfigurationError
from perplex_mono.settings import Settings
from perplex_mono.settings.loading import with_overrides

MODEL = {"llm.provider": "openai", "llm.base_url": "http://127.0.0.1:8000/v1", "llm.model": "small"}


def test_what_works_is_taken() -> None:
    given = {
        **MODEL,
        "llm.api_key": "s3cret",
        "web_search.searxng_url": "https://search.example.lan/sub",
        "outbound.private_hosts": ["wiki.example.lan:8080", "10.0.0.7", "::1", "[::1]:81", "localhost"],
    }
    settings = with_overrides(Settings(), given)
    assert (settings.llm.model, settings.web_search.searxng_url) == ("small", "https://search.example.lan/sub")
    assert "s3cret" not in repr(settings)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({**MODEL, "llm.base_url": "127.0.0.1:8000"}, "llm.base_url is not the address of a service, like http"),
        ({**MODEL, "llm.base_url": "http://:8000"}, "is not the address"),
        ({**MODEL, "llm.base_url": "http://h:99999"}, "is not the address"),
        ({**MODEL, "llm.base_url": "http://h/v1?key=a"}, "is not the address"),
        ({**MODEL, "llm.base_url": "http://h/v 1"}, "is not the address"),
        ({**MODEL, "llm.base_url": "http://" + "h" * 1000}, "is not the address"),
        ({**MODEL, "llm.base_url": "http://user:pass@h/v1"}, "llm.base_url must hold no user and no password"),
        ({**MODEL, "llm.api_key": "two words"}, "llm.api_key holds characters"),
        ({**MODEL, "llm.api_key": "kéy"}, "llm.api_key holds characters"),
        ({"web_search.searxng_url": "search.example"}, "web_search.searxng_url is not the address"),
        ({**MODEL, "llm.base_url": "http://ada:hunter2@h:99999"}, "no user and no password"),
        ({"web_search.searxng_url": "ada:hunter2@host"}, "no user and no password"),
        ({"web_search.searxng_url": "http://h/?key=hunter2"}, "nothing follows but a path"),
        ({"outbound.private_hosts": ["*"]}, "outbound.private_hosts: '*' is not a host"),
        ({"outbound.private_hosts": ["http://wiki"]}, "is not a host"),
        ({"outbound.private_hosts": ["wiki:"]}, "without scheme"),
        ({"outbound.private_hosts": ["wiki:0"]}, "is not a host"),
        ({"outbound.private_hosts": [""]}, "is not a host"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_refused(given: dict[str, object], told: str) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        with_overrides(Settings(), given)
    assert told in str(refusal.value)
    assert "hunter2" not in str(refusal.value)
    assert "two words" not in str(refusal.value)
    assert "kéy" not in str(refusal.value)


def test_the_name_of_a_provider_is_found_when_it_is_misspelt() -> None:
    with pytest.raises(ConfigurationError, match=r"it can be none, openai or ollama\. Did you mean 'ollama'\?"):
        with_overrides(Settings(), {"llm.provider": "olama"})
