"""Every command that a page shows is run as it stands there, on a real server, and does what the page says."""

import uuid
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from tests.console_blocks import Reader, ShownCommand, section, shown_commands
from tests.server_process import ServerProcess, free_port, running_server

DOCS = Path(__file__).parents[2] / "docs"
WITHOUT_REDIS = {"PERPLEX_QUEUE__EMBEDDED_REDIS": "false"}
HELP_WITH_DAMAGE = "Damage"
HELP_WITH_PASSWORDS = "A forgotten password"
WAY_BACK = "Going back"


def page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def reader_of(server: ServerProcess, folder: Path, places: dict[str, str] | None = None) -> Reader:
    return Reader(folder / "reader", server.data, server.port, places)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    with running_server(tmp_path, WITHOUT_REDIS) as started:
        started.wait_ready()
        yield started


def test_no_page_with_commands_is_left_out() -> None:
    here = {
        "api-rules.md",
        "api.md",
        "capacity.md",
        "configure.md",
        "install.md",
        "troubleshooting.md",
        "upgrade.md",
    }
    elsewhere = {"backup.md"}  # test_backup_commands.py
    shown = {path.name for path in DOCS.rglob("*.md") if shown_commands(path.read_text(encoding="utf-8"))}
    assert shown == here | elsewhere


FIRST, SECOND = "01a200aa-0000-7000-8000-000000000001", "01a200aa-0000-7000-8000-000000000002"


def console(*lines: str) -> str:
    return "\n".join(("```console", *lines, "```", ""))


@pytest.mark.parametrize(
    ("lines", "is_true"),
    [
        (("$ echo walrus and seal", "walrus...seal"), True),
        (("$ echo walrus and seal", "walrus...otter"), False),
        (("$ echo walrus and seal", "seal", "walrus"), False),
        (("$ false",), False),
        (("$ echo error: no walrus >&2; false", "error: no walrus"), True),
        (("$ echo error: no walrus", "error: no walrus"), False),
        (("$ cat ids", f"{FIRST} {SECOND} {FIRST}", f"$ grep {SECOND} second", SECOND), True),
        (("$ cat ids", f"{FIRST} {FIRST} {SECOND}"), False),
        (("$ cat ids", f"{FIRST} {SECOND}", "$ cat second", FIRST), False),
    ],
)
def test_a_page_that_says_otherwise_is_found(tmp_path: Path, lines: tuple[str, ...], is_true: bool) -> None:
    reader = Reader(tmp_path, tmp_path / "data", free_port())
    first, second = uuid.uuid4(), uuid.uuid4()
    (tmp_path / "ids").write_text(f"{first} {second} {first}\n")
    (tmp_path / "second").write_text(f"{second}\n")
    with nullcontext() if is_true else pytest.raises(AssertionError):
        reader.read(console(*lines))


def test_installing(server: ServerProcess, tmp_path: Path) -> None:
    reader_of(server, tmp_path).read(page("install.md"))


def test_configuring(server: ServerProcess, tmp_path: Path) -> None:
    reader_of(server, tmp_path).read(page("configure.md"))


def test_the_calls_of_the_api(tmp_path: Path) -> None:
    papers = tmp_path / "papers"
    papers.mkdir()
    with running_server(tmp_path, {**WITHOUT_REDIS, "PERPLEX_SOURCES__ROOTS": str(papers)}) as server:
        server.wait_ready()
        reader_of(server, tmp_path, {"/srv/papers": str(papers)}).read(page("api.md"))


def test_what_holds_for_every_call_of_the_api(server: ServerProcess, tmp_path: Path) -> None:
    reader_of(server, tmp_path).read(page("api-rules.md"))


def test_troubleshooting(server: ServerProcess, tmp_path: Path) -> None:
    whole = page("troubleshooting.md")
    damage, passwords = section(whole, HELP_WITH_DAMAGE), section(whole, HELP_WITH_PASSWORDS)
    reader = reader_of(server, tmp_path)
    reader.read(whole.replace(damage, "").replace(passwords, ""))
    assert server.stop() == 0
    reader.read(damage)
    reader.run(ShownCommand("echo 'a long walk along the canal' | perplex-mono user setup ada --password-file -", []))
    reader.read(passwords)


def test_upgrading(server: ServerProcess, tmp_path: Path) -> None:
    whole = page("upgrade.md")
    back = section(whole, WAY_BACK)
    reader = reader_of(server, tmp_path)
    reader.read(whole.replace(back, ""))
    assert server.stop() == 0
    reader.read(back)


def test_capacity(server: ServerProcess, tmp_path: Path) -> None:
    reader_of(server, tmp_path).read(page("capacity.md"))
