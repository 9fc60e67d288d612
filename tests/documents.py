"""Small documents made by code, for tests of everything that reads files."""

import io
import random
import zlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from fpdf import FPDF
from PIL import Image, ImageDraw, ImageFont

PROSE = (
    "The lighthouse keeper wrote down the weather every evening and counted the ships that passed the cape. "
    "In winter there were few of them, and the pages stayed almost empty until the ice went out in April."
)
HELVETICA = b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"


def new_pdf() -> FPDF:
    """An empty A4 document in points, without automatic page breaks."""
    pdf = FPDF(unit="pt", format="A4")
    pdf.set_creation_date(datetime(2026, 1, 1, tzinfo=UTC))  # the same call makes the same bytes
    pdf.set_auto_page_break(auto=False)
    pdf.set_font("helvetica", size=11)
    return pdf


def text_pdf(path: Path, pages: Sequence[str], *, rotation: int = 0, password: str = "") -> Path:
    """Each string a page of wrapped text. `rotation` sets `/Rotate` on every page."""
    pdf = new_pdf()
    if password:
        pdf.set_encryption(owner_password=password + "-owner", user_password=password)
    for text in pages:
        pdf.add_page()
        pdf.multi_cell(w=450, h=14, text=text, align="L")
    data = bytes(pdf.output())
    if rotation:
        data = data.replace(b"/Type /Page\n", b"/Type /Page\n/Rotate %d\n" % rotation)
        assert data.count(b"/Rotate") == len(pages)
    path.write_bytes(data)
    return path


def drawn_pdf(path: Path, draw: Callable[[FPDF], None]) -> Path:
    """One page on which `draw` puts what it likes."""
    pdf = new_pdf()
    pdf.add_page()
    draw(pdf)
    pdf.output(str(path))
    return path


def scanned_pdf(path: Path, texts: Sequence[str]) -> Path:
    """Pages that are pictures of text and have no text layer."""
    pdf = new_pdf()
    for text in texts:
        pdf.add_page()
        pdf.image(picture(text, (1240, 1754)), x=0, y=0, w=pdf.w, h=pdf.h)
    pdf.output(str(path))
    return path


def picture(text: str, size: tuple[int, int] = (800, 300)) -> Image.Image:
    """Black words on white."""
    image = Image.new("RGB", size, "white")
    ImageDraw.Draw(image).multiline_text((40, 40), text, fill="black", font=ImageFont.load_default(size=32))
    return image


def bomb_png(path: Path, width: int = 20_000, height: int = 20_000) -> Path:
    """A valid white PNG of a few kilobytes a row count of which no memory is enough for; written row by row."""
    compressor = zlib.compressobj(9)
    body = io.BytesIO()
    row = b"\x00" + b"\xff" * (width // 8)
    for _ in range(height):
        body.write(compressor.compress(row))
    body.write(compressor.flush())
    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([1, 0, 0, 0, 0])
    chunks = [(b"IHDR", header), (b"IDAT", body.getvalue()), (b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(_png_chunk(kind, data) for kind, data in chunks))
    return path


def raw_pdf(path: Path, objects: Sequence[bytes]) -> Path:
    """A PDF of the given objects, numbered from 1, the first of which is the catalog; offsets are right."""
    out = io.BytesIO()
    out.write(b"%PDF-1.7\n")
    offsets = []
    for number, body in enumerate(objects, 1):
        offsets.append(out.tell())
        out.write(b"%d 0 obj\n%s\nendobj\n" % (number, body))
    start = out.tell()
    out.write(b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1))
    out.write(b"".join(b"%010d 00000 n \n" % offset for offset in offsets))
    out.write(b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, start))
    path.write_bytes(out.getvalue())
    return path


