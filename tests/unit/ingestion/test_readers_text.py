"""Text formats: any encoding, any size, any depth; structure kept where there is some."""

from pathlib import Path

import pytest

from perplex_mono.errors import DocumentFailure
from perplex_mono.ingestion.readers.decoding import guess_encoding, lines_of
from perplex_mono.ingestion.readers.json_text import _tokens
from tests.unit.ingestion import reader_files as make

GERMAN = "Der Bär läuft über die Straße, größer und schöner als früher."
CZECH = "Příliš žluťoučký kůň úpěl ďábelské ódy, řekla matka své dceři večer. "
RUSSIAN = "Привет, это русский текст для проверки кодировки. "
JAPANESE = "これは日本語のテキストです。文字コードの判定を確認します。"


def text_of(path: Path, content: str | bytes) -> str:
    return "\n".join(page.text for page in make.pages_of(make.text_file(path, content)))


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (GERMAN, "utf-8"),
        (GERMAN, "utf-8-sig"),
        (GERMAN, "utf-16"),
        (GERMAN, "utf-16-le"),
        (GERMAN, "utf-16-be"),
        (GERMAN, "utf-32"),
        (GERMAN, "cp1252"),
        ("Café crème — “à la carte”", "cp1252"),
        (CZECH * 5, "cp1250"),
        (RUSSIAN * 5, "cp1251"),
        (RUSSIAN * 5, "koi8_r"),
        (JAPANESE * 5, "shift_jis"),
        (JAPANESE * 5, "euc_jp"),
    ],
)
def test_every_usual_encoding_is_read(tmp_path: Path, text: str, encoding: str) -> None:
    assert text_of(tmp_path / "a.txt", text.encode(encoding)) == text.strip()


def test_a_few_broken_bytes_do_not_spoil_utf8(tmp_path: Path) -> None:
    broken = (GERMAN * 9).encode() + b" \xff\xfe " + (GERMAN * 9).encode()
    assert text_of(tmp_path / "a.txt", broken).count(GERMAN) == 18


def test_a_character_cut_by_the_sample_is_not_broken() -> None:
    assert guess_encoding("aä".encode()[:-1]) == "utf-8"


def test_zeros_are_dropped(tmp_path: Path) -> None:
    assert text_of(tmp_path / "a.txt", b"light\0house\0 " * 20).startswith("lighthouse")


def test_blank_text_is_no_text(tmp_path: Path) -> None:
    with pytest.raises(DocumentFailure) as caught:
        text_of(tmp_path / "a.txt", " \n\t\n")
    assert caught.value.code == "no_text"


def test_paragraphs_are_what_blank_lines_part(tmp_path: Path) -> None:
    pages = make.pages_of(make.text_file(tmp_path / "a.txt", "one\r\ntwo\r\n\r\n \r\nthree"))
    assert [text for _, text, _ in make.blocks_of(pages)] == ["one\ntwo", "three"]


def test_one_endless_line_streams_and_keeps_every_word(tmp_path: Path) -> None:
    line = "".join(f"w{number} " for number in range(300_000))
    pages = make.pages_of(make.text_file(tmp_path / "a.txt", line))
    assert len(pages) > 100
    assert max(len(page.text) for page in pages) <= 16_000
    assert sum(len(page.text.replace(" ", "")) for page in pages) == len(line.replace(" ", ""))


def test_lines_are_bounded() -> None:
    assert max(map(len, lines_of(["x" * 100_000] * 5))) <= 64 * 1024
    assert "".join(lines_of(["a\nb", "c\n", "", "d"])) == "a\nbc\nd"


