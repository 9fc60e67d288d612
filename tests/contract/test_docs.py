"""The pages in docs/ cannot lie: their links lead somewhere, and what they name, quote or count is the product's."""

import ast
import re
import shlex
from functools import cache
from pathlib import Path
from typing import get_args

import click
import pytest

from perplex_mono.cli.main import cli
from perplex_mono.errors import FailureCode
from perplex_mono.settings import Settings, load_settings, setting_names
from perplex_mono.web import sockets
from tests.console_blocks import section
from tests.contract.test_readme import is_answered

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
SOURCES = sorted((ROOT / "src").rglob("*.py"))
PAGES = sorted(DOCS.glob("*.md"))
EVERY_PAGE = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)

SHELL_PROGRAMS = {"export", "install", "mv", "sed", "sha256sum", "umask"}
MONITORING_PROGRAMS = {"amtool", "prometheus", "prometheus-alertmanager", "promtool"}
SYSTEM_PROGRAMS = SHELL_PROGRAMS | MONITORING_PROGRAMS | {"docker", "git", "kubectl", "make", "openssl"}
"""What `sh` blocks may call, for no test can run it as it stands there; our own, too, where it asks for a password or
works in a folder of the system's. All else is `console`, which is run."""
# Lines of `sh` blocks that other tests type; all others are below.
TYPED_PARTS = {
    "backup.md": ("In a container", "On Kubernetes"),  # test_container_backup.py
    "monitoring.md": ("Without containers", "After an edit"),  # test_monitoring_page.py, test_alert_rules.py
}
TYPED_WORDS = ("user setup", "openssl rand")  # test_closed_server.py, test_monitoring_page.py
NOT_TYPED = {
    # a container engine and a registry
    "TORCH_INDEX=ADDRESS docker compose up --detach",
    "docker build --build-arg TORCH_INDEX=ADDRESS --tag perplex-mono .",
    "docker compose --profile monitoring up --detach",
    "docker compose -f compose.yaml -f mine.yaml up --detach",
    "docker compose build --pull",
    "docker compose logs perplex",
    "docker compose up --detach",
    "docker load --input perplex-mono.tar",
    "docker save --output perplex-mono.tar perplex-mono",
    # a cluster
    "kubectl apply --kustomize deploy/kubernetes",
    # what the tests themselves run in, and where it came from
    'export PATH="$PWD/.venv/bin:$PATH"',
    "git pull",
    "make clean",
}
"""Lines that no test types: each needs what is not there where the tests run."""
OTHER_VARIABLES = {"PERPLEX_API_KEY", "PERPLEX_API_KEY_FILE", "PERPLEX_CPUS", "PERPLEX_MEMORY"}
MIN_QUOTED_CHARS = 4


def blocks(text: str) -> list[tuple[str, str]]:
    """Language and content of each block of code."""
    return re.findall(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def inline_code(text: str) -> list[str]:
    """What stands between backticks in running text and tables; a line may end within."""
    running = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    return [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", running)]


def rows(text: str) -> list[list[str]]:
    """The cells of every row of every table, headings included."""
    lines = [line for line in text.splitlines() if line.startswith("|") and not line.startswith("|---")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip("|"))] for line in lines]


