"""Progress on a terminal: bytes while files are handed over, then the work as its own events tell it."""

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

from perplex_mono.cli.plain_text import one_line
from perplex_mono.operations.schemas import Envelope

MAX_NAME_CHARS = 40


class ProgressBar:
    """Shown on the console while it is open, if that is a terminal; operations followed together share one bar."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[figures]}", markup=False),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._console = console
        self._task = self._progress.add_task("", total=None, figures="")
        self._bytes_of = ""
        self._sent = self._size = 0
        self._operations: dict[str, dict[str, Any]] = {}

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def notice(self, text: str) -> None:
        """A line above the bar."""
        self._console.print(Text(one_line(text)))

    def begin_bytes(self, description: str, size_bytes: int) -> None:
        """So many bytes will be worked at."""
        self._bytes_of, self._sent, self._size = description, 0, size_bytes
        self._begin_anew(description)
        self.count_bytes(0)

    def begin_step(self, description: str) -> None:
        """Something that has no measure: only its name is shown."""
        self._begin_anew(description.capitalize())

    def count_bytes(self, count: int) -> None:
        """So many more bytes are done; negative when they must be sent again."""
        self._sent += count
        task = self._progress.tasks[0]
        speed = f"{megabytes(task.speed)}/s" if task.speed else ""
        done = f"{megabytes(self._sent)} of {megabytes(self._size)}"
        self._show(self._bytes_of, self._sent, self._size, f"{done}  {speed}")

    def show_event(self, event: Envelope) -> None:
        """What an operation says of itself."""
        if event.operation_id is None:
            return
        known = self._operations.setdefault(event.operation_id, {"done": 0, "total": 0, "unit": "pages"})
        news: Mapping[str, Any] = event.data
        if event.type == "snapshot":
            news = next((item for item in event.data["operations"] if item["id"] == event.operation_id), {})
        known.update({key: news[key] for key in _FIGURES if key in news})
        if event.type == "scan_progress":
            known.update(done=news["files_seen"], total=max(news["files_seen"], known["total"]), unit="files")
        if event.type in ("completed", "failed", "dead", "cancelled"):
            known.update(rate_per_second=None, eta_seconds=None)
        self._show(describe(event.type, news), *figures(list(self._operations.values())))

    def _begin_anew(self, description: str) -> None:
        """Another bar in the place of this one: the total of a bar cannot become unknown again."""
        self._progress.remove_task(self._task)
        self._task = self._progress.add_task(description, total=None, figures="")

    def _show(self, description: str, done: float, total: float, text: str) -> None:
        description = description or self._progress.tasks[0].description
        self._progress.update(
            self._task, description=description, completed=done, total=total or None, figures=text.rstrip()
        )


_FIGURES = ("done", "total", "unit", "rate_per_second", "eta_seconds")
_WORDS = {"queued": "Waiting", "started": "Working", "retrying": "Trying again", "paused": "Paused"}


def describe(event_type: str, data: Mapping[str, Any]) -> str:
    """What is being done, in few words; empty when the event does not say."""
    current = data.get("current") or {}
    if event_type == "scan_progress":
        return shorten(one_line(str(current)), MAX_NAME_CHARS) if current else ""
    if event_type == "progress" and current.get("step"):
        return str(current["step"]).capitalize()
    if event_type == "progress" and current.get("document"):
        name = shorten(one_line(str(current["document"])), MAX_NAME_CHARS)
        return f"{name}, page {current['page']}" if current.get("page") else name
    return _WORDS.get(event_type, "")


def figures(operations: list[dict[str, Any]]) -> tuple[int, int, str]:
    """Done, total and the words for both, over operations that run side by side; the slowest says the time left."""
    done = sum(operation["done"] for operation in operations)
    total = sum(operation["total"] for operation in operations)
    rate = sum(operation.get("rate_per_second") or 0.0 for operation in operations)
    left = max((operation.get("eta_seconds") or 0.0 for operation in operations), default=0.0)
    unit = str(operations[0]["unit"]) if operations else ""
    parts = [amount(done, total, unit)]
    if rate:
        parts.append(f"{megabytes(rate)}/s" if unit == "bytes" else f"{rate:.1f}/s")
    if left:
        parts.append(f"{duration(left)} left")
    return done, total, "  ".join(parts)


def counted(count: int, noun: str) -> str:
    """`1 document`, `2 documents`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def amount(done: int, total: int, unit: str) -> str:
    """`3 of 7 pages`, `1.5 MB of 20.0 MB`."""
    return f"{megabytes(done)} of {megabytes(total)}" if unit == "bytes" else f"{done} of {total} {unit}"


def duration(seconds: float) -> str:
    """`9 s`, `3 min 20 s`, `2 h 5 min`."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def megabytes(count: float) -> str:
    """`12.3 MB`."""
    return f"{count / 1_000_000:.1f} MB"


def shorten(text: str, max_chars: int) -> str:
    """The text, its middle left out when it is longer."""
    if len(text) <= max_chars:
        return text
    tail = max_chars // 3
    return f"{text[: max_chars - tail - 1]}…{text[-tail:]}"
