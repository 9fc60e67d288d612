"""`perplex-mono openapi`: the OpenAPI document, from the routes alone.

The application is put together without anything behind it, so neither a server nor a data directory is needed.
"""

from pathlib import Path
from typing import Any

import msgspec
from litestar import Litestar
from litestar.di import Provide

from perplex_mono.app import ASKING, PROVIDED, ROUTES, openapi_config
from perplex_mono.cli.terminal import write_json
from perplex_mono.settings import Settings
from perplex_mono.web.described_bodies import describe_bodies
from perplex_mono.web.described_problems import describe_problems


def write_openapi(settings: Settings, output: Path | None) -> None:
    """Write the document to the file, or to standard output."""
    document = openapi_document(settings)
    if output is None:
        write_json(document, indent=2)
    else:
        output.write_bytes(msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n")


def openapi_document(settings: Settings) -> dict[str, Any]:
    """The same document that the server gives at `/schema/openapi.json`."""
    routed = Litestar(
        route_handlers=list(ROUTES),
        path=settings.server.base_path or None,
        dependencies={name: _absent() for name in (*PROVIDED, *ASKING)},
        openapi_config=openapi_config(),
    )
    describe_bodies(routed)
    describe_problems(routed)
    return routed.openapi_schema.to_schema()


def _absent() -> Provide:
    def give() -> None:
        return None

    return Provide(give, sync_to_thread=False)
