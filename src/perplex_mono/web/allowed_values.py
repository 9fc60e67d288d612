"""The values a field of a request may have, from the types of its handler: msgspec names only the one it refused."""

from typing import Any

from msgspec import inspect


def allowed_values(annotation: Any, path: list[str]) -> list[str]:
    """The literals allowed at the end of a path of field names, sorted; none where it leads to another type."""
    found = _alternatives(inspect.type_info(annotation))
    for name in path:
        fields = [field for struct in found if isinstance(struct, inspect.StructType) for field in struct.fields]
        found = [kind for field in fields if field.encode_name == name for kind in _alternatives(field.type)]
    return [str(value) for kind in found if isinstance(kind, inspect.LiteralType) for value in kind.values]


def _alternatives(kind: inspect.Type) -> list[inspect.Type]:
    """The members of a union, or the type itself, without what is only said about it."""
    if isinstance(kind, inspect.Metadata):
        return _alternatives(kind.type)
    if isinstance(kind, inspect.UnionType):
        return [member for alternative in kind.types for member in _alternatives(alternative)]
    return [kind]
