"""What the API's description says about bodies: fields that it does not name are refused."""

from litestar import Litestar
from litestar.openapi.spec import OpenAPIType, Reference, Schema

from perplex_mono.web.described_problems import operations_of


def describe_bodies(app: Litestar) -> None:
    """Say so of each object in a body, as the types behind them do (`forbid_unknown_fields`)."""
    document = app.openapi_schema
    named = document.components.schemas
    for item in (document.paths or {}).values():
        for operation in operations_of(item):
            if operation.request_body is None or isinstance(operation.request_body, Reference):
                continue
            for media in operation.request_body.content.values():
                if media.schema is not None:
                    _close(media.schema, named, set())


def _close(schema: Schema | Reference, named: dict[str, Schema], seen: set[str]) -> None:
    if isinstance(schema, Reference):
        name = schema.ref.rpartition("/")[2]
        if name not in seen:
            _close(named[name], named, seen | {name})
        return
    properties = schema.properties or {}
    if schema.type == OpenAPIType.OBJECT and properties and schema.additional_properties is None:
        schema.additional_properties = False
    for part in (*properties.values(), *(schema.one_of or ()), *(schema.any_of or ()), schema.items):
        if isinstance(part, Schema | Reference):
            _close(part, named, seen)