def slugs(page: Path) -> set[str]:
    """The names by which the headings of a page are linked to."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\s-]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def links(page: Path) -> list[tuple[Path, str]]:
    """Every place inside the project that the page links to, with the heading."""
    targets = re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
    places = [target.partition("#") for target in targets if "://" not in target]
    return [((page.parent / path).resolve() if path else page, heading) for path, _, heading in places]


@cache
def texts_of_sources() -> list[str]:
    """For each module all texts in it, those with values in them with a mark where the values stand."""
    found = []
    for path in SOURCES:
        texts = []
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(node.value)
            elif isinstance(node, ast.JoinedStr):
                parts = (part.value if isinstance(part, ast.Constant) else "\0" for part in node.values)
                texts.append("".join(str(part) for part in parts))
        found.append("\n".join(texts))
    return [*found, (ROOT / "deploy" / "install.sh").read_text(encoding="utf-8")]


def is_said(message: str) -> bool:
    """Whether some module has all parts of the message; `...` stands for what is different each time."""
    parts = [part.strip(" '\"`.,;:()") for part in message.split("...")]
    told = [part for part in parts if len(part) >= MIN_QUOTED_CHARS]
    return bool(told) and any(all(part in text for part in told) for text in texts_of_sources())


@EVERY_PAGE
def test_every_link_leads_somewhere(page: Path) -> None:
    for target, heading in links(page):
        assert target.exists(), target
        assert not heading or heading in slugs(target), f"{target.name}#{heading}"


def test_every_page_is_found_from_the_table_of_contents() -> None:
    start = DOCS / "README.md"
    assert any(target == start for target, _ in links(ROOT / "README.md"))
    seen, waiting = {start}, [start]
    while waiting:
        for target, _ in links(waiting.pop()):
            if target in PAGES and target not in seen:
                seen.add(target)
                waiting.append(target)
    assert seen == set(PAGES)
    assert {target for target, _ in links(start)} >= set(PAGES) - {start}


@EVERY_PAGE
def test_every_block_says_what_it_is(page: Path) -> None:
    assert {language for language, _ in blocks(page.read_text(encoding="utf-8"))} <= {"console", "python", "sh", "toml"}


def test_only_what_no_test_can_run_is_not_run() -> None:
    called = set[str]()
    for page in PAGES:
        for language, content in blocks(page.read_text(encoding="utf-8")):
            if language == "sh":
                typed = re.sub(r"'[^']*'", "", content.replace("\\\n", " "))  # what is quoted is run by what is called
                commands = re.split(r"[;\n]|&&|\|", typed)
                words = [re.sub(r"^(\w+=\S+ )+", "", command.strip(" ()")).split() for command in commands]
                called |= {word[0] for word in words if word}
    assert called
    assert called <= SYSTEM_PROGRAMS | {"perplex-mono"}


def test_every_line_that_no_test_types_is_written_here() -> None:
    found = set[str]()
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for heading in TYPED_PARTS.get(page.name, ()):
            part = re.search(rf"^### {heading}\n.*?(?=^##|\Z)", text, re.DOTALL | re.MULTILINE)
            assert part, heading
            text = text.replace(part[0], "")
        typed = "".join(content for language, content in blocks(text) if language == "sh").replace("\\\n", " ")
        lines = typed.splitlines()
        found |= {line for line in lines if not any(words in line for words in TYPED_WORDS)}
    assert found - {"make serve"} == NOT_TYPED, "`make serve` is run by test_make_serve.py"


@EVERY_PAGE
def test_every_configuration_shown_can_be_loaded(page: Path, tmp_path: Path) -> None:
    for number, (language, content) in enumerate(blocks(page.read_text(encoding="utf-8"))):
        if language == "toml":
            file = tmp_path / f"{number}.toml"
            file.write_text(content)
            assert load_settings(file, {}) != Settings()


@EVERY_PAGE
def test_every_setting_named_exists(page: Path) -> None:
    sections = "|".join(Settings.__struct_fields__)
    for code in inline_code(page.read_text(encoding="utf-8")):
        named = re.match(rf"((?:{sections})\.[a-z_]+)( = .+)?$", code)
        if named is not None and named[1] not in setting_names():
            assert is_said(named[1]), f"{named[1]} is neither a setting nor an event or a span"


@EVERY_PAGE
def test_every_variable_named_exists(page: Path) -> None:
    known = {f"PERPLEX_{name.replace('.', '__').upper()}" for name in setting_names()} | OTHER_VARIABLES
    text = re.sub(r"^```console\n.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    for variable in re.findall(r"\bPERPLEX_\w+", text):
        assert {variable, variable.removesuffix("_FILE")} & known, variable


@EVERY_PAGE
def test_every_command_named_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    typed = [line.strip().removeprefix("$ ") for _, content in blocks(text) for line in content.splitlines()]
    for code in [*inline_code(text), *typed]:
        for words in re.findall(r"(?:^|[|(] *|\w=\S+ )perplex-mono ([^|>\n]+)", code):
            _require_known_command(shlex.split(words.rstrip("\\")))


def _require_known_command(words: list[str]) -> None:
    command: click.Command = cli
    while isinstance(command, click.Group):
        while words and words[0].startswith("--"):
            words = words[1:] if words[0] in ("--version", "--help") else words[2:]
        if not words or words[0] == "...":
            return
        assert words[0] in command.commands, f"{command.name} has no {words[0]}"
        command, words = command.commands[words[0]], words[1:]
    known = {name for option in command.params for name in (*option.opts, *option.secondary_opts)} | {"--help"}
    assert {word for word in words if re.match(r"--?[a-z]", word)} <= known, (command.name, words)


@EVERY_PAGE
def test_every_call_named_exists(page: Path) -> None:
    for code in inline_code(page.read_text(encoding="utf-8")):
        for path in re.findall(r"(?<![\w.])(/(?:api/v1|ws)/[\w/{}-]*)", code):
            assert is_answered(path), path


@pytest.mark.parametrize("name", ["backup.md", "troubleshooting.md"])
def test_every_message_quoted_is_said_somewhere(name: str) -> None:
    text = (DOCS / name).read_text(encoding="utf-8")
    quoted = [
        code
        for table in re.split(r"\n(?!\|)", text)
        if "| what you see |" in table
        for row in rows(table)
        for code in re.findall(r"`([^`]+)`", row[0])
    ]
    assert len(quoted) > 3
    assert [message for message in quoted if not is_said(message)] == []


def test_every_reason_why_a_document_failed_is_explained() -> None:
    helped = section((DOCS / "troubleshooting.md").read_text(encoding="utf-8"), "A document failed")
    assert [row[0].strip("`") for row in rows(helped)[1:]] == list(get_args(FailureCode))


def test_every_problem_is_listed_with_its_status() -> None:
    sources = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "src/perplex_mono/web").glob("*.py"))
    raised = {(slug, status) for status, slug in re.findall(r'\b([45]\d\d)[,:] "([a-z-]+)"', sources)}
    listed = section((DOCS / "api-rules.md").read_text(encoding="utf-8"), "Problems")
    assert {(slug, row[1]) for row in rows(listed)[1:] for slug in re.findall(r"/problems/([a-z-]+)", row[0])} == raised


def test_every_way_a_feed_is_closed_is_listed() -> None:
    codes = {str(value) for name, value in vars(sockets).items() if re.fullmatch(r"CLOSE_(?!TIMEOUT)[A-Z_]+", name)}
    listed = section((DOCS / "api.md").read_text(encoding="utf-8"), "Follow the progress")
    assert {row[0] for row in rows(listed)[1:]} == codes


def test_every_figure_of_the_capacity_stands_on_the_page_it_is_from() -> None:
    measured = [row for row in rows((DOCS / "capacity.md").read_text(encoding="utf-8")) if len(row) == 3]
    measured = [row for row in measured if "](" in row[2]]
    assert len(measured) > 20
    for what, figure, source in measured:
        linked = re.findall(r"\]\(([^)#]+)\)", source)[0]
        known = (DOCS / linked).read_text(encoding="utf-8").replace(",", "")
        for number in re.findall(r"\d[\d.]*", f"{what} {figure}".replace(",", "")):
            assert re.search(rf"(?<![\d.]){re.escape(number)}(?!\d)", known), f"{number} is not in {linked}"
