"""Prints what goes into the image, layer by layer, as a registry would store it, and ends with 1 if that is too much.

No container engine is needed: the packages of an installed virtual environment are trimmed as the Dockerfile does and
compressed with gzip, as layers are. Run with the interpreter of an environment that holds the CPU build, which may
hold development tools too: only what `requirements/cpu.txt` locks is counted.
"""

import argparse
import gzip
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
BUDGET_BYTES = 1_500_000_000
# Not measured here, since they are not in the environment: the base image's layers as their registry states them, and
# the layer with redis-server as it was once built (docs/decisions/006-install-and-locks.md), both rounded up.
ALLOWANCES = {"python:3.11-slim-bookworm": 50_000_000, "apt: redis-server": 3_000_000}
SHOWN_PACKAGES = 12
READ_BYTES = 1 << 20
LEVEL = 6  # gzip's own, and that of container engines


class Size(NamedTuple):
    """Bytes on disk and in the registry."""

    plain: int
    compressed: int


def locked_names() -> set[str]:
    """Canonical names of what the CPU image installs, the product itself included."""
    names = {"perplex-mono"}
    for lock in ("cpu.txt", "torch.txt"):
        names.update(re.findall(r"^([\w.-]+)==", (ROOT / "requirements" / lock).read_text(), flags=re.MULTILINE))
    return {canonicalize_name(name) for name in names}


def copy_runtime(names: set[str], venv: Path) -> dict[str, list[Path]]:
    """Hard links of the named distributions' files below `venv`; the files by distribution."""
    target = venv / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    copied: dict[str, list[Path]] = {}
    for found in metadata.distributions():
        name = canonicalize_name(found.name)
        if name not in names or name in copied:
            continue
        copied[name] = []
        for file in found.files or []:
            source = Path(str(file.locate())).resolve()
            if ".." in file.parts or not source.is_file():
                continue  # programs in bin/, a few kilobytes
            link = target / file
            link.parent.mkdir(parents=True, exist_ok=True)
            if not link.exists():
                link_or_copy(source, link)
            copied[name].append(link)
    return copied


def link_or_copy(source: Path, target: Path) -> None:
    """A hard link where the file system has them across these folders."""
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copyfile(source, target)


class Counter:
    """A file that only counts what is written to it."""

    def __init__(self) -> None:
        self.bytes = 0

    def write(self, data: bytes) -> int:
        """Count the bytes."""
        self.bytes += len(data)
        return len(data)

    def flush(self) -> None:
        """Nothing is held back."""


def measure(files: list[Path]) -> Size:
    """The files that are still there, one after the other in one stream."""
    plain, counter = 0, Counter()
    with gzip.GzipFile(fileobj=counter, mode="wb", compresslevel=LEVEL) as stream:
        for file in sorted(set(files)):
            if not file.is_file():
                continue
            with file.open("rb") as opened:
                while block := opened.read(READ_BYTES):
                    plain += len(block)
                    stream.write(block)
    return Size(plain, counter.bytes)


def layers(names: set[str]) -> Iterator[tuple[str, Size]]:
    """What the environment's layer consists of, by distribution, the largest first."""
    with tempfile.TemporaryDirectory() as folder:
        copied = copy_runtime(names, Path(folder))
        subprocess.run([ROOT / "deploy/trim.sh", folder], check=True, capture_output=True)  # noqa: S603 - our own script
        sizes = {name: measure(files) for name, files in copied.items()}
    yield from sorted(sizes.items(), key=lambda item: -item[1].compressed)


def report(name: str, size: Size | int) -> None:
    """One line, megabytes to the right."""
    plain, compressed = (f"{size.plain / 1e6:10.1f}", size.compressed) if isinstance(size, Size) else (" " * 10, size)
    sys.stdout.write(f"{name:<42}{plain}{compressed / 1e6:12.1f}\n")


def main() -> int:
    """Exit code 1 when the image would be larger than its budget."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "packages", nargs="*", metavar="PACKAGE", help="count these alone; all that are locked by default"
    )
    parser.add_argument("--budget", type=float, default=BUDGET_BYTES / 1e6, metavar="MB", help="compressed, of it all")
    given = parser.parse_args()
    names = {canonicalize_name(name) for name in given.packages} or locked_names()
    budget = given.budget * 1e6
    sys.stdout.write(f"{'layer':<42}{'MB on disk':>10}{'compressed':>12}\n")
    for name, size in ALLOWANCES.items():
        report(f"{name} (allowance)", size)
    packages = list(layers(names))
    environment = Size(sum(size.plain for _, size in packages), sum(size.compressed for _, size in packages))
    report("/opt/perplex, of which", environment)
    for name, size in packages[:SHOWN_PACKAGES]:
        report(f"  {name}", size)
    if rest := packages[SHOWN_PACKAGES:]:
        report(f"  {len(rest)} more", Size(sum(s.plain for _, s in rest), sum(s.compressed for _, s in rest)))
    total = sum(ALLOWANCES.values()) + environment.compressed
    report("in all", total)
    sys.stdout.write(f"budget: {budget / 1e6:.0f} MB, {'kept' if total <= budget else 'EXCEEDED'}\n")
    return 0 if total <= budget else 1


if __name__ == "__main__":
    sys.exit(main())
