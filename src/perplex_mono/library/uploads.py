"""Multipart uploads: each file goes to disk while it is hashed, never whole into memory, and stops at its limit."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec
from multipart import MultipartError, MultipartSegment, ParserLimitReached, PushMultipartParser, parse_options_header

from perplex_mono.errors import InvalidInput, TooLarge
from perplex_mono.library.media_types import sniff
from perplex_mono.library.schemas import Metadata, Tags
from perplex_mono.library.service import ReceivedFile
from perplex_mono.storage.blobs import BlobStore, IncomingBlob
from perplex_mono.telemetry.traces import span
from perplex_mono.web.json_depth import is_too_deep

FILE_FIELD = "files"
MAX_FIELD_BYTES = 64 * 1024
MAX_OTHER_FIELDS = 20
MAX_METADATA_DEPTH = 64


@dataclass
class UploadForm:
    """What a finished upload holds."""

    files: list[ReceivedFile] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    metadata: dict[str, Any] = field(default_factory=dict)


class UploadReceiver:
    """Turns the body of an upload into files on disk."""

    def __init__(self, blobs: BlobStore, *, max_upload_bytes: int, max_files: int) -> None:
        self._blobs = blobs
        self._max_upload_bytes = max_upload_bytes
        self._max_files = max_files

    @asynccontextmanager
    async def receive(
        self, body: AsyncIterator[bytes], *, content_type: str, content_length: int | None
    ) -> AsyncIterator[UploadForm]:
        """The uploaded form; what the caller did not keep is removed when the block ends.

        Raises `TooLarge` as soon as a limit is passed (for a declared length before the first byte) and `InvalidInput`
        for a body that is not the multipart form it should be.
        """
        kind, options = parse_options_header(content_type)
        if kind != "multipart/form-data" or not options.get("boundary"):
            raise InvalidInput(f"Send the files as multipart/form-data in fields named '{FILE_FIELD}'.")
        room = self._max_upload_bytes * self._max_files + MAX_FIELD_BYTES * MAX_OTHER_FIELDS
        if content_length is not None and content_length > room:
            raise TooLarge(f"The request announces {content_length} bytes; at most {room} are taken.")
        collected = _Collector(self._blobs, self._max_upload_bytes, self._max_files)
        try:
            with span("upload.receive") as current:
                await collected.consume(body, options["boundary"])
                current.set_attribute("files", len(collected.form.files))
            yield collected.form
        finally:
            collected.discard()


class _Collector:
    """Gathers the parts of one request."""

    def __init__(self, blobs: BlobStore, max_upload_bytes: int, max_files: int) -> None:
        self.form = UploadForm()
        self._blobs = blobs
        self._max_upload_bytes = max_upload_bytes
        self._max_files = max_files
        self._blob: IncomingBlob | None = None
        self._value = bytearray()

    async def consume(self, body: AsyncIterator[bytes], boundary: str) -> None:
        """Feed the whole body through the parser."""
        segments = self._max_files + MAX_OTHER_FIELDS
        try:
            with PushMultipartParser(boundary, max_segment_count=segments, max_header_size=8192) as parser:
                segment: MultipartSegment | None = None
                async for chunk in body:
                    for item in parser.parse(chunk):
                        segment = await self._take(segment, item)
                parser.parse(b"")
        except ParserLimitReached as error:
            raise TooLarge(f"The form has too many parts, or too much in their headers: {error}.") from error
        except MultipartError as error:
            raise InvalidInput(f"The body is not a complete multipart form: {error}") from error

    def discard(self) -> None:
        """Remove every temporary file that was not kept."""
        for blob in [file.blob for file in self.form.files] + ([self._blob] if self._blob else []):
            blob.discard()

    async def _take(
        self, segment: MultipartSegment | None, item: MultipartSegment | bytearray | None
    ) -> MultipartSegment | None:
        if isinstance(item, MultipartSegment):
            self._begin(item)
            return item
        assert segment is not None
        if item is None:
            await self._end(segment)
            return None
        if self._blob is not None:
            try:
                await self._blob.write(bytes(item))
            except TooLarge as error:
                raise TooLarge(f"'{segment.filename}': {error} Nothing of this request was stored.") from error
        else:
            self._value += item
            if len(self._value) > MAX_FIELD_BYTES:
                raise TooLarge(f"The field '{segment.name}' is larger than {MAX_FIELD_BYTES} bytes.")
        return segment

    def _begin(self, segment: MultipartSegment) -> None:
        self._value = bytearray()
        if segment.name == FILE_FIELD:
            if len(self.form.files) >= self._max_files:
                raise TooLarge(f"At most {self._max_files} files go into one request (limits.max_files_per_request).")
            self._blob = self._blobs.receive(self._max_upload_bytes)
        elif segment.name not in ("tags", "metadata"):
            raise InvalidInput(f"Unknown field '{segment.name}'; the fields are '{FILE_FIELD}', 'tags' and 'metadata'.")

    async def _end(self, segment: MultipartSegment) -> None:
        if self._blob is not None:
            blob = self._blob
            await blob.finish()
            name = segment.filename or "unnamed"
            self.form.files.append(ReceivedFile(name=name, media_type=sniff(blob.head, name), blob=blob))
            self._blob = None
        elif segment.name == "tags":
            self.form.tags.extend(_tags(self._value))
        elif segment.name == "metadata":
            self.form.metadata = await _metadata(self._value)


def _tags(value: bytearray) -> list[str]:
    """A JSON list, or words between commas."""
    text = value.decode("utf-8", errors="replace").strip()
    try:
        if text.startswith("["):
            return msgspec.json.decode(text, type=Tags)
        return msgspec.convert([tag.strip() for tag in text.split(",") if tag.strip()], Tags)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"'tags' must be a JSON list of strings, or words between commas: {error}") from error


async def _metadata(value: bytearray) -> dict[str, Any]:
    if await is_too_deep(bytes(value), MAX_METADATA_DEPTH):
        raise InvalidInput(f"'metadata' is nested more than {MAX_METADATA_DEPTH} levels deep.")
    try:
        return msgspec.json.decode(bytes(value), type=Metadata)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"'metadata' must be a JSON object of at most 100 keys: {error}") from error
