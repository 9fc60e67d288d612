"""Language models and SearXNG on loopback, speaking as the real ones do: what is found, what is to be changed."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from perplex_mono.errors import Unavailable
from perplex_mono.outbound.fetcher import Fetcher
from perplex_mono.outbound.policy import policies_of
from perplex_mono.outbound.services import find_language_model, find_web_search
from perplex_mono.settings import Settings
from perplex_mono.settings.loading import with_overrides

KEY = "s3cret"
OPENAI = {"object": "list", "data": [{"id": f"model-{number}", "object": "model"} for number in range(7)]}
OLLAMA = {"models": [{"name": "small:latest", "model": "small:latest"}, {"name": "large:70b"}]}
Answer = tuple[int, str, str]
Answers = Callable[[str, str], Answer]


class _Service(BaseHTTPRequestHandler):
    """Answers what the test says to a path and a credential."""

    def do_GET(self) -> None:
        status, media_type, body = self.server.answers(self.path, self.headers.get("Authorization", ""))  # type: ignore[attr-defined]
        self.send_response(status)
        self.send_header("Content-Type", media_type)
        self.end_headers()
        self.wfile.write(body.encode("utf-8", "surrogateescape"))

    def log_message(self, *_: object) -> None:
        """Silent."""


def as_json(status: int, value: object) -> Answer:
    return status, "application/json", json.dumps(value)


def openai(path: str, authorization: str) -> Answer:
    if authorization != f"Bearer {KEY}":
        return as_json(401, {"error": {"message": "Incorrect API key provided"}})
    return as_json(200, OPENAI) if path == "/v1/models" else as_json(404, {"detail": "Not Found"})


def ollama(path: str, authorization: str) -> Answer:
    return as_json(200, OLLAMA) if path == "/api/tags" else (404, "text/plain", "404 page not found")


def searxng(path: str, authorization: str) -> Answer:
    """One that may answer in JSON; it is asked nothing."""
    return as_json(400, {"error": "No query"}) if path == "/search?format=json" else (404, "text/html", "")


@pytest.fixture
def serve() -> Iterator[Callable[[Answers], str]]:
    servers: list[ThreadingHTTPServer] = []

    def start(answers: Answers) -> str:
        server = ThreadingHTTPServer(("127.0.0.1", 0), _Service)
        server.answers = answers  # type: ignore[attr-defined]
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


async def language_model(provider: str, base_url: str, model: str, key: str = "") -> str:
    given = {"llm.provider": provider, "llm.base_url": base_url, "llm.model": model, "llm.api_key": key}
    settings = with_overrides(Settings(), given)
    return await find_language_model(settings.llm, Fetcher(policies_of(settings)))


async def web_search(url: str) -> str:
    settings = with_overrides(Settings(), {"web_search.searxng_url": url})
    return await find_web_search(settings.web_search, Fetcher(policies_of(settings)))


async def test_without_settings_nobody_is_asked() -> None:
    settings = Settings()
    nobody = Fetcher({})
    assert (await find_language_model(settings.llm, nobody)).startswith("none")
    assert (await find_web_search(settings.web_search, nobody)).startswith("none")


async def test_what_is_named_by_half_is_told() -> None:
    for half in ({"llm.base_url": "http://127.0.0.1:9"}, {"llm.model": "small"}):
        settings = with_overrides(Settings(), {"llm.provider": "ollama", **half})
        with pytest.raises(Unavailable, match=r"needs llm\.base_url and llm\.model"):
            await find_language_model(settings.llm, Fetcher(policies_of(settings)))


async def test_a_model_that_is_there_is_found(serve: Callable[[Answers], str]) -> None:
    url = serve(openai)
    assert await language_model("openai", f"{url}/v1", "model-3", KEY) == f"model-3 at {url}/v1"
    assert await language_model("openai", f"{url}/v1/", "model-3", KEY)
    url = serve(ollama)
    assert await language_model("ollama", url, "small") == f"small at {url}"
    assert await language_model("ollama", url, "large:70b")


@pytest.mark.parametrize(
    ("provider", "path", "model", "key", "told"),
    [
        ("openai", "/v1", "model-3", "", "wants a key (llm.api_key)"),
        ("openai", "/v1", "model-3", "wrong", "refuses the key (llm.api_key)"),
        ("openai", "/v1", "gpt", KEY, "has no 'gpt' (llm.model); it has model-0, model-1, model-2, model-3, model-4"),
        ("openai", "", "model-3", KEY, '{"detail": "Not Found"}; see llm.base_url, which may end in /v1'),
        ("ollama", "", "large", "", "has no 'large' (llm.model); it has large:70b, small:latest"),
        ("ollama", "/v1", "small", "", "/v1/api/tags answers 404: 404 page not found; see llm.base_url"),
    ],
)  # fmt: skip
async def test_what_is_wrong_with_a_model_is_told(
    serve: Callable[[Answers], str], provider: str, path: str, model: str, key: str, told: str
) -> None:
    url = serve(openai if provider == "openai" else ollama)
    with pytest.raises(Unavailable) as failure:
        await language_model(provider, f"{url}{path}", model, key)
    assert told in str(failure.value)
    assert not key or key not in str(failure.value)


@pytest.mark.parametrize(
    "body", ["no json", '{"data": 3}', '{"data": ["a"]}', '{"data": {"a": 1}}', "[]", "\udcff", "{}"]
)
async def test_what_is_no_list_of_models_is_told(serve: Callable[[Answers], str], body: str) -> None:
    with pytest.raises(Unavailable, match="is not how openai lists its models"):
        await language_model("openai", serve(lambda *_: (200, "application/json", body)), "small")


async def test_a_searxng_is_asked_nothing_and_found(serve: Callable[[Answers], str]) -> None:
    url = serve(searxng)
    assert await web_search(url) == f"SearXNG at {url}"


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ((403, "text/html", "<h1>Forbidden</h1>"), "answers 403; add json to search.formats of its settings.yml"),
        ((429, "text/plain", "Too Many Requests"), "answers 429"),
        ((200, "application/json", "{}"), "not as a SearXNG would"),
        ((200, "text/html", "<html>"), "it is 'text/html', which is not read"),
    ],
)
async def test_what_is_wrong_with_a_web_search_is_told(
    serve: Callable[[Answers], str], answer: Answer, told: str
) -> None:
    with pytest.raises(Unavailable) as failure:
        await web_search(serve(lambda *_: answer))
    assert told in str(failure.value)


async def test_what_is_not_there_is_told() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(Unavailable, match="language model is not available"):
            await language_model("ollama", url, "small")
        with pytest.raises(Unavailable, match="web search is not available"):
            await web_search(url)
