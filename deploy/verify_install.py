"""Checks an installation against the locks: `pip check` for an install that is exact on purpose.

pip's own check would object to one thing that is meant: `opencv-python-headless` stands in for `opencv-python`.
Run with the interpreter of the venv to check: `python deploy/verify_install.py cpu|cuda`.
"""

import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

LOCKS = Path(__file__).resolve().parent.parent / "requirements"
STAND_INS = {"opencv-python": "opencv-python-headless"}


def pins(variant: str) -> Iterator[Requirement]:
    """The lock's pins that apply to this interpreter and machine."""
    for name in (f"{variant}.txt", "torch.txt"):
        for line in (LOCKS / name).read_text().splitlines():
            if line and not line.startswith(("#", " ")):
                pin = Requirement(line.rstrip(" \\"))
                if pin.marker is None or pin.marker.evaluate():
                    yield pin


def installed() -> dict[str, str]:
    """Versions by canonical name."""
    return {canonicalize_name(found.name): found.version for found in metadata.distributions()}


def unlike_the_lock(variant: str, versions: dict[str, str]) -> Iterator[str]:
    """Pins that are absent or present in another version (`2.13.0+cpu` counts as `2.13.0`)."""
    for pin in pins(variant):
        version = versions.get(canonicalize_name(pin.name))
        if version is None:
            yield f"{pin} is locked but not installed"
        elif not pin.specifier.contains(version, prereleases=True):
            yield f"{pin} is locked but {version} is installed"


def unmet_needs(versions: dict[str, str]) -> Iterator[str]:
    """What installed packages ask for and do not get."""
    for found in metadata.distributions():
        for need in map(Requirement, found.requires or []):
            if need.marker is not None and not need.marker.evaluate({"extra": ""}):
                continue
            name = canonicalize_name(need.name)
            version = versions.get(STAND_INS.get(name, name))
            if version is None or not need.specifier.contains(version, prereleases=True):
                yield f"{found.name} needs {need}, found {version}"


def providers_of_cv2() -> list[str]:
    """Distributions that install the `cv2` module; two of them would overwrite each other's files."""
    return sorted(set(metadata.packages_distributions().get("cv2", [])))


def main() -> int:
    """Exit code 1 and one line for each difference."""
    versions = installed()
    problems = [*unlike_the_lock(sys.argv[1], versions), *unmet_needs(versions)]
    if providers_of_cv2() != ["opencv-python-headless"]:
        problems.append(f"cv2 comes from {providers_of_cv2()}, wanted opencv-python-headless alone")
    sys.stderr.writelines(f"{problem}\n" for problem in problems)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
