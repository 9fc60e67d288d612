"""Reading of page images: our engine under concurrency against plain `rapidocr` page after page, and both word F1s.

Run `python -m benchmarks.ocr [--limit N] [--json FILE] [--engine NAME]`. The two take turns on the same small groups of
pages, so that whatever else the machine does burdens both.
"""

import argparse
import asyncio
import json
import logging
import os
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from benchmarks.rows import Row, print_table, write_json
from perplex_mono.inference.ocr import OcrEngine, PageRaster
from perplex_mono.inference.ocr_engines import EngineName, open_ocr
from perplex_mono.ingestion.ocr_layout import page_from_ocr
from perplex_mono.ingestion.pages import PageImage

_GROUP = 8
_F1_TOLERANCE = 0.005
_F1_TARGET = 0.93
_SPEED_TARGET = 1.3


@dataclass(frozen=True)
class Sample:
    """A decoded page and its true text."""

    name: str
    kind: str
    raster: PageRaster
    truth: str


@dataclass
class Measured:
    """Seconds of each group, F1 of each page, in the order of the samples."""

    seconds: list[float] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)


def run(limit: int | None = None, engine: EngineName = "rapidocr") -> list[Row]:
    """Measure on the first `limit` pages of the shared data; no rows, and a message, where that is absent."""
    samples = _samples(limit)
    if not samples:
        logging.getLogger(__name__).warning("No OCR data in PERPLEX_SHARED_DATA or ../shared/data: skipped.")
        return []
    plain, ours = asyncio.run(_measure(samples, engine))
    return _rows(samples, plain, ours)


def word_f1(read: str, truth: str) -> float:
    """Give the F1 of the multisets of white-space separated words, ignoring case."""
    found, wanted = Counter(read.lower().split()), Counter(truth.lower().split())
    total = found.total() + wanted.total()
    return 2 * (found & wanted).total() / total if total else 1.0


def _samples(limit: int | None) -> list[Sample]:
    shared = os.environ.get("PERPLEX_SHARED_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data"
    listing = Path(shared) / "ocr" / "ocr.jsonl"
    if not listing.is_file():
        return []
    entries = [json.loads(line) for line in listing.read_text(encoding="utf-8").splitlines()]
    return [_sample(listing.parent, entry) for entry in entries[:limit]]


def _sample(folder: Path, entry: dict[str, Any]) -> Sample:
    with Image.open(folder / entry["image"]) as image:
        upright = ImageOps.exif_transpose(image).convert("RGB")
    raster = PageRaster(upright.width, upright.height, upright.tobytes())
    return Sample(entry["id"], entry.get("subkind", "receipt"), raster, entry["text"])


async def _measure(samples: list[Sample], name: EngineName) -> tuple[Measured, Measured]:
    read_plainly = _plain_reader()
    engine = open_ocr(name, lower_priority=False)  # plain rapidocr runs at normal priority too
    warm = min(samples, key=lambda sample: sample.raster.width * sample.raster.height)
    await asyncio.to_thread(read_plainly, warm)
    await engine.recognise(warm.raster)
    plain, ours = Measured(), Measured()
    for index, start in enumerate(range(0, len(samples), _GROUP)):
        group = samples[start : start + _GROUP]
        turns = [_run_plainly(read_plainly, group, plain), _run_ours(engine, group, ours)]
        for turn in turns if index % 2 else reversed(turns):
            await turn
    await engine.close()
    return plain, ours


def _plain_reader() -> Callable[[Sample], str]:
    from rapidocr import RapidOCR
    from rapidocr.utils.output import RapidOCROutput

    plain = RapidOCR(params={"Global.log_level": "critical"})

    def read(sample: Sample) -> str:
        raster = sample.raster
        pixels = np.frombuffer(raster.pixels, dtype=np.uint8).reshape(raster.height, raster.width, 3)
        result = plain(np.ascontiguousarray(pixels[:, :, ::-1]))
        return "\n".join(result.txts or ()) if isinstance(result, RapidOCROutput) else ""

    return read


async def _run_plainly(read: Callable[[Sample], str], group: list[Sample], into: Measured) -> None:
    started = time.perf_counter()
    texts = [await asyncio.to_thread(read, sample) for sample in group]
    into.seconds.append(time.perf_counter() - started)
    into.scores += [word_f1(text, sample.truth) for text, sample in zip(texts, group, strict=True)]


async def _run_ours(engine: OcrEngine, group: list[Sample], into: Measured) -> None:
    started = time.perf_counter()
    pages = await asyncio.gather(*(engine.recognise(sample.raster) for sample in group))
    into.seconds.append(time.perf_counter() - started)
    for sample, page in zip(group, pages, strict=True):
        image = PageImage(1, sample.raster.width, sample.raster.height, b"")
        into.scores.append(word_f1(page_from_ocr(image, page).text, sample.truth))


def _rows(samples: list[Sample], plain: Measured, ours: Measured) -> list[Row]:
    ours_rate, plain_rate = len(samples) / sum(ours.seconds), len(samples) / sum(plain.seconds)
    score, plain_score = fmean(ours.scores), fmean(plain.scores)
    equal = score >= plain_score - _F1_TOLERANCE
    faster = ours_rate / plain_rate
    groups = [before / after for before, after in zip(plain.seconds, ours.seconds, strict=True)]
    rows = [
        Row(
            bench="OCR pages/s",
            value=ours_rate,
            unit="pages/s",
            reference=plain_rate,
            ratio=faster,
            target=f">= {_SPEED_TARGET}x at equal F1 (-{_F1_TOLERANCE})",
            met=faster >= _SPEED_TARGET and equal,
            note=f"{len(samples)} pages; median ratio of groups {median(groups):.2f}",
        ),
        Row(
            bench="OCR word F1",
            value=score,
            unit="F1",
            reference=plain_score,
            ratio=score / plain_score if plain_score else None,
            target=f">= {_F1_TARGET}",
            met=score >= _F1_TARGET,
        ),
    ]
    return rows + [_row_of_kind(kind, samples, plain, ours) for kind in sorted({sample.kind for sample in samples})]


def _row_of_kind(kind: str, samples: list[Sample], plain: Measured, ours: Measured) -> Row:
    chosen = [index for index, sample in enumerate(samples) if sample.kind == kind]
    score = fmean(ours.scores[index] for index in chosen)
    reference = fmean(plain.scores[index] for index in chosen)
    return Row(
        bench=f"OCR word F1, {kind}",
        value=score,
        unit="F1",
        reference=reference,
        ratio=score / reference if reference else None,
        target="",
        met=None,
        note=f"{len(chosen)} images",
    )


def main() -> None:
    """Run as a command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--limit", type=int, help="only the first N pages")
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    parser.add_argument("--engine", choices=["rapidocr", "rapidocr-onnxruntime"], default="rapidocr")
    arguments = parser.parse_args()
    rows = run(arguments.limit, arguments.engine)
    print_table(rows)
    if arguments.json:
        write_json(rows, arguments.json)


if __name__ == "__main__":
    main()
