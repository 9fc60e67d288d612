"""Real files of a dozen kinds: how many end in the right state, with a phrase known to be inside found by search."""

import csv
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.product import Product, running_product
from benchmarks.rows import Row, run_as_command
from benchmarks.texts import shared_folder

MIN_RIGHT = 59
SECONDS = 1200.0
SEARCH_HITS = 50
# States a file may end in: `ready`, or the code of its failure.
RIGHT_STATES = {
    "text": {"ready"},
    "ocr": {"ready"},
    "encrypted": {"encrypted"},
    "corrupt": {"corrupt"},
    "no_text": {"no_text"},
    "image_unlabelled": {"ready", "no_text"},
}


def run(limit: int | None = None) -> list[Row]:
    """Upload the first `limit` files of the manifest. No rows without the shared data."""
    folder = shared_folder("documents")
    if folder is None:
        return []
    with (folder / "manifest.csv").open(newline="", encoding="utf-8") as file:
        expected = list(csv.DictReader(file))[:limit]
    with running_product() as product:
        ids = _upload(product, folder, expected)
        wrong = {row["path"]: reason for row in expected if (reason := _wrong(product, ids[row["path"]], row))}
    for path, reason in wrong.items():
        logging.getLogger(__name__).warning("%s: %s", path, reason)
    right = len(expected) - len(wrong)
    note = "; ".join(f"{Path(path).name}: {reason}" for path, reason in wrong.items())
    target = f">= {MIN_RIGHT} of {len(expected)}" if limit is None else ""
    met = right >= MIN_RIGHT if limit is None else None
    count = len(expected)
    return [Row("documents ending right", right, "files", count, right / count, target, met, note)]


def _upload(product: Product, folder: Path, expected: list[dict[str, str]]) -> dict[str, str]:
    """Ingest all in one go; the document's id by the manifest's path."""
    answers = product.uploads((Path(row["path"]).name, (folder / row["path"]).read_bytes()) for row in expected)
    product.wait([answer["operation_id"] for answer in answers], SECONDS)
    uploaded = [document for answer in answers for document in answer["documents"]]
    return {row["path"]: document["id"] for row, document in zip(expected, uploaded, strict=True)}


def _wrong(product: Product, document_id: str, row: Mapping[str, str]) -> str:
    """What is the matter with one file; empty when nothing is."""
    document = product.get(f"/api/v1/documents/{document_id}")
    state = _state(document)
    if state not in RIGHT_STATES[row["expected"]]:
        message = f" ({document['failure']['message']})" if document["failure"] else ""
        return f"{state}{message} instead of {row['expected']}"
    if state != "ready":
        return ""
    text = plain(product.text(document_id))
    if not text or plain(row["phrase"]) not in text:
        return f"its text lacks '{row['phrase']}'"
    if not row["phrase"]:
        return ""
    hits = product.search(row["phrase"], limit=SEARCH_HITS)["hits"]
    return "" if any(hit["document"]["id"] == document_id for hit in hits) else f"not found by '{row['phrase']}'"


def _state(document: Mapping[str, Any]) -> str:
    failure = document["failure"]
    return str(failure["code"] if failure else document["status"])


def plain(text: str) -> str:
    """Letters and figures as one line: case, spacing and Markdown's marks do not count."""
    return re.sub(r"[\s|*_#`>\\-]+", " ", text).casefold().strip()


if __name__ == "__main__":
    run_as_command(run, __doc__, "files")
