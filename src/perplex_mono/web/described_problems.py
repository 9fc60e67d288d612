"""What the API's description says about errors: problem details, the same for every call."""

from litestar import Litestar
from litestar.openapi.spec import (
    OpenAPIMediaType,
    OpenAPIResponse,
    OpenAPIType,
    Operation,
    PathItem,
    Reference,
    Schema,
)

from perplex_mono.web.problems import MEDIA_TYPE

SCHEMA_NAME = "Problem"
_METHODS = ("get", "post", "put", "patch", "delete")
_TEXT = Schema(type=OpenAPIType.STRING)

PROBLEM = Schema(
    type=OpenAPIType.OBJECT,
    title=SCHEMA_NAME,
    description="What was wrong and what would be right (RFC 9457). `type` is stable.",
    required=["type", "title", "status", "detail", "instance"],
    properties={
        "type": _TEXT,
        "title": _TEXT,
        "status": Schema(type=OpenAPIType.INTEGER, minimum=400, maximum=599),
        "detail": _TEXT,
        "instance": _TEXT,
        "trace_id": _TEXT,
        "errors": Schema(
            type=OpenAPIType.ARRAY,
            items=Schema(type=OpenAPIType.OBJECT, properties={"field": _TEXT, "message": _TEXT}),
        ),
    },
)


def describe_problems(app: Litestar) -> None:
    """Say in the application's description that every call may answer with a problem."""
    document = app.openapi_schema
    document.components.schemas[SCHEMA_NAME] = PROBLEM
    for item in (document.paths or {}).values():
        for operation in operations_of(item):
            responses = operation.responses or {}
            responses.pop("400", None)  # as the framework would answer, which ours never does
            responses["default"] = OpenAPIResponse(
                description="A problem",
                content={MEDIA_TYPE: OpenAPIMediaType(schema=Reference(ref=f"#/components/schemas/{SCHEMA_NAME}"))},
            )
            operation.responses = responses


def operations_of(item: PathItem) -> list[Operation]:
    """The calls of a path."""
    found = (getattr(item, method) for method in _METHODS)
    return [operation for operation in found if operation is not None]
