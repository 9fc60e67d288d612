"""Documents made for fault tests: every page has a word that no other page has, so that nothing can hide a loss."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

from PIL import Image, ImageDraw, ImageFont

from tests.documents import new_pdf

# Letters that OCR tells apart in every font, in an order that makes no English ending the stemmer would cut.
CONSONANTS = "bdfghkmpvz"
VOWELS = "aou"
SYLLABLES = [consonant + vowel for consonant in CONSONANTS for vowel in VOWELS]
SCAN_POINTS = (420, 160)
SCAN_SCALE = 2


@dataclass(frozen=True)
class Sample:
    """A file and the words that only its pages have, one a page."""

    name: str
    content: bytes
    words: tuple[str, ...]


def own_word(number: int) -> str:
    """A pronounceable word for each number up to 810,000."""
    syllables = []
    for _ in range(4):
        number, place = divmod(number, len(SYLLABLES))
        syllables.append(SYLLABLES[place])
    return "".join(syllables) + "k"


def page_text(word: str) -> str:
    """A page about its own word."""
    return f"Report about {word} for the keeper of the light, who wrote it down and counted the ships."


def text_file(number: int) -> Sample:
    """A text file of one page."""
    word = own_word(number)
    return Sample(f"text-{number}.txt", page_text(word).encode(), (word,))


def text_pdf(number: int, pages: int) -> Sample:
    """A PDF with text; takes the words `number` to `number + pages`."""
    words = tuple(own_word(number + page) for page in range(pages))
    pdf = new_pdf()
    for word in words:
        pdf.add_page()
        pdf.multi_cell(w=450, h=14, text=page_text(word), align="L")
    return Sample(f"text-{number}.pdf", bytes(pdf.output()), words)


def scanned_pdf(number: int, pages: int) -> Sample:
    """A PDF of small pictures of text, each less than a second of OCR; takes as many words as pages."""
    words = tuple(own_word(number + page) for page in range(pages))
    pdf = new_pdf()
    for word in words:
        pdf.add_page(format=SCAN_POINTS)
        pdf.image(_picture(word), x=0, y=0, w=SCAN_POINTS[0], h=SCAN_POINTS[1])
    return Sample(f"scan-{number}.pdf", bytes(pdf.output()), words)


def mixed(pages_each: int, first: int = 0) -> Iterator[Sample]:
    """Text and scans by turns, without end."""
    for number in count(first, pages_each):
        kind = scanned_pdf if number // pages_each % 2 else text_pdf
        yield kind(number, pages_each)


def _picture(word: str) -> Image.Image:
    image = Image.new("L", (SCAN_POINTS[0] * SCAN_SCALE, SCAN_POINTS[1] * SCAN_SCALE), 255)
    font = ImageFont.load_default(size=44)
    ImageDraw.Draw(image).multiline_text((40, 60), f"Report about {word}\nfor the keeper", fill=0, font=font)
    return image
