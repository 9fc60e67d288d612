"""A file on its way into the library: read once from the start, counted, and exactly as long as it said."""

import io
import os
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Self

from perplex_mono.cli.plain_text import REPLACEMENT
from perplex_mono.errors import PerplexError

_SURROGATES = re.compile("[\ud800-\udfff]")


class SourceChanged(PerplexError):
    """The file could not be read to the length it had when it was opened."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"'{path}' {reason}")
        self.path = path
        self.reason = reason


class SourceFile(io.RawIOBase):
    """An open file whose reads are reported to `on_read` as a number of bytes; seeking back is reported as negative.

    `name` is what the library will call it; bytes of it that are no UTF-8 are replaced.
    """

    def __init__(self, path: Path, on_read: Callable[[int], None]) -> None:
        """Open the file. Raises `OSError`, also for what is not a regular file (opening a pipe would wait for ever)."""
        self.path = path
        self.name = _SURROGATES.sub(REPLACEMENT, path.name)
        self._on_read = on_read
        self._file = io.FileIO(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
        status = os.fstat(self._file.fileno())
        if not stat.S_ISREG(status.st_mode):
            self._file.close()
            raise OSError(0, "it is not a regular file", str(path))
        self.size_bytes = status.st_size
        self._position = 0

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is, so that its length can be known before it is sent."""
        return True

    def read(self, size: int = -1) -> bytes:
        """The next bytes. Raises `SourceChanged` when the file ends before its length."""
        left = self.size_bytes - self._position
        wanted = left if size < 0 else min(size, left)
        if not wanted:
            return b""
        try:
            data = self._file.read(wanted)
        except OSError as error:
            raise SourceChanged(self.path, f"could not be read: {error.strerror}") from error
        if not data:
            raise SourceChanged(self.path, "became shorter while it was read")
        self._position += len(data)
        self._on_read(len(data))
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move; the position never passes the length the file had at first."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.size_bytes}[whence]
        self._position = self._file.seek(min(base + offset, self.size_bytes))
        return self._position

    def tell(self) -> int:
        """The position."""
        return self._position

    def rewind(self) -> Self:
        """Begin again, taking back what was reported."""
        self._on_read(-self._position)
        self.seek(0)
        return self

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()
