"""The child's program: light to start, every supported type has its reader, and its pipes are its own."""

import subprocess
import sys

import pytest

from perplex_mono.errors import DocumentFailure
from perplex_mono.ingestion.readers import registry
from perplex_mono.library import media_types

HEAVY = ("torch", "lancedb", "litestar", "sqlalchemy", "sqlmodel", "pydantic", "numpy", "PIL", "pypdfium2", "lxml")


def test_the_entry_module_loads_nothing_heavy() -> None:
    program = (
        "import sys, perplex_mono.ingestion.readers.child; print(*sorted({m.partition('.')[0] for m in sys.modules}))"
    )
    output = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert "msgspec" in output.split()
    assert not set(HEAVY) & set(output.split())


@pytest.mark.parametrize("media_type", sorted(media_types.SUPPORTED))
def test_every_supported_type_has_a_reader(media_type: str) -> None:
    assert callable(registry.load_reader(media_type))


def test_other_types_are_unsupported() -> None:
    with pytest.raises(DocumentFailure) as caught:
        registry.load_reader("application/x-msdownload")
    assert caught.value.code == "unsupported"


def test_the_child_ends_when_its_parent_is_not_who_it_was_told() -> None:
    program = [sys.executable, "-m", "perplex_mono.ingestion.readers.child", "--parent", "1", "--niceness", "0"]
    ended = subprocess.run(program, capture_output=True, stdin=subprocess.PIPE, timeout=60)
    assert ended.returncode != 0
    assert ended.stdout == b""
