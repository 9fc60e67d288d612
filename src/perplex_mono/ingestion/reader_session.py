"""One command given to one reader child, and its answers; whatever happens to the child becomes a typed failure."""

import asyncio
import signal
from typing import TypeVar

import msgspec
from loguru import logger

from perplex_mono.errors import DocumentFailure
from perplex_mono.ingestion.pages import Page, PageImage
from perplex_mono.ingestion.reader_process import ReaderDied, ReaderProcess
from perplex_mono.ingestion.readers.contract import Opened, ReaderItem, ReaderLimits
from perplex_mono.ingestion.readers.wire import (
    MAX_PNG_BYTES,
    AttachmentMessage,
    Command,
    Done,
    Failed,
    ImageMessage,
    OpenedMessage,
    PageMessage,
    ReadCommand,
    RenderedMessage,
)

PageOrImage = TypeVar("PageOrImage", Page, PageImage)
# Words with which libraries say on stderr that an allocation failed, before they end the process.
OUT_OF_MEMORY_SIGNS = ("memoryerror", "bad_alloc", "out of memory", "cannot allocate memory")


class ReaderSession:
    """The exchange about one document. `page_timeout_seconds` limits each wait for the child, not the whole."""

    def __init__(
        self, process: ReaderProcess, command: Command, limits: ReaderLimits, *, page_timeout_seconds: float
    ) -> None:
        self._process = process
        self._command = command
        self._limits = limits
        self._page_timeout_seconds = page_timeout_seconds
        self._opened: Opened | None = None
        self._last_page = 0

    async def begin(self) -> None:
        """Send the command. Raises `DocumentFailure` when the child is gone."""
        try:
            await self._process.send(self._command)
        except ReaderDied as death:
            raise await self._death(death) from death

    async def receive(self) -> ReaderItem | bytes | Done:
        """The next item, the PNG of a rendered page, or `Done`.

        Raises `DocumentFailure`: the child's own verdict, "timeout", or "memory" and "internal" when it died; all but a
        harmless verdict leave the process spoiled.
        """
        try:
            async with asyncio.timeout(self._page_timeout_seconds):
                return await self._receive()
        except TimeoutError as error:
            self._process.kill()
            waited = f"{self._page_timeout_seconds:g} seconds"
            raise DocumentFailure("timeout", f"Nothing came for {waited} {self._where()}.") from error
        except ReaderDied as death:
            raise await self._death(death) from death

    async def _receive(self) -> ReaderItem | bytes | Done:
        message = await self._process.receive()
        match message:
            case OpenedMessage(opened):
                self._opened = opened
                return opened
            case PageMessage(page):
                return self._noted(page)
            case ImageMessage(image):
                return self._noted(await self._with_pixels(image))
            case AttachmentMessage(attachment):
                return attachment
            case RenderedMessage(byte_count) if byte_count <= MAX_PNG_BYTES:
                return await self._process.receive_bulk(byte_count)
            case Done():
                return message
            case Failed():
                raise self._verdict(message)
            case _:
                raise ReaderDied("it sent a message out of place")

    async def _with_pixels(self, image: PageImage) -> PageImage:
        """The image with the pixels that follow it; sizes are checked first, so a lying child costs no memory."""
        if image.width < 1 or image.height < 1 or image.width * image.height > self._limits.max_image_pixels:
            raise ReaderDied(f"it announced an image of {image.width} x {image.height}")
        pixels = await self._process.receive_bulk(image.width * image.height * 3)
        return msgspec.structs.replace(image, pixels=pixels)

    def _noted(self, page: PageOrImage) -> PageOrImage:
        self._last_page = page.number
        return page

    def _verdict(self, failed: Failed) -> DocumentFailure:
        if not failed.reusable:
            self._process.kill()
        if failed.code in ("memory", "internal"):
            return DocumentFailure(failed.code, f"{failed.message.rstrip('.')} ({self._where()}).")
        return DocumentFailure(failed.code, failed.message)

    async def _death(self, death: ReaderDied) -> DocumentFailure:
        """What the end of the child says about the document."""
        killed_by_us = self._process.spoiled
        returncode, stderr_tail = await self._process.cause_of_death()
        name = _signal_name(returncode)
        logger.warning("reader.died", pid=self._process.pid, cause=name, detail=str(death), stderr=stderr_tail[-500:])
        if _ran_out_of_memory(returncode, stderr_tail):
            return DocumentFailure("memory", f"Reading needs more memory than a document may use ({self._where()}).")
        if returncode == -signal.SIGKILL and not killed_by_us:
            message = f"The system killed the reader, as it does when it is short of memory ({self._where()})."
            return DocumentFailure("memory", message)
        return DocumentFailure("internal", f"The reader ended with {name} {self._where()}.")

    def _where(self) -> str:
        """The page in flight, in words."""
        command = self._command
        if not isinstance(command, ReadCommand):
            return f"while drawing page {command.page}"
        if self._opened is None:
            return "while opening the document"
        page = self._last_page + 1
        while page in command.request.skip_pages:
            page += 1
        if self._opened.page_count is not None and page > self._opened.page_count:
            return "after the last page"
        return f"while reading page {page}"


def _ran_out_of_memory(returncode: int, stderr_tail: str) -> bool:
    """Whether a death looks like a refused allocation, for which PDFium calls abort() without a word.

    A damaged heap or a failed assertion also ends in abort(), but says so on stderr.
    """
    if returncode == -signal.SIGABRT and not stderr_tail:
        return True
    return any(sign in stderr_tail.lower() for sign in OUT_OF_MEMORY_SIGNS)


def _signal_name(returncode: int) -> str:
    if returncode >= 0:
        return f"exit code {returncode}"
    try:
        return signal.Signals(-returncode).name
    except ValueError:
        return f"signal {-returncode}"
