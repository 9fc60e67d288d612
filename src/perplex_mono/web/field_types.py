"""What a field of a request may be, from the types of its handler: msgspec names only what it refused, or a pattern."""

import re
from collections.abc import Iterator
from typing import Any

from msgspec import inspect

_INDEX = re.compile(r"\[\w*\]")


def allowed_values(annotation: Any, path: list[str]) -> list[str]:
    """The literals allowed at the end of a path of field names, sorted; none where it leads to another type."""
    return [
        str(value) for kind in _at(annotation, path) if isinstance(kind, inspect.LiteralType) for value in kind.values
    ]


def description(annotation: Any, path: list[str]) -> str:
    """What is said about the type at the end of a path of field names, like `tags[1]`; empty where nothing is."""
    said = (kind.extra_json_schema or {} for kind in _at(annotation, path) if isinstance(kind, inspect.Metadata))
    return next((str(schema["description"]) for schema in said if "description" in schema), "")


def _at(annotation: Any, path: list[str]) -> list[inspect.Type]:
    found = list(_alternatives(inspect.type_info(annotation)))
    for part in path:
        name = _INDEX.sub("", part)
        fields = [field for struct in found if isinstance(struct, inspect.StructType) for field in struct.fields]
        found = [kind for field in fields if field.encode_name == name for kind in _alternatives(field.type)]
        for _ in _INDEX.findall(part):
            lists = [kind for kind in found if isinstance(kind, inspect.ListType)]
            found = [item for kind in lists for item in _alternatives(kind.item_type)]
    return found


def _alternatives(kind: inspect.Type) -> Iterator[inspect.Type]:
    """The type, what it is without that which is only said about it, and the members of a union."""
    yield kind
    if isinstance(kind, inspect.Metadata):
        yield from _alternatives(kind.type)
    if isinstance(kind, inspect.UnionType):
        for member in kind.types:
            yield from _alternatives(member)
