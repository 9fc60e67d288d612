"""The program of a reader child: takes commands on stdin, turns files into pages, and may be killed at any instant.

It runs apart from the server because PDFium and other parsers are native code fed with strangers' files. Nothing heavy
is imported here; the reader of a format is imported when the first such file comes.
"""

import argparse
import errno
import importlib
import os
import sys
import traceback
from collections.abc import Iterator

import msgspec

from perplex_mono.errors import DocumentFailure, FailureCode
from perplex_mono.ingestion.pages import Attachment, Page, PageImage
from perplex_mono.ingestion.readers import limits, registry
from perplex_mono.ingestion.readers.contract import Opened, ReaderItem, ReaderLimits
from perplex_mono.ingestion.readers.wire import (
    LENGTH,
    MAX_FRAME_BYTES,
    AttachmentMessage,
    ChildMessage,
    Command,
    Done,
    Failed,
    ImageMessage,
    OpenedMessage,
    PageMessage,
    ReadCommand,
    Ready,
    RenderCommand,
    RenderedMessage,
    frame,
)
from perplex_mono.library import media_types, text_kinds

# Verdicts reached by looking, after which the process is as good as new.
HARMLESS_FAILURES: frozenset[FailureCode] = frozenset({"unsupported", "encrypted", "no_text", "too_many_pages"})


class Channel:
    """The pipes to the parent, moved away from stdin and stdout so that no library can read or write them."""

    def __init__(self) -> None:
        self._commands = os.fdopen(_moved(sys.stdin.fileno(), os.open(os.devnull, os.O_RDONLY)), "rb")
        self._answers = os.fdopen(_moved(sys.stdout.fileno(), os.dup(sys.stderr.fileno())), "wb")
        self._decoder = msgspec.msgpack.Decoder(Command)

    def commands(self) -> Iterator[Command]:
        """Commands until the parent closes its end."""
        while header := self._commands.read(LENGTH.size):
            (length,) = LENGTH.unpack(header)
            yield self._decoder.decode(self._commands.read(length))

    def send(self, message: ChildMessage, bulk: bytes = b"") -> None:
        """Send a message and the raw bytes it announces. Raises `DocumentFailure` when the message is too big."""
        data = frame(message)
        if len(data) > MAX_FRAME_BYTES:
            limit = f"{MAX_FRAME_BYTES // 2**20} MB"
            raise DocumentFailure("too_large", f"One page holds more text than {limit} with the places of its words.")
        self._answers.write(data)
        self._answers.write(bulk)
        self._answers.flush()


def main() -> None:
    """Serve commands until the parent goes away."""
    arguments = argparse.ArgumentParser(description="Reads documents for the perplex-mono process that started it.")
    arguments.add_argument("--parent", type=int, required=True)
    arguments.add_argument("--niceness", type=int, required=True)
    options = arguments.parse_args()
    limits.die_with_parent(options.parent)
    limits.confine(options.niceness)
    baseline_bytes = limits.address_space_bytes()
    channel = Channel()
    try:
        channel.send(Ready())
        for command in channel.commands():
            channel.send(_answer(channel, command, baseline_bytes))
    except (BrokenPipeError, KeyboardInterrupt):
        os._exit(0)


def _answer(channel: Channel, command: Command, baseline_bytes: int) -> Done | Failed:
    """Run one command to its end; whatever goes wrong inside a reader becomes a `Failed` with a code."""
    try:
        if isinstance(command, ReadCommand):
            _read(channel, command, baseline_bytes)
        else:
            _render(channel, command, baseline_bytes)
    except DocumentFailure as failure:
        return Failed(failure.code, str(failure), failure.code in HARMLESS_FAILURES)
    except MemoryError:
        return Failed("memory", "Reading needs more memory than a document may use.", reusable=False)
    except RecursionError:
        return Failed("corrupt", "The document is nested too deeply to be read.", reusable=False)
    except BrokenPipeError:
        raise
    except OSError as error:
        if error.errno == errno.EFBIG:
            return Failed("too_large", "A file inside the document is larger than allowed.", reusable=False)
        return _unexpected(error)
    except Exception as error:  # parsers raise anything on broken files, and one file must not stop the rest
        return _unexpected(error)
    return Done(limits.rss_bytes())


def _unexpected(error: Exception) -> Failed:
    traceback.print_exception(error)
    return Failed("internal", f"The reader failed with {type(error).__name__}: {error}"[:500], reusable=False)


def _read(channel: Channel, command: ReadCommand, baseline_bytes: int) -> None:
    request = command.request
    _apply(request.limits, baseline_bytes)
    media_type = media_types.detect(request.path, request.name)
    if {media_type, request.media_type} <= text_kinds.KINDS:
        media_type = request.media_type  # the same text by another name was read so before, and shares its pages
    read = registry.load_reader(media_type)
    for item in read(msgspec.structs.replace(request, media_type=media_type)):
        _send_item(channel, item)
        if limits.rss_bytes() > baseline_bytes + request.limits.memory_bytes:
            raise MemoryError


def _render(channel: Channel, command: RenderCommand, baseline_bytes: int) -> None:
    _apply(command.limits, baseline_bytes)
    render = importlib.import_module("perplex_mono.ingestion.readers.render")
    png: bytes = render.render_page(command)
    channel.send(RenderedMessage(len(png)), png)


def _apply(reader_limits: ReaderLimits, baseline_bytes: int) -> None:
    limits.limit_memory(baseline_bytes, reader_limits.memory_bytes)
    limits.limit_file_size(reader_limits.max_attachment_bytes)


def _send_item(channel: Channel, item: ReaderItem) -> None:
    match item:
        case Opened():
            channel.send(OpenedMessage(item))
        case Page():
            channel.send(PageMessage(item))
        case PageImage():
            channel.send(ImageMessage(msgspec.structs.replace(item, pixels=b"")), item.pixels)
        case Attachment():
            channel.send(AttachmentMessage(item))


def _moved(descriptor: int, replacement: int) -> int:
    """A new number for the file behind `descriptor`; `replacement` takes its place."""
    moved = os.dup(descriptor)
    os.dup2(replacement, descriptor)
    os.close(replacement)
    return moved


if __name__ == "__main__":
    main()
