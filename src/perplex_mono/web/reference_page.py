"""The reference page of the API: a static page of our own, because the usual ones load scripts from elsewhere."""

import hashlib
from base64 import b64encode
from html import escape
from typing import Any

from litestar import MediaType, Request, Response
from litestar.openapi.plugins import OpenAPIRenderPlugin

_METHODS = ("get", "post", "put", "patch", "delete")
_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1b1b1b}"
    "h2{margin-top:2.5rem}h3{font-size:1rem;margin-bottom:.2rem}code{font:.95em ui-monospace,monospace}"
    "p{margin:.2rem 0}ul{margin:.2rem 0 1.2rem}.method{text-transform:uppercase;font-weight:600}"
)
_STYLE_HASH = b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
PAGE_POLICY = f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; frame-ancestors 'none'; base-uri 'none'"


class ReferencePage(OpenAPIRenderPlugin):
    """Every call of the schema with its parameters and answers, as HTML without scripts, fonts or images."""

    def __init__(self) -> None:
        super().__init__(path="/reference", favicon="", style="")

    @staticmethod
    def allow_style(response: Response[Any]) -> Response[Any]:
        """Let the browser use this page's one style, named by its hash, and nothing else."""
        if response.media_type == MediaType.HTML:
            response.headers["Content-Security-Policy"] = PAGE_POLICY
        return response

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        """The page, UTF-8."""
        info = openapi_schema["info"]
        title = escape(f"{info['title']} {info['version']}")
        sections = "".join(_section(tag, calls) for tag, calls in _by_tag(openapi_schema).items())
        return (
            f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
            f"<style>{_STYLE}</style></head><body><h1>{title}</h1>"
            f'<p>The whole schema: <a href="{escape(self.get_openapi_json_route(request))}">openapi.json</a></p>'
            f"{sections}</body></html>"
        ).encode()


def _by_tag(schema: dict[str, Any]) -> dict[str, list[tuple[str, str, dict[str, Any]]]]:
    """Calls as (method, path, operation), by their first tag, in the order of the paths."""
    calls: dict[str, list[tuple[str, str, dict[str, Any]]]] = {}
    for path, item in schema.get("paths", {}).items():
        for method in _METHODS:
            if method in item:
                tag = (item[method].get("tags") or ["other"])[0]
                calls.setdefault(tag, []).append((method, path, item[method]))
    return calls


def _section(tag: str, calls: list[tuple[str, str, dict[str, Any]]]) -> str:
    return f"<h2>{escape(tag)}</h2>" + "".join(_call(*call) for call in calls)


def _call(method: str, path: str, operation: dict[str, Any]) -> str:
    parameters = "".join(_parameter(parameter) for parameter in operation.get("parameters", []))
    body = "".join(f"<li>body: <code>{escape(kind)}</code></li>" for kind in _content(operation.get("requestBody")))
    answers = ", ".join(escape(f"{status} {_description(answer)}") for status, answer in operation["responses"].items())
    return (
        f'<h3><span class="method">{method}</span> <code>{escape(path)}</code></h3>'
        f"<p>{escape(operation.get('summary', ''))}</p><ul>{parameters}{body}<li>answers: {answers}</li></ul>"
    )


def _parameter(parameter: dict[str, Any]) -> str:
    kind = f"{parameter['in']}, {'required' if parameter.get('required') else 'optional'}"
    description = parameter.get("description") or (parameter.get("schema") or {}).get("description") or ""
    return f"<li><code>{escape(parameter['name'])}</code> ({kind}) {escape(description)}</li>"


def _content(body: dict[str, Any] | None) -> list[str]:
    return list((body or {}).get("content", {}))


def _description(answer: dict[str, Any]) -> str:
    return str(answer.get("description", "")).partition(",")[0]