def test_markdown_structure(tmp_path: Path) -> None:
    source = (
        "---\ntitle: Log\n---\n# Arrivals\n\nShips *that* came `in`, see [map](http://x.y).\nmore\n\n"
        "3. third\n4. fourth\n   - deeper\n\n     second part\n\n```py\nx = 1\n  y\n```\n\n"
        "| Port | Ships |\n|---|---|\n| Bergen | 1 \\| 2 |\n\n"
        "<div><b>html</b><script>no</script></div>\n\nWinter\n------\n"
    )
    assert make.blocks_of(make.pages_of(make.text_file(tmp_path / "a.md", source))) == [
        ("paragraph", "title: Log", 0),
        ("heading", "Arrivals", 1),
        ("paragraph", "Ships that came in, see map.\nmore", 0),
        ("list_item", "3. third", 1),
        ("list_item", "4. fourth", 1),
        ("list_item", "- deeper", 2),
        ("paragraph", "second part", 0),
        ("code", "x = 1\n  y", 0),
        ("table", "| Port | Ships |\n| --- | --- |\n| Bergen | 1 \\| 2 |", 0),
        ("paragraph", "html", 0),
        ("heading", "Winter", 2),
    ]


def test_long_markdown_keeps_its_code_when_parsed_in_parts(tmp_path: Path) -> None:
    listing = "".join(f"# line {number}\n\n" for number in range(12_000))
    pages = make.pages_of(make.text_file(tmp_path / "a.md", f"# Title\n\n```\n{listing}```\n\nafter\n"))
    kinds = [kind for kind, _, _ in make.blocks_of(pages)]
    assert (kinds[0], kinds[-1], set(kinds[1:-1])) == ("heading", "paragraph", {"code"})


@pytest.mark.parametrize("mark", ["[", "> ", "- ", "*a ", "`", "![](", "<b>"])
def test_hostile_markdown_is_read(tmp_path: Path, mark: str) -> None:
    assert "end" in text_of(tmp_path / "a.md", mark * 30_000 + "\n\nend\n")


@pytest.mark.parametrize(
    ("content", "row"),
    [
        ("a,b,c\n1,2,3\n", "| 1 | 2 | 3 |"),
        ("a;b;c\n1,5;2;3\n", "| 1,5 | 2 | 3 |"),
        ("a\tb\tc\n1, x\t2\t3\n", "| 1, x | 2 | 3 |"),
        ("a|b|c\n1|2|3\n", "| 1 | 2 | 3 |"),
        ('a,b,c\n1,"two\nlines, ""quoted""",3\n', '| 1 | two lines, "quoted" | 3 |'),
        (b"a;Gr\xf6\xdfe\n1;gro\xdf\n", "| 1 | groß |"),
    ],
)
def test_delimiters_quotes_and_encodings_of_tables(tmp_path: Path, content: str | bytes, row: str) -> None:
    assert text_of(tmp_path / "a.csv", content).splitlines()[-1] == row


def test_a_quote_never_closed_loses_no_line(tmp_path: Path) -> None:
    text = text_of(tmp_path / "a.csv", 'a,b\n1,"open\n' + "".join(f"{number},x\n" for number in range(40_000)))
    assert "| 39999 | x |" in text
    assert "| 0 | x |" in text


def test_json_is_lines_of_paths_and_values(tmp_path: Path) -> None:
    ada = r'{"name": "Ada \"L\" \u00e9", "tags": ["x", "y"]}'
    source = f'{{"users": [{ada}, {{"name": "Bob"}}], "ok": true, "none": null}}'
    assert text_of(tmp_path / "a.json", source) == (
        'users[0].name: Ada "L" é\nusers[0].tags[0]: x\nusers[0].tags[1]: y\n\n'
        "users[1].name: Bob\n\nok: true\nnone: null"
    )


def test_json_lines_are_paragraphs(tmp_path: Path) -> None:
    assert text_of(tmp_path / "a.jsonl", '{"a": 1}\n{"a": 2, "b": {"c": "d"}}\n') == "a: 1\n\na: 2\nb.c: d"


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64])
def test_json_tokens_do_not_depend_on_the_chunks(size: int) -> None:
    source = '{"key \\" , 1": [12.5e3, "a:b\\\\", true, "", null], "ü": {"x": "y"}}'
    chunks = [source[start : start + size] for start in range(0, len(source), size)]
    assert list(_tokens(chunks)) == list(_tokens([source]))


