"""The README cannot lie: its settings, commands, calls and paths are those of the product."""

import re
import tomllib
from pathlib import Path

from perplex_mono.app import ROUTES
from perplex_mono.cli.main import cli
from perplex_mono.library.media_types import SUPPORTED

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def table_after(heading: str) -> list[list[str]]:
    """The cells of the first table below a heading, without its header."""
    section = README.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows[2:]]


def test_every_setting_is_in_the_table_with_its_default() -> None:
    defaults = {
        f"{section}.{key}": value
        for section, table in tomllib.loads((ROOT / "config.toml").read_text(encoding="utf-8")).items()
        for key, value in table.items()
    }
    shown = {
        row[0].strip("`"): tomllib.loads(f"value = {row[1].strip('`')}")["value"] for row in table_after("Settings")
    }
    assert shown == defaults
    assert all(row[2] for row in table_after("Settings"))


def test_every_command_is_described_and_exists() -> None:
    described = {row[0].strip("`").split()[1] for row in table_after("The command line")}
    assert described == set(cli.commands)


def test_every_call_exists() -> None:
    for row in table_after("The HTTP API"):
        for path in re.findall(r"(/[a-z][\w/{}-]*)", row[0]):
            assert is_answered(path), path


def test_every_format_is_named() -> None:
    named = README.split("## What it reads", 1)[1].split("\n## ", 1)[0].lower()
    names = {"markdown": "text/markdown", "plain text": "text/plain", "json lines": "jsonl"}
    for media_type, known in SUPPORTED.items():
        extensions = [extension.lstrip(".") for extension in known.extensions]
        words = [*extensions, *(name for name, kind in names.items() if kind in (media_type, *extensions))]
        assert any(re.search(rf"\b{re.escape(word)}\b", named) for word in words), media_type


def test_every_link_leads_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


def is_answered(path: str) -> bool:
    """Whether there is a route for the path, whatever the names of its parameters."""
    known = {f"{getattr(route, 'path', '')}" for route in ROUTES} | {path for item in ROUTES for path in _paths(item)}
    pattern = re.sub(r"\\\{\w+\\\}", r"\\{[\\w:]+\\}", re.escape(path))
    return any(re.fullmatch(pattern, route) for route in known)


def _paths(handler: object) -> set[str]:
    """Full paths of a handler or of all handlers of a controller."""
    base = getattr(handler, "path", "") or ""
    found: set[str] = set(getattr(handler, "paths", ()))
    if isinstance(handler, type):
        for member in vars(handler).values():
            for path in getattr(member, "paths", ()):
                found.add((base + path).rstrip("/") if path != "/" else base)
    return found
