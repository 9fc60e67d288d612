"""Says which locked packages lack a ready-made wheel on a platform the product promises to install on.

Nothing is downloaded: pip's own package finder reads the index pages of whatever indexes this user's pip is configured
with. Its command line offers no such look-up for many packages at once, so this imports `pip._internal`, whose
finder has kept this shape from pip 23 to 26; a maintainer runs it after `make lock`, no build depends on it.
"""

import argparse
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from pip._internal.commands.download import DownloadCommand
from pip._internal.index.package_finder import PackageFinder
from pip._internal.models.target_python import TargetPython

ROOT = Path(__file__).resolve().parent.parent
RELEASES = ("3.11", "3.12", "3.13", "3.14")
LOCKS = {"cpu": ("cpu.txt", "torch.txt"), "cuda": ("cuda.txt", "torch.txt"), "dev": ("dev.txt",)}


class Platform(NamedTuple):
    """One kind of machine: its name, the wheel tags pip accepts there, and what environment markers see."""

    name: str
    tags: list[str]
    sys_platform: str
    machine: str


def glibc_tags(machine: str) -> list[str]:
    """Tags down from glibc 2.28, which Debian 10, Ubuntu 20.04 and RHEL 8 have."""
    return [f"manylinux_2_{minor}_{machine}" for minor in range(28, 4, -1)] + [f"manylinux2014_{machine}"]


PLATFORMS = (
    Platform("linux amd64", glibc_tags("x86_64"), "linux", "x86_64"),
    Platform("linux arm64", glibc_tags("aarch64"), "linux", "aarch64"),
    Platform("macOS 14 arm64", ["macosx_14_0_arm64"], "darwin", "arm64"),
)


def locked(names: tuple[str, ...]) -> Iterator[Requirement]:
    """The pins of the named lock files, with their markers."""
    for name in names:
        for line in (ROOT / "requirements" / name).read_text().splitlines():
            if line and not line.startswith(("#", " ")):
                yield Requirement(line.rstrip(" \\"))


def wanted(pin: Requirement, platform: Platform, release: str) -> bool:
    """Whether the lock installs this pin on that platform and Python."""
    if pin.marker is None:
        return True
    return pin.marker.evaluate(
        {
            "sys_platform": platform.sys_platform,
            "platform_system": {"linux": "Linux", "darwin": "Darwin"}[platform.sys_platform],
            "platform_machine": platform.machine,
            "platform_python_implementation": "CPython",
            "implementation_name": "cpython",
            "os_name": "posix",
            "python_version": release,
            "python_full_version": f"{release}.9",
        }
    )


def find_wheel(finder: PackageFinder, pin: Requirement) -> str | None:
    """The file pip would take for this pin, or None where only a source archive or nothing fits."""
    best = finder.find_best_candidate(pin.name, SpecifierSet(str(pin.specifier))).best_candidate
    return best.link.filename if best is not None and best.link.is_wheel else None


def missing(variants: list[str], command: DownloadCommand) -> Iterator[tuple[str, str]]:
    """A Python release and a sentence for each pin and platform without a wheel."""
    options, _ = command.parse_args(["--only-binary=:all:", "unused"])
    session = command.get_default_session(options)
    pins = {str(pin): pin for variant in variants for pin in locked(LOCKS[variant])}
    for platform in PLATFORMS:
        for release in RELEASES:
            major, minor = map(int, release.split("."))
            target = TargetPython(platforms=platform.tags, py_version_info=(major, minor), implementation="cp")
            finder = command._build_package_finder(options, session, target_python=target)
            absent = [p for p in pins.values() if wanted(p, platform, release) and find_wheel(finder, p) is None]
            for pin in absent:
                yield release, f"{pin.name}{pin.specifier} has no wheel for {platform.name}, Python {release}"
            report(f"{platform.name}, Python {release}: {len(pins)} pins looked at, {len(absent)} missing")


def report(line: str) -> None:
    """Prints a line at once, because a full run takes minutes."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> int:
    """Exit code 1 if a supported Python lacks a wheel; for newer Pythons it is only said."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("variants", nargs="*", metavar="cpu|cuda|dev", help="which locks; all by default")
    variants = parser.parse_args().variants or list(LOCKS)
    supported = SpecifierSet(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"])
    failures = 0
    command = DownloadCommand("download", "find wheels")
    with command.main_context():
        for release, sentence in missing(variants, command):
            failures += supported.contains(release)
            report(sentence)
    report(f"{failures} wheels missing for the supported Pythons ({supported})")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
