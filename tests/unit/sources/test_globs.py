"""Globs decide as people expect, and quickly whatever they are."""

import pytest

from perplex_mono.sources.globs import FileFilter, find_fault


@pytest.mark.parametrize(
    ("glob", "path", "is_wanted"),
    [
        ("*.pdf", "a.pdf", True),
        ("*.pdf", "deep/er/A.PDF", True),
        ("*.pdf", "a.pdf.txt", False),
        ("deep/*.pdf", "deep/a.pdf", True),
        ("deep/*.pdf", "deep/er/a.pdf", False),
        ("deep/**/*.pdf", "deep/a.pdf", True),
        ("deep/**/*.pdf", "deep/er/still/a.pdf", True),
        ("**/er/*", "deep/er/a.txt", True),
        ("**", "any/thing.txt", True),
        ("deep/**", "deep/er/a.txt", True),
        ("deep/**", "deeper/a.txt", False),
        ("report-[0-9].*", "report-7.md", True),
        ("a/**/b/**/c.txt", "a/x/b/y/b/z/c.txt", True),
        ("a/**/b/**/c.txt", "a/x/y/z/c.txt", False),
    ],
)
def test_include(glob: str, path: str, is_wanted: bool) -> None:
    assert FileFilter([glob], []).wants_file(path) is is_wanted
    assert FileFilter([], [glob]).wants_file(path) is not is_wanted


def test_exclude_wins_and_closes_folders() -> None:
    wanted = FileFilter(["*.md"], ["drafts/**", "node_modules"])
    assert wanted.wants_file("a.md")
    assert not wanted.wants_folder("drafts")
    assert not wanted.wants_folder("site/node_modules")
    assert wanted.concerns("new folder/whatever")
    assert not wanted.concerns("site/node_modules/x/readme.md")


@pytest.mark.parametrize("path", [".git", "a/.hidden.txt", "Thumbs.db", ".DS_Store", "~$letter.docx", "a/x.part"])
def test_hidden_names_and_leavings_are_never_wanted(path: str) -> None:
    assert not FileFilter([], []).wants_file(path)
    assert not FileFilter(["**"], []).concerns(path)


@pytest.mark.parametrize("glob", ["/etc/*", "../*.pdf", "a/../../b", "~/x", "C:\\x", "..\\x", "", "  ", "a\0b"])
def test_globs_that_lead_out_are_told(glob: str) -> None:
    assert find_fault(glob)


@pytest.mark.parametrize("glob", ["/abs/*", "../*.pdf", "~/x"])
def test_a_glob_that_leads_out_is_named_with_what_is_right(glob: str) -> None:
    fault = find_fault(glob)
    assert fault is not None
    assert glob in fault
    assert "no '/' at the start, no '..'" in fault


@pytest.mark.parametrize("glob", ["report-[0-9", "[!a", "[]", "a/[b/c]", "[a][", "[!]"])
def test_an_open_bracket_is_told(glob: str) -> None:
    fault = find_fault(glob)
    assert fault is not None
    assert glob in fault


@pytest.mark.parametrize(
    "glob", ["*.pdf", "a/**", "[0-9].md", "[]].txt", "[!]a].txt", "[[].txt", "a].txt", "..a", "a..b/c"]
)
def test_globs_that_can_match_are_taken(glob: str) -> None:
    assert find_fault(glob) is None


def test_no_glob_takes_long() -> None:
    """A backtracking matcher would need more than the age of the universe."""
    glob = "/".join(["**", "*a*a*a*a*a*a*a*a*a*a*"] * 20) + "/b"
    assert not FileFilter([glob], []).wants_file("/".join(["a" * 100] * 60))
