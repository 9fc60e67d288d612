"""Attacks by pictures: sizes that lie, frames without number, and drawings that are programs."""

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.documents import bomb_png, picture
from tests.server_process import ServerProcess
from tests.system.attacks.hostile_client import MEGABYTE, Listener, bounded_growth, final_documents, require_failed
from tests.system.attacks.hostile_files import animation, lying_png


@pytest.fixture(scope="module")
def settings() -> Mapping[str, str]:
    """Pictures are read, so that they can go wrong."""
    return {"PERPLEX_OCR__ENGINE": "rapidocr", "PERPLEX_LIMITS__MAX_PAGES": "50"}


def _saved(image: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def test_a24_bombs_are_refused_by_their_header(server: ServerProcess, tmp_path: Path) -> None:
    bomb = bomb_png(tmp_path / "bomb.png").read_bytes()
    assert len(bomb) < 100_000
    with bounded_growth(server, 300 * MEGABYTE):
        found = final_documents(server, {"bomb.png": bomb, "lie.png": lying_png(2**31 - 1, 2**31 - 1)})
    assert found["bomb.png"]["failure"]["code"] == "too_large"
    assert found["lie.png"]["failure"]["code"] in ("too_large", "corrupt")


def test_a25_ten_thousand_frames_are_one_page_or_too_many(server: ServerProcess) -> None:
    frames = {"a.gif": animation(10_000, "GIF"), "a.tiff": animation(500, "TIFF")}
    with bounded_growth(server, 300 * MEGABYTE):
        found = final_documents(server, frames)
    assert found["a.tiff"]["failure"]["code"] == "too_many_pages"
    assert found["a.gif"]["failure"] is not None or found["a.gif"]["page_count"] == 1


def test_a26_cut_and_broken_pictures_are_corrupt(server: ServerProcess) -> None:
    whole = _saved(picture("words"), "PNG")
    files = {
        "cut.png": whole[: len(whole) // 2],
        "lie.png": lying_png(3_000, 3_000),
        "cut.jpg": _saved(picture("words"), "JPEG")[:300],
    }
    require_failed(final_documents(server, files), **dict.fromkeys(files, "corrupt"))


def test_a27_odd_but_honest_pictures_are_read(server: ServerProcess) -> None:
    words = picture("Harbour office")
    exif = Image.Exif()
    exif[0x0112] = 6
    files = {
        "cmyk.jpg": _saved(words.convert("CMYK"), "JPEG"),
        "deep.png": _saved(Image.fromarray(np.asarray(words.convert("L"), np.uint16) * 257), "PNG"),
        "turned.jpg": _saved(words, "JPEG", exif=exif),
    }
    found = final_documents(server, files)
    assert {name: document["status"] for name, document in found.items()} == dict.fromkeys(files, "ready")


def test_a28_a_drawing_that_is_a_program_is_only_text(server: ServerProcess, listener: Listener) -> None:
    address = f"http://127.0.0.1:{listener.port}/"
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
        f" onload=\"fetch('{address}')\">"
        f'<script>fetch("{address}")</script><image xlink:href="{address}a.png"/><use href="{address}#a"/></svg>'
    )
    found = final_documents(server, {"a.svg": svg.encode()})
    assert found["a.svg"]["status"] in ("ready", "failed")
    assert listener.calls() == 0
