"""One place that says "corrupt": library exceptions over a damaged or hostile file become `DocumentFailure`."""

from collections.abc import Iterator
from contextlib import contextmanager

from perplex_mono.errors import DocumentFailure

ANY_ERROR: tuple[type[Exception], ...] = (Exception,)


@contextmanager
def reported_as_corrupt(format_name: str, errors: tuple[type[Exception], ...] = ANY_ERROR) -> Iterator[None]:
    """Turn `errors` into `DocumentFailure("corrupt")`.

    Parsers of third parties raise anything at all on broken input, so the default takes every exception but
    `MemoryError`, which the reader child reports as itself.
    """
    try:
        yield
    except (DocumentFailure, MemoryError):
        raise
    except errors as error:
        detail = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise DocumentFailure(
            "corrupt", f"The file is corrupt and cannot be read as {format_name}: {detail}"
        ) from error
