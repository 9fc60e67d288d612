"""Files made to break, blow up or steer whoever reads them."""

import io
import stat
import struct
import warnings
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from tests.documents import HELVETICA, raw_pdf
from tests.unit.ingestion.reader_files import DOCX_TYPES, W_NAMESPACE

WORD = "word/document.xml"
Member = tuple[str | zipfile.ZipInfo, str | bytes]


def word_package(path: Path, text: str, members: Sequence[Member] = (), *, prolog: str = "") -> Path:
    """A DOCX of one paragraph, with whatever else is wanted in its container; members may come twice."""
    body = f"<w:p><w:r><w:t>{text}</w:t></w:r></w:p>"
    document = f"{prolog}<w:document {W_NAMESPACE}><w:body>{body}</w:body></w:document>"
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as package:
        warnings.simplefilter("ignore", UserWarning)  # of a name that comes twice
        for name, content in [("[Content_Types].xml", DOCX_TYPES), (WORD, document), *members]:
            package.writestr(name, content)
    return path


def link_member(name: str, target: str) -> Member:
    """A member that is a symbolic link for whoever unpacks it."""
    entry = zipfile.ZipInfo(name)
    entry.create_system = 3
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    return entry, target


def lie_about_size(path: Path, name: str, size_bytes: int) -> Path:
    """Have the directory of a container promise another unpacked size of a member."""
    data = bytearray(path.read_bytes())
    entry = data.index(name.encode(), data.index(b"PK\x01\x02"))
    struct.pack_into("<I", data, entry - 46 + 24, size_bytes)
    path.write_bytes(bytes(data))
    return path


def many_pages_pdf(path: Path, pages: int) -> Path:
    """So many pages, all of them the same object."""
    kids = b"3 0 R " * pages
    tree = [b"<< /Type /Catalog /Pages 2 0 R >>", b"<< /Type /Pages /Kids [%s] /Count %d >>" % (kids, pages)]
    return raw_pdf(path, [*tree, b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 300 300] >>"])


def scripted_pdf(path: Path, port: int) -> Path:
    """A page of words that tells its reader to run, launch, submit, fetch and import when it is opened."""
    address = b"http://127.0.0.1:%d/" % port
    actions = [
        b"<< /S /JavaScript /JS (app.launchURL\\('%s'\\); this.submitForm\\('%s'\\);) >>" % (address, address),
        b"<< /S /Launch /F (/bin/sh) /Next << /S /URI /URI (%s) >> >>" % address,
        b"<< /S /SubmitForm /F << /FS /URL /F (%s) >> >>" % address,
        b"<< /S /GoToR /F << /FS /URL /F (%s) >> /D [0 /Fit] >>" % address,
        b"<< /S /ImportData /F (file:///etc/passwd) >>",
    ]
    chain = b"".join(b"/A%d %s " % pair for pair in enumerate(actions))
    names = b"/Names << /JavaScript << /Names [(a) %s] >> >>" % actions[0]
    catalog = b"<< /Type /Catalog /Pages 2 0 R /OpenAction %s %s /AA << %s >> >>" % (actions[0], names, chain)
    content = b"BT /F1 12 Tf 30 350 Td (Words of a page with scripts) Tj ET"
    page = b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 400 400] /Contents 4 0 R /AA << /O %s >> %s >>" % (
        actions[1],
        b"/Resources << /Font << /F1 5 0 R >> >>",
    )
    stream = b"<< /Length %d >>\nstream\n%s\nendstream" % (len(content), content)
    return raw_pdf(path, [catalog, b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>", page, stream, HELVETICA])


def endless_pdf(path: Path) -> Path:
    """A page of forms that draw ten forms each, eight deep, the last of which do nothing, slowly: days of work."""
    catalog = b"<< /Type /Catalog /Pages 2 0 R >>"
    page = b"<< /Type /Page /Parent 2 0 R /Contents 4 0 R /Resources << /XObject << /X 5 0 R >> >>"
    objects = [catalog, b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>", page + b" /MediaBox [0 0 300 300] >>"]
    objects.append(_stream(b"", b"/X Do"))
    for level in range(8):
        inner = b" /Resources << /XObject << /X %d 0 R >> >>" % (6 + level) if level < 7 else b""
        form = b"/Type /XObject /Subtype /Form /BBox [0 0 300 300]" + inner
        objects.append(_stream(form, b"/X Do " * 10 if inner else b"q Q " * 50_000))
    return raw_pdf(path, objects)


def animation(frames: int, kind: str) -> bytes:
    """A picture of so many tiny frames, each of another colour."""
    first, *others = [Image.new("RGB", (2, 2), (number % 256, number // 256, 7)) for number in range(frames)]
    out = io.BytesIO()
    first.save(out, kind, save_all=True, append_images=others)
    return out.getvalue()


def lying_png(width: int, height: int) -> bytes:
    """A PNG whose header promises a size that its few bytes of data do not have."""
    head = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([8, 2, 0, 0, 0])
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(b"\0" * 100)), (b"IEND", b"")]
    joined = (
        len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big") for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(joined)


def _stream(entries: bytes, content: bytes) -> bytes:
    return b"<< %s /Length %d >>\nstream\n%s\nendstream" % (entries, len(content), content)
