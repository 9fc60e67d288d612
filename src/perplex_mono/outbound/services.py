"""Whether the services that settings name answer, and what they have. No question and nothing of documents is sent."""

from typing import Any, Final, Literal

import msgspec

from perplex_mono.errors import Unavailable
from perplex_mono.outbound.fetcher import AnsweredError, Fetcher
from perplex_mono.settings import LlmSettings, WebSearchSettings

MODELS_SHOWN = 5
_LISTS: Final = {"openai": ("/models", "data", "id"), "ollama": ("/api/tags", "models", "name")}
"""Of each provider: where it lists its models, and where in the answer their names are."""


async def find_language_model(llm: LlmSettings, fetcher: Fetcher) -> str:
    """What was found, in a sentence. Raises `Unavailable` that says what to change, and what `Fetcher.fetch` raises."""
    if llm.provider == "none":
        return "none: answers are sentences of the documents"
    if not llm.base_url or not llm.model:
        raise Unavailable("language model", f"llm.provider = '{llm.provider}' needs llm.base_url and llm.model")
    path, _, _ = _LISTS[llm.provider]
    url = llm.base_url.rstrip("/") + path
    try:
        answer = await fetcher.fetch(url, "language_model", token=llm.api_key)
    except AnsweredError as error:
        raise _refused(llm, url, error) from error
    names = _model_names(llm.provider, answer.content)
    if names is None:
        raise Unavailable("language model", f"{url} is not how {llm.provider} lists its models; see llm.provider")
    if not any(_is_called(llm.model, name) for name in names):
        has = ", ".join(sorted(names)[:MODELS_SHOWN]) or "none"
        more = f" and {len(names) - MODELS_SHOWN} more" if len(names) > MODELS_SHOWN else ""
        raise Unavailable("language model", f"{llm.base_url} has no '{llm.model}' (llm.model); it has {has}{more}")
    return f"{llm.model} at {llm.base_url}"


async def find_web_search(web_search: WebSearchSettings, fetcher: Fetcher) -> str:
    """As `find_language_model`. Asked without a question, SearXNG asks no search engine."""
    if not web_search.searxng_url:
        return "none: no search engine is asked"
    url = web_search.searxng_url.rstrip("/") + "/search?format=json"
    try:
        await fetcher.fetch(url, "web_search")
    except AnsweredError as error:
        if error.status == 400:  # it would answer in JSON, had it been asked anything
            return f"SearXNG at {web_search.searxng_url}"
        hint = "; add json to search.formats of its settings.yml" if error.status == 403 else ""
        raise Unavailable("web search", f"{url} answers {error.status}{hint}") from error
    raise Unavailable("web search", f"{web_search.searxng_url} answers, but not as a SearXNG would")


def _refused(llm: LlmSettings, url: str, error: AnsweredError) -> Unavailable:
    if error.status in (401, 403):
        why = "refuses the key (llm.api_key)" if llm.api_key else "wants a key (llm.api_key)"
        return Unavailable("language model", f"{url} {why}")
    told = f": {error.told}" if error.told else ""
    hint = ", which may end in /v1" if llm.provider == "openai" and error.status == 404 else ""
    return Unavailable("language model", f"{url} answers {error.status}{told}; see llm.base_url{hint}")


def _model_names(provider: Literal["openai", "ollama"], content: bytes) -> list[str] | None:
    """The names in a list of models; None for what is no such list."""
    _, key, name = _LISTS[provider]
    try:
        listed: list[dict[str, Any]] = msgspec.json.decode(content, type=dict[str, Any])[key]
        return [str(model[name]) for model in listed]
    except (msgspec.MsgspecError, UnicodeError, KeyError, TypeError, RecursionError):
        return None


def _is_called(wanted: str, name: str) -> bool:
    """Ollama's names have a tag, which is `latest` where nobody says one."""
    return name in (wanted, f"{wanted}:latest")
