"""Files found inside documents, written for the parent under names of our own; theirs are only data."""

from pathlib import Path

from perplex_mono.ingestion.pages import Attachment
from perplex_mono.ingestion.readers.contract import ReadRequest
from perplex_mono.ingestion.readers.page_builder import one_line


class AttachmentWriter:
    """Writes attachments of one document within its limits; what was left out is told in `warnings`."""

    def __init__(self, request: ReadRequest) -> None:
        self._folder = Path(request.attachments_dir)
        self._max_files = request.limits.max_attachments
        self._max_bytes = request.limits.max_attachment_bytes
        self._bytes_left = request.limits.max_expanded_bytes
        self._written = 0
        self.warnings: list[str] = []

    def write(self, name: str, data: bytes) -> Attachment | None:
        """Store one file as `att-0001.bin` and so on; None when it is empty or passes a limit."""
        shown = safe_name(name) or f"attachment {self._written + 1}"
        if not data:
            return None
        if self._written >= self._max_files:
            self.warnings.append(f"Attachment '{shown}' was left out: more than {self._max_files} attachments.")
            return None
        if len(data) > min(self._max_bytes, self._bytes_left):
            self.warnings.append(f"Attachment '{shown}' was left out: it is too large.")
            return None
        self._written += 1
        self._bytes_left -= len(data)
        path = self._folder / f"att-{self._written:04d}.bin"
        path.write_bytes(data)
        return Attachment(shown, str(path), len(data))


def safe_name(name: str) -> str:
    """The last part of a name or path, without control characters, at most 255 characters."""
    return one_line(name.replace("\\", "/").rpartition("/")[2])[-255:]
