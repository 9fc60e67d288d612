"""What a backup says of itself: the first member of its file, with the hash of every other one."""

import hashlib
import re
from collections import Counter
from datetime import datetime
from typing import Final, TypeVar

import msgspec

from perplex_mono.backups.secrets import SECRET_FILES
from perplex_mono.errors import DataCorrupt, InvalidInput

T = TypeVar("T")
FORMAT_VERSION: Final = 1
MAX_MANIFEST_BYTES: Final = 256 * 1024 * 1024
DATABASE: Final = "perplex.db"
BLOBS: Final = "blobs"
MODELS: Final = "models"
SECRETS: Final = "secrets"

# All that a member may be called. No name has a dot in front, so none can lead out of the folder it is unpacked into.
_PART = r"[A-Za-z0-9_-][A-Za-z0-9._-]*"
_SECRET = "|".join(re.escape(name) for name in SECRET_FILES)
_NAME = re.compile(
    rf"{re.escape(DATABASE)}|{BLOBS}/[0-9a-f]{{64}}|{MODELS}/{_PART}(?:/{_PART})*|{SECRETS}/(?:{_SECRET})"
)
_HASH = re.compile(r"[0-9a-f]{64}")
_MAX_NAME_BYTES = 100  # what a tar header holds without an extension


class Member(msgspec.Struct, frozen=True):
    """A file in the backup; `sha256` is of its content."""

    name: str
    size_bytes: int
    sha256: str


class Counts(msgspec.Struct, frozen=True):
    """What is in it, for people."""

    collections: int
    documents: int
    files: int


class IndexModel(msgspec.Struct, frozen=True):
    """An embedding model that the indexes were made with; it must be there for questions by meaning."""

    name: str
    key: str


class Heading(msgspec.Struct, frozen=True):
    """The manifest without its list of members: enough to show a backup."""

    format_version: int
    product_version: str
    backup_id: str
    operation_id: str
    created_at: datetime
    schema_revision: str
    includes_secrets: bool
    is_scheduled: bool
    counts: Counts
    index_models: list[IndexModel]


class Manifest(Heading, frozen=True):
    """The whole manifest. Members are in the order in which they lie in the file, the database first."""

    members: list[Member]

    @property
    def size_bytes(self) -> int:
        """Bytes of all members."""
        return sum(member.size_bytes for member in self.members)


def encode(manifest: Manifest) -> bytes:
    """The manifest as it is stored."""
    return msgspec.json.encode(manifest)


def decode_heading(content: bytes) -> Heading:
    """The heading only. Raises `InvalidInput` for a newer format, `DataCorrupt` for what is no manifest."""
    _require_known_format(content)
    return _decode(content, Heading)


def decode(content: bytes) -> Manifest:
    """The manifest, every name and number in it checked. Raises as `decode_heading`."""
    _require_known_format(content)
    manifest = _decode(content, Manifest)
    if not manifest.members or manifest.members[0].name != DATABASE:
        raise DataCorrupt("The backup's manifest does not begin with the database.")
    for member in manifest.members:
        require_name(member.name)
        if member.size_bytes < 0 or not _HASH.fullmatch(member.sha256):
            raise DataCorrupt(f"The backup's manifest has an impossible size or hash for '{member.name}'.")
    [(name, count)] = Counter(member.name for member in manifest.members).most_common(1)
    if count > 1:
        raise DataCorrupt(f"The backup's manifest names '{name}' more than once.")
    return manifest


def require_name(name: str) -> None:
    """Raise `DataCorrupt` for what no member of a backup is called."""
    if not _NAME.fullmatch(name) or len(name) > _MAX_NAME_BYTES:
        raise DataCorrupt(f"The backup names a file '{name[:200]}', which cannot be part of one.")


def digest(content: bytes) -> str:
    """The hash as members have it."""
    return hashlib.sha256(content).hexdigest()


class _Format(msgspec.Struct):
    """The one field that every version has."""

    format_version: int
    product_version: str = ""


def _require_known_format(content: bytes) -> None:
    found = _decode(content, _Format)
    if found.format_version > FORMAT_VERSION:
        raise InvalidInput(
            f"The backup was made by a newer perplex-mono ({found.product_version}) and has format"
            f" {found.format_version}; this version reads up to {FORMAT_VERSION}. Update first."
        )


def _decode(content: bytes, shape: type[T]) -> T:
    try:
        return msgspec.json.decode(content, type=shape)
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise DataCorrupt(f"The backup's manifest cannot be read: {error}") from error
