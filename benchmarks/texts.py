"""English to measure with: SciFact's abstracts where the shared data is, else sentences made of a seeded vocabulary."""

import json
import logging
import os
import random
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

GENERATED_ABSTRACTS = 5_000
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z])")
_SUBJECTS = (
    "The keeper",
    "A patient",
    "The committee",
    "Every station",
    "The second group",
    "This protein",
    "One ship",
)
_VERBS = ("recorded", "reduced", "described", "required", "inhibited", "compared", "followed", "repaired", "measured")
_OBJECTS = ("the weather", "blood pressure", "a new contract", "the signal", "seven samples", "the northern harbour")
_ENDS = (
    "during the winter",
    "without any effect",
    "in most of the cases",
    "before the committee met",
    "after four weeks",
)


@dataclass(frozen=True)
class Abstract:
    """A title and a paragraph or two."""

    id: str
    title: str
    text: str

    @property
    def file(self) -> tuple[str, bytes]:
        """The abstract as a text file: name and content."""
        return f"{self.id}.txt", f"{self.title}\n\n{self.text}\n".encode()


class Prose:
    """Sentences without end from a seed; no two paragraphs of one source are alike."""

    def __init__(self, seed: int) -> None:
        self._source = random.Random(seed)
        self._sentences = _sentences()

    def paragraph(self, words: int) -> str:
        """Whole sentences of at least `words` words together, in letters that any font has."""
        chosen: list[str] = []
        count = 0
        while count < words:
            sentence = self._source.choice(self._sentences)
            chosen.append(sentence)
            count += len(sentence.split())
        return " ".join(chosen)

    def title(self) -> str:
        """A few words with a number that makes them unlike any other."""
        words = re.findall(r"[A-Za-z]{4,}", self.paragraph(12))[:5]
        return f"{' '.join(words)} {self._source.randrange(10**6)}"


def shared_folder(*names: str) -> Path | None:
    """A folder of the shared data, None (and a message) where this machine has not got it."""
    shared = os.environ.get("PERPLEX_SHARED_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(shared).joinpath(*names)
    if folder.is_dir():
        return folder
    logging.getLogger(__name__).warning("No %s in PERPLEX_SHARED_DATA or ../shared/data.", "/".join(names))
    return None


def abstracts() -> list[Abstract]:
    """SciFact's 5,183, or as many made ones."""
    folder = shared_folder("retrieval", "scifact")
    if folder is not None:
        return read_abstracts(folder)
    prose = Prose(1)
    return [Abstract(str(number), prose.title(), prose.paragraph(200)) for number in range(GENERATED_ABSTRACTS)]


def read_abstracts(folder: Path) -> list[Abstract]:
    """The corpus of one retrieval set."""
    return [Abstract(line["id"], line["title"], line["text"]) for line in json_lines(folder / "corpus.jsonl")]


def questions() -> Iterator[str]:
    """Questions nobody asked before: SciFact's training claims, then made ones, for ever."""
    folder = shared_folder("retrieval", "scifact")
    if folder is not None:
        yield from (line["text"] for line in json_lines(folder / "queries.train.jsonl"))
    prose = Prose(2)
    while True:
        yield f"{prose.paragraph(8)[:150]} {prose.title()}"


def judgements(path: Path) -> Mapping[str, Mapping[str, int]]:
    """Grades of relevant documents by query: lines of query id, document id, grade; a heading line is passed over."""
    found: dict[str, dict[str, int]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        query, document, grade = line.split("\t")
        if grade.isdecimal() and int(grade):
            found.setdefault(query, {})[document] = int(grade)
    return found


def json_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSON lines file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _sentences() -> list[str]:
    """Real sentences of ordinary length in latin letters, or made ones."""
    folder = shared_folder("retrieval", "scifact")
    if folder is None:
        return [f"{s} {v} {o} {e}." for s in _SUBJECTS for v in _VERBS for o in _OBJECTS for e in _ENDS]
    whole = " ".join(abstract.text for abstract in read_abstracts(folder)[:1500])
    sentences = (sentence.strip() for sentence in _SENTENCE.split(whole))
    return [sentence for sentence in sentences if 40 < len(sentence) < 300 and sentence.isascii()]
