"""Files handed over in batches, so that one bad file costs only itself and a broken connection only one batch."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from perplex_mono.cli.backend import Backend
from perplex_mono.cli.file_selection import SkippedFile
from perplex_mono.cli.source_file import SourceChanged, SourceFile
from perplex_mono.errors import InvalidInput, Overloaded, TooLarge, Unavailable
from perplex_mono.library.schemas import UploadAccepted, UploadedDocument

RETRY_SECONDS = (1.0, 3.0, 10.0)


@dataclass
class Upload:
    """What became of the files so far: answers of the API, which file is which document, and what was refused."""

    answers: list[UploadAccepted] = field(default_factory=list)
    documents: list[tuple[Path, UploadedDocument]] = field(default_factory=list)
    skipped: list[SkippedFile] = field(default_factory=list)

    @property
    def operation_ids(self) -> list[str]:
        """The operations that read the files, in order."""
        return [answer.operation_id for answer in self.answers if answer.operation_id is not None]


class Uploader:
    """Uploads to one collection. `on_bytes` hears of bytes read (negative: taken back), `on_wait` why it waits."""

    def __init__(
        self,
        backend: Backend,
        collection_id: str,
        tags: Sequence[str],
        *,
        max_files: int,
        max_bytes: int,
        on_bytes: Callable[[int], None],
        on_wait: Callable[[str], None],
        retry_seconds: Sequence[float] = RETRY_SECONDS,
    ) -> None:
        self._backend = backend
        self._collection_id = collection_id
        self._tags = tags
        self._max_files = max_files
        self._max_bytes = max_bytes
        self._on_bytes = on_bytes
        self._on_wait = on_wait
        self._retry_seconds = retry_seconds
        self.result = Upload()

    async def upload(self, paths: Sequence[Path]) -> Upload:
        """Hand all of them over. Raises `PerplexError` when the rest cannot be; `result` says what was."""
        for batch in batches(paths, self._max_files, self._max_bytes):
            await self._upload_batch(batch)
        return self.result

    async def _upload_batch(self, paths: Sequence[Path]) -> None:
        """One request; when it is refused for one of its files, each alone."""
        remaining = list(paths)
        while remaining:
            with ExitStack() as stack:
                files = [file for path in remaining if (file := self._open(path, stack)) is not None]
                if not files:
                    return
                try:
                    answer = await self._send(files)
                except SourceChanged as changed:
                    _take_back(files)
                    self._skip(changed.path, changed.reason)
                    remaining = [file.path for file in files if file.path != changed.path]
                    continue
                except (TooLarge, InvalidInput) as refusal:
                    _take_back(files)
                    if len(files) == 1:
                        self._skip(files[0].path, str(refusal))
                        return
                else:
                    self.result.answers.append(answer)
                    self.result.documents += zip((file.path for file in files), answer.documents, strict=True)
                    return
            for path in remaining:
                await self._upload_batch([path])
            return

    async def _send(self, files: Sequence[SourceFile]) -> UploadAccepted:
        """Send, again after a pause when asked to wait or when the connection broke: the same bytes are stored once."""
        failures = 0
        while True:
            try:
                return await self._backend.upload(self._collection_id, files, self._tags)
            except Overloaded as busy:
                self._on_wait(str(busy))
                await asyncio.sleep(busy.retry_after_seconds)
            except Unavailable as error:
                if failures == len(self._retry_seconds):
                    raise
                self._on_wait(str(error))
                await asyncio.sleep(self._retry_seconds[failures])
                failures += 1

    def _open(self, path: Path, stack: ExitStack) -> SourceFile | None:
        try:
            return stack.enter_context(SourceFile(path, self._on_bytes))
        except OSError as error:
            self._skip(path, error.strerror or str(error))
            return None

    def _skip(self, path: Path, reason: str) -> None:
        self.result.skipped.append(SkippedFile(path, reason))


def _take_back(files: Sequence[SourceFile]) -> None:
    for file in files:
        file.rewind()


def batches(paths: Sequence[Path], max_files: int, max_bytes: int) -> Iterator[list[Path]]:
    """Runs of at most `max_files` files and `max_bytes` bytes; a file larger than that goes alone."""
    batch: list[Path] = []
    size = 0
    for path in paths:
        file_bytes = file_size(path)
        if batch and (len(batch) == max_files or size + file_bytes > max_bytes):
            yield batch
            batch, size = [], 0
        batch.append(path)
        size += file_bytes
    if batch:
        yield batch


def file_size(path: Path) -> int:
    """Bytes; 0 for a file that went away, which is reported when it is opened."""
    try:
        return path.stat().st_size
    except OSError:
        return 0
