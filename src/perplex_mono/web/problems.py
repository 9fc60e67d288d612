"""Errors become RFC 9457 problem details here, and only here: one table from kind of error to status."""

from typing import Any

import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException
from loguru import logger

from perplex_mono.errors import (
    ConfigurationError,
    Conflict,
    DataCorrupt,
    DocumentFailure,
    Forbidden,
    Incomplete,
    InvalidInput,
    NotFound,
    Overloaded,
    PerplexError,
    StaleLease,
    Stalled,
    StorageFull,
    TooLarge,
    Unauthenticated,
    Unavailable,
    causes,
)
from perplex_mono.telemetry.traces import current_trace_id
from perplex_mono.web.field_types import allowed_values, description
from perplex_mono.web.paging import CURSOR, NO_CURSOR

MEDIA_TYPE = "application/problem+json"
BODY = "data"  # by which name handlers ask for it

# kind of error -> status, slug, title; the first match from the top counts
_KINDS: list[tuple[type[PerplexError], int, str, str]] = [
    (InvalidInput, 400, "invalid-input", "The request cannot be used"),
    (ConfigurationError, 400, "invalid-input", "The request cannot be used"),
    (Incomplete, 408, "body-timeout", "The body stopped arriving"),
    (Unauthenticated, 401, "unauthenticated", "Log in first"),
    (Forbidden, 403, "forbidden", "Not allowed"),
    (NotFound, 404, "not-found", "Not found"),
    (Conflict, 409, "conflict", "The state does not allow this"),
    (StaleLease, 409, "conflict", "The state does not allow this"),
    (TooLarge, 413, "too-large", "Too large"),
    (DocumentFailure, 422, "document-failure", "The document cannot be processed"),
    (Overloaded, 429, "overloaded", "Too much at once"),
    (StorageFull, 507, "storage-full", "The disk is full"),
    (Unavailable, 503, "unavailable", "A component is not available"),
    (Stalled, 503, "unavailable", "A component is not available"),
    (DataCorrupt, 500, "data-corrupt", "Stored data is damaged"),
]
_STATUS_SLUGS = {
    400: "invalid-input",
    401: "unauthenticated",
    403: "forbidden",
    404: "not-found",
    405: "method-not-allowed",
    413: "too-large",
    415: "unsupported-media-type",
    429: "rate-limited",
    503: "unavailable",
}


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a client gets instead of an answer."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    trace_id: str = ""
    errors: list[dict[str, str]] = []


def problem(
    status: int, slug: str, title: str, detail: str, instance: str, errors: list[dict[str, str]] | None = None
) -> Problem:
    """A problem of the kind `/problems/<slug>`."""
    return Problem(
        type=f"/problems/{slug}",
        title=title,
        status=status,
        detail=detail,
        instance=instance,
        trace_id=current_trace_id(),
        errors=errors or [],
    )


def problem_of(error: PerplexError, path: str) -> Problem:
    """The problem that one of our own errors becomes."""
    status, slug, title = next(
        (row[1:] for row in _KINDS if isinstance(error, row[0])), (500, "internal", "Internal error")
    )
    return problem(status, slug, title, str(error), path)


def unexpected(path: str) -> Problem:
    """The problem of an error that nobody raised on purpose; what it was is told to the log alone."""
    return problem(500, "internal", "Internal error", "The server failed to answer; its log has the trace.", path)


def on_error(request: Request[Any, Any, Any], error: Exception) -> Response[Problem]:
    """The answer for any exception a handler raised."""
    headers: dict[str, str] = {}
    path = request.url.path
    if isinstance(error, PerplexError):
        if isinstance(error, Overloaded):
            headers["Retry-After"] = str(error.retry_after_seconds)
        elif isinstance(error, Unauthenticated):
            headers["WWW-Authenticate"] = "Bearer"
        body = problem_of(error, path)
    elif isinstance(error, HTTPException) and error.status_code < 500:
        slug = _STATUS_SLUGS.get(error.status_code, "invalid-input")
        headers.update(error.headers or {})
        body = problem(error.status_code, slug, _title(slug), error.detail, path, _field_errors(request, error))
    elif _is_recursion(error):
        body = problem(400, "invalid-input", _title("invalid-input"), "The JSON is nested too deeply.", path)
    else:
        logger.opt(exception=error).error("request.broke", path=path)
        body = unexpected(path)
    if body.status >= 500 and isinstance(error, PerplexError):
        logger.warning("request.refused", path=path, status=body.status, reason=str(error))
    return Response(body, status_code=body.status, media_type=MEDIA_TYPE, headers=headers)


def encode(body: Problem) -> bytes:
    """The problem as bytes, for answers given before routing."""
    return msgspec.json.encode(body)


def _title(slug: str) -> str:
    return slug.replace("-", " ").capitalize()


def _is_recursion(error: BaseException | None) -> bool:
    return any(isinstance(cause, RecursionError) for cause in causes(error))


def _field_errors(request: Request[Any, Any, Any], error: HTTPException) -> list[dict[str, str]]:
    """Which fields were wrong, as Litestar found them, with the allowed values where there are only some."""
    extra = error.extra if isinstance(error.extra, list) else []
    return [
        {"field": str(item.get("key", "")), "message": _field_message(request, item)}
        for item in extra
        if isinstance(item, dict)
    ]


def _field_message(request: Request[Any, Any, Any], item: dict[str, Any]) -> str:
    message, field = str(item.get("message", "")), str(item.get("key", ""))
    if field == BODY and message == repr(BODY):  # a KeyError, in the framework's words
        return "The body is missing; this call needs a JSON object."
    if field == CURSOR and item.get("source") == "query":  # else the pattern of an id, or the length of a path
        return NO_CURSOR
    path = ["data", *field.split(".")] if item.get("source") == "body" else [field]
    annotation = request.route_handler.signature_model.__annotations__.get(path[0])
    if message.startswith("Invalid enum value") and (allowed := allowed_values(annotation, path[1:])):
        return f"{message}; allowed: {', '.join(allowed)}"
    if " matching regex " in message and (wanted := description(annotation, path[1:])):
        return f"Expected {wanted}"
    return message
