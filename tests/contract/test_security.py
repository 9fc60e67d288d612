"""docs/security.md cannot lie: each attack in it has a test, and each attack test a line."""

import re

from tests.system.attacks.table import BEGIN, END, ROOT, number_of, rows

PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
FOLDER = ROOT / "tests" / "system" / "attacks"


def _tests() -> dict[str, tuple[str, str]]:
    """Name and file of each attack test, by its number."""
    found = {}
    for path in sorted(FOLDER.glob("test_*.py")):
        for name in re.findall(r"^(?:async )?def (test_\w+)\(", path.read_text(encoding="utf-8"), flags=re.MULTILINE):
            number = number_of(name)
            assert number is not None, f"{name} in {path.name} has no number"
            assert number not in found, f"{number} is there twice"
            found[number] = (name, path.relative_to(ROOT).as_posix())
    return found


def test_every_attack_has_a_line_and_every_line_its_test() -> None:
    assert {number: (test, file) for number, _, _, test, file in rows(PAGE)} == _tests()


def test_no_line_of_the_table_is_overlooked() -> None:
    lines = [line for line in PAGE.splitlines() if re.match(r"\| *A\d", line)]
    numbers = [row[0] for row in rows(PAGE)]
    assert len(lines) == len(numbers)
    assert numbers == [f"A{number:02}" for number in range(1, len(numbers) + 1)]


def test_the_last_run_had_every_attack() -> None:
    told = PAGE[PAGE.index(BEGIN) : PAGE.index(END)]
    (counts,) = re.findall(r"(\d+) of (\d+) attacks held off", told)
    assert {int(count) for count in counts} == {len(rows(PAGE))}
