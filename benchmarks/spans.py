"""Where in the original text the product's hits stand, and how many of the wanted characters they bring back."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.product import Product

TOP = 5
_TAG = re.compile(r"<[a-z]+>")  # a Markdown reader takes it for HTML and shows what is around it


class LocatedText:
    """A text in which passages are found whatever was made of their spacing, marks, tags and case."""

    def __init__(self, text: str) -> None:
        text = _TAG.sub(lambda tag: " " * len(tag[0]), text)
        self._places = [place for place, letter in enumerate(text) if letter.isalnum()]
        self._letters = letters_of(text)

    def find(self, passage: str) -> range | None:
        """The characters the passage stands for, None where it is not in the text as a whole."""
        wanted = letters_of(_TAG.sub(" ", passage))
        at = self._letters.find(wanted) if wanted else -1
        return None if at < 0 else range(self._places[at], self._places[at + len(wanted) - 1] + 1)


def letters_of(text: str) -> str:
    """Letters and figures alone, one for each of the text's, lower case where that is one character too."""
    return "".join(low if len(low := letter.lower()) == 1 else letter for letter in text if letter.isalnum())


def span_recalls(
    product: Product,
    mode: str,
    collection: str,
    texts: Mapping[str, str],
    asked: Sequence[Mapping[str, Any]],
) -> tuple[list[float], int]:
    """The share of its wanted characters that each question's first hits hold; how many hits could not be located."""
    located = {name: LocatedText(text) for name, text in texts.items()}
    recalls: list[float] = []
    lost = 0
    for question in asked:
        wanted = {place for span in question["references"] for place in range(span["start"], span["end"])}
        found: set[int] = set()
        for hit in product.search(question["question"], mode=mode, limit=TOP, collection_ids=[collection])["hits"]:
            name = hit["document"]["name"]
            span = located[name].find(hit["text"])
            lost += span is None
            if span is not None and name == question["doc"]:
                found.update(span)
        recalls.append(len(wanted & found) / len(wanted))
    return recalls, lost
