"""The one place that decides whether a request may reach its handler."""

from typing import Any

from litestar.connection import ASGIConnection
from litestar.handlers.base import BaseRouteHandler

from perplex_mono.errors import Forbidden, Unauthenticated
from perplex_mono.web.callers import POLICY, SCOPE_KEY, Identity, Policy

NEEDED = {
    "read": "This credential may not read; use one with the scope 'read'.",
    "write": "This credential may only read; use one with the scope 'write'.",
    "admin": "Only an administrator may do this.",
}


def authorise(identity: Identity, policy: Policy | None) -> None:
    """Let the request pass, or raise `Unauthenticated` or `Forbidden`. A route without a policy lets nobody pass."""
    if policy == "public":
        return
    if identity.caller is None:
        raise Unauthenticated(identity.reason or "Log in first, or send an API key as 'Authorization: Bearer <key>'.")
    if policy is None or policy not in identity.caller.scopes:
        raise Forbidden(NEEDED.get(policy or "", "Nobody may do this."))


def guard(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """`authorise` as the web framework calls it, before the handler of any route.

    It answers OPTIONS itself, with the methods that a path knows, which are no secret.
    """
    if connection.scope.get("method") == "OPTIONS":
        return
    authorise(connection.scope[SCOPE_KEY], _policy_of(handler))  # type: ignore[literal-required]


def _policy_of(handler: BaseRouteHandler) -> Policy | None:
    policy: Policy | None = handler.opt.get(POLICY)
    return policy