@pytest.mark.parametrize(
    "source",
    ["[" * 100_000 + "1" + "]" * 100_000, '{"a":' * 100_000 + '"x"' + "}" * 100_000, '{"a": "open, [1, 2', "]]}}[1"],
)
def test_deep_and_broken_json_gives_the_text_it_has(tmp_path: Path, source: str) -> None:
    assert text_of(tmp_path / "a.json", source)


def test_a_json_string_longer_than_any_chunk_is_read_whole(tmp_path: Path) -> None:
    pages = make.pages_of(make.text_file(tmp_path / "a.json", '{"k": "' + "abcdefghij " * 90_000 + '", "z": "end"}'))
    assert sum(page.text.count("abcdefghij") for page in pages) >= 89_900
    assert pages[-1].text.endswith("z: end")


HTML = """<!DOCTYPE html><html><head><title>Harbour log</title><style>p{}</style><script>alert(1)</script></head><body>
<nav>Home | About</nav><div hidden>hidden</div><p style="display: none">invisible</p>
<h1>Arrivals &amp; departures</h1><p onclick="x()">Ships<br>that   came
in.</p><ul><li>one<ol start="3"><li>three</li></ol></li><li><p>two</p><p>more</p></li></ul><pre>  x
    y</pre><table><tr><th>Port<th>Ships<tr><td rowspan="2">Bergen<td>1<tr><td>2</table>
<table><tr><td>left<td><h2>Layout</h2>right</table></body></html>"""


def test_html_structure(tmp_path: Path) -> None:
    assert make.blocks_of(make.pages_of(make.text_file(tmp_path / "a.html", HTML))) == [
        ("heading", "Harbour log", 1),
        ("heading", "Arrivals & departures", 1),
        ("paragraph", "Ships\nthat came in.", 0),
        ("list_item", "- one", 1),
        ("list_item", "3. three", 2),
        ("list_item", "- two", 1),
        ("paragraph", "more", 0),
        ("code", "  x\n    y", 0),
        ("table", "| Port | Ships |\n| --- | --- |\n| Bergen | 1 |\n|  | 2 |", 0),
        ("paragraph", "left", 0),
        ("heading", "Layout", 2),
        ("paragraph", "right", 0),
    ]


@pytest.mark.parametrize(
    "content",
    [
        b"<html><p>Gr\xfc\xdfe",
        b'<html><meta charset="iso-8859-1"><p>Gr\xfc\xdfe',
        b'<html><meta charset="iso-8859-1"><p>Gr\xc3\xbc\xc3\x9fe',
        "<html><p>Grüße".encode("utf-16"),
    ],
)
def test_html_encodings(tmp_path: Path, content: bytes) -> None:
    assert text_of(tmp_path / "a.html", content) == "Grüße"


@pytest.mark.parametrize("name", ["hex", "idna", "undefined", "no-such", "utf-16"])
def test_a_declared_encoding_that_cannot_be_is_ignored(tmp_path: Path, name: str) -> None:
    content = f'<html><meta charset="{name}"><p>Grüße'.encode("cp1252")
    assert text_of(tmp_path / "a.html", content) == "Grüße"


def test_a_declared_encoding_is_used_where_bytes_prove_none(tmp_path: Path) -> None:
    content = '<html><meta charset="windows-1251"><p>Привет'.encode("cp1251")
    assert text_of(tmp_path / "a.html", content) == "Привет"


@pytest.mark.parametrize("tag", ["<div>", "<table><tr><td>", "<b>", "<ul><li>", "<svg>"])
def test_a_hundred_thousand_nested_tags_are_read(tmp_path: Path, tag: str) -> None:
    count = 100_000 // tag.count("<")
    source = f"<html><p>before</p>{tag * count}deep"
    assert text_of(tmp_path / "a.html", source).startswith("before")


def test_spans_of_millions_are_bounded(tmp_path: Path) -> None:
    source = "<html><table><tr><td colspan=99999999 rowspan=99999999>a<td>b<tr><td>c</table>"
    assert len(text_of(tmp_path / "a.html", source)) < 5_000
