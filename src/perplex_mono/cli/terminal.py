"""Where commands write: results to standard output, everything else to standard error."""

import sys

import msgspec
from rich.console import Console
from rich.text import Text

from perplex_mono.cli.plain_text import printable_json

PIPED_WIDTH = 4_000  # of a line: paths of any length stay whole for the program that reads them
MAX_TEXT_WIDTH = 100


def results() -> Console:
    """Standard output for people: marked on a terminal, plain text and wide enough for tables when piped."""
    return Console(
        markup=False, highlight=False, emoji=False, soft_wrap=False, width=None if sys.stdout.isatty() else PIPED_WIDTH
    )


def notices() -> Console:
    """Standard error: progress, warnings, what goes on."""
    return Console(
        stderr=True, markup=False, highlight=False, emoji=False, width=None if sys.stderr.isatty() else PIPED_WIDTH
    )


def text_width(console: Console) -> int:
    """The width for running text: the terminal's, within what is comfortable to read."""
    return min(console.width, MAX_TEXT_WIDTH)


def print_indented(console: Console, text: Text, indent: int) -> None:
    """Running text, wrapped to a comfortable width, every line indented and none padded."""
    for line in text.wrap(console, text_width(console) - indent):
        line.rstrip()
        console.print(Text(" " * indent).append_text(line), soft_wrap=True)


def write_json(value: object, *, indent: int = 0) -> None:
    """One JSON document (a struct or plain values) and a newline on standard output, nothing else."""
    document = msgspec.json.encode(value)
    if indent:
        document = msgspec.json.format(document, indent=indent)
    sys.stdout.buffer.write(printable_json(document) + b"\n")
    sys.stdout.buffer.flush()