def circular_pdf(path: Path) -> Path:
    """A page tree whose node is its own child."""
    nodes = [b"<< /Type /Catalog /Pages 2 0 R >>", b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>"]
    return raw_pdf(path, [*nodes, b"<< /Type /Pages /Parent 2 0 R /Kids [2 0 R 3 0 R] /Count 1 >>"])


def pageless_pdf(path: Path) -> Path:
    """A well-formed PDF with 0 pages."""
    return raw_pdf(path, [b"<< /Type /Catalog /Pages 2 0 R >>", b"<< /Type /Pages /Kids [] /Count 0 >>"])


def stream_bomb_pdf(path: Path, expanded_bytes: int) -> Path:
    """A page whose content stream is spaces without end, deflated twice: kilobytes that expand to gigabytes."""
    compressor = zlib.compressobj(1)
    blank = b" " * 1_000_000
    once = b"".join(compressor.compress(blank) for _ in range(expanded_bytes // len(blank))) + compressor.flush()
    twice = zlib.compress(once, 9)
    stream = b"<< /Length %d /Filter [/FlateDecode /FlateDecode] >>\nstream\n%s\nendstream" % (len(twice), twice)
    page = b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 300 300] /Contents 4 0 R >>"
    tree = [b"<< /Type /Catalog /Pages 2 0 R >>", b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>"]
    return raw_pdf(path, [*tree, page, stream])


def content_pdf(path: Path, content: bytes, extra: bytes, *, media_box: bytes = b"[0 0 400 400]") -> Path:
    """One page with this content stream, Helvetica as `/F1`, and `extra` entries in the page's dictionary."""
    return raw_pdf(path, _content_objects(content, extra, media_box, HELVETICA))


def long_pdf(path: Path, pages: int) -> Path:
    """Many pages of 1,200 words each, one content stream shared by all."""
    line = b"(the keeper of the light wrote the weather down again and counted all) Tj 0 -7 Td "
    content = b"BT /F1 6 Tf 20 780 Td " + line * 92 + b"ET"
    kids = b" ".join(b"%d 0 R" % number for number in range(5, 5 + pages))
    resources = b"/Contents 3 0 R /Resources << /Font << /F1 4 0 R >> >>"
    page = b"<< /Type /Page /Parent 2 0 R %s /MediaBox [0 0 600 800] >>" % resources
    catalog = b"<< /Type /Catalog /Pages 2 0 R >>"
    tree = b"<< /Type /Pages /Kids [%s] /Count %d >>" % (kids, pages)
    return raw_pdf(path, [catalog, tree, _stream(content), HELVETICA, *[page] * pages])


def unmapped_pdf(path: Path) -> Path:
    """A page of text whose font maps every letter to the private use area: it looks right and reads as nothing."""
    letters = {chr(code): chr(0xE000 + code) for code in range(ord("a"), ord("z") + 1)}
    return mapped_pdf(path, "the keeper of the light wrote down the weather every day " * 4, letters)


def mapped_pdf(path: Path, text: str, meanings: dict[str, str]) -> Path:
    """A line of ASCII text in a font that declares other characters as the meaning of some of its own."""
    pairs = "".join(f"<{ord(drawn):02X}> <{meant.encode('utf-16-be').hex()}>\n" for drawn, meant in meanings.items())
    cmap = (
        "/CIDInit /ProcSet findresource begin 12 dict begin begincmap /CMapName /X def /CMapType 2 def\n"
        f"1 begincodespacerange <00> <FF> endcodespacerange {len(meanings)} beginbfchar\n{pairs}endbfchar\n"
        "endcmap CMapName currentdict /CMap defineresource pop end end"
    )
    line = b"BT /F1 1.5 Tf 10 380 Td (%s) Tj ET" % text.encode()
    font = b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /ToUnicode 6 0 R >>"
    return raw_pdf(path, [*_content_objects(line, b"", b"[0 0 400 400]", font), _stream(cmap.encode())])


def form_pdf(path: Path, value: str) -> Path:
    """A form with one text field, filled in; the value stands in the field's appearance only."""
    page_extra = b"/Annots [6 0 R]"
    objects = _content_objects(
        b"BT /F1 12 Tf 30 350 Td (Name of the keeper:) Tj ET", page_extra, b"[0 0 400 400]", HELVETICA
    )
    objects[0] = b"<< /Type /Catalog /Pages 2 0 R /AcroForm << /Fields [6 0 R] >> >>"
    field = (
        b"<< /Type /Annot /Subtype /Widget /FT /Tx /T (keeper) /V (%s) /F 4 /P 3 0 R /Rect [30 300 200 320] "
        % value.encode()
    )
    appearance = b"<< /Type /XObject /Subtype /Form /BBox [0 0 170 20] /Resources << /Font << /F1 5 0 R >> >> "
    drawn = b"/Tx BMC BT /F1 12 Tf 2 5 Td (%s) Tj ET EMC" % value.encode()
    return raw_pdf(path, [*objects, field + b"/AP << /N 7 0 R >> >>", _stream(drawn, appearance[3:])])


def ink_box(png: bytes) -> tuple[float, float, float, float]:
    """The box around everything dark in a picture, in fractions of it."""
    image = Image.open(io.BytesIO(png)).convert("L")
    box = image.point([255] * 128 + [0] * 128).getbbox()
    assert box is not None
    return box[0] / image.width, box[1] / image.height, box[2] / image.width, box[3] / image.height


def mutated(data: bytes, seed: int) -> bytes:
    """The bytes with a few of them changed, a piece cut out or doubled, the same for the same seed."""
    rng = random.Random(seed)
    mutant = bytearray(data)
    for _ in range(rng.randint(1, 40)):
        mutant[rng.randrange(len(mutant))] = rng.randrange(256)
    if rng.random() < 0.4:
        start = rng.randrange(len(mutant))
        piece = mutant[start : start + rng.randint(1, 400)]
        mutant[start : start + len(piece)] = piece * rng.choice((0, 2))
    return bytes(mutant[: rng.randint(len(mutant) // 3, len(mutant))]) if rng.random() < 0.2 else bytes(mutant)


def _content_objects(content: bytes, extra: bytes, media_box: bytes, font: bytes) -> list[bytes]:
    page = b"<< /Type /Page /Parent 2 0 R /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> >> /MediaBox %s %s >>"
    tree = [b"<< /Type /Catalog /Pages 2 0 R >>", b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>"]
    return [*tree, page % (media_box, extra), _stream(content), font]


def _stream(data: bytes, entries: bytes = b"") -> bytes:
    return b"<< %s /Length %d >>\nstream\n%s\nendstream" % (entries, len(data), data)


def _png_chunk(kind: bytes, data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")
