"""What the locks, the build and the Makefile promise to whoever installs the product."""

import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
REQUIREMENTS = ROOT / "requirements"
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
VARIANTS = ["cpu", "cuda"]
HASHED_LOCKS = [*VARIANTS, "dev", "build", "lock"]


def locked_lines(lock: str) -> Iterator[str]:
    """One logical line for each pin of a lock, hashes included."""
    text = (REQUIREMENTS / f"{lock}.txt").read_text().replace("\\\n", " ")
    return (line for line in text.splitlines() if line.strip() and not line.startswith("#"))


def pins(lock: str) -> dict[str, str]:
    """Versions by canonical name; one version of a package for every platform and Python."""
    found: dict[str, str] = {}
    for line in locked_lines(lock):
        pin = Requirement(line.split(" --hash")[0])
        (specifier,) = pin.specifier
        assert specifier.operator == "==", line
        assert found.setdefault(canonicalize_name(pin.name), specifier.version) == specifier.version, line
    return found


def direct_dependencies() -> list[Requirement]:
    extras = PROJECT["project"]["optional-dependencies"].values()
    return [
        Requirement(text) for text in [*PROJECT["project"]["dependencies"], *(d for extra in extras for d in extra)]
    ]


def tool_dependencies() -> dict[str, list[Requirement]]:
    groups = PROJECT["dependency-groups"]
    return {name: [Requirement(text) for text in group if isinstance(text, str)] for name, group in groups.items()}


@pytest.mark.parametrize(
    "dependency", [*direct_dependencies(), *(d for group in tool_dependencies().values() for d in group)], ids=str
)
def test_every_direct_dependency_is_bounded_above_and_below(dependency: Requirement) -> None:
    operators = {specifier.operator for specifier in dependency.specifier}
    assert operators == {"=="} or operators == {">=", "<"}


@pytest.mark.parametrize("variant", VARIANTS)
def test_locks_hold_every_direct_dependency_within_its_bounds(variant: str) -> None:
    locked = {**pins(variant), **pins("torch")}
    for dependency in direct_dependencies():
        assert dependency.specifier.contains(locked[canonicalize_name(dependency.name)]), dependency


@pytest.mark.parametrize("group", ["build", "dev", "lock"])
def test_locks_hold_every_tool_within_its_bounds(group: str) -> None:
    locked = pins(group)
    for dependency in tool_dependencies()[group]:
        assert dependency.specifier.contains(locked[canonicalize_name(dependency.name)]), dependency


@pytest.mark.parametrize("lock", HASHED_LOCKS)
def test_every_pin_but_torch_has_hashes(lock: str) -> None:
    assert [line for line in locked_lines(lock) if "--hash=sha256:" not in line] == []
    assert "torch" not in pins(lock)


@pytest.mark.parametrize("lock", [*HASHED_LOCKS, "torch"])
def test_locks_name_no_package_index(lock: str) -> None:
    assert [line for line in locked_lines(lock) if "://" in line or line.startswith("-")] == []


def test_locks_agree_on_packages_they_share() -> None:
    cpu = pins("cpu")
    for other in ["cuda", "dev", "build"]:
        shared = {name: version for name, version in pins(other).items() if name in cpu}
        assert shared == {name: cpu[name] for name in shared}, other


def test_only_the_cuda_lock_holds_cuda() -> None:
    def of_cuda(lock: str) -> list[str]:
        return [name for name in pins(lock) if name.startswith(("nvidia-", "cuda-", "triton"))]

    assert of_cuda("cpu") == []
    assert len(of_cuda("cuda")) > 10


@pytest.mark.parametrize("variant", VARIANTS)
def test_locks_hold_one_headless_opencv_and_both_ocr_engines(variant: str) -> None:
    locked = pins(variant)
    assert {name for name in locked if "opencv" in name} == {"opencv-python-headless"}
    assert {"rapidocr", "rapidocr-onnxruntime"} <= locked.keys()


def test_installed_cv2_comes_from_one_distribution_and_has_no_windows() -> None:
    import cv2

    assert set(metadata.packages_distributions()["cv2"]) == {"opencv-python-headless"}
    assert re.search(r"GUI:\s+NONE", cv2.getBuildInformation())


def test_installed_packages_are_the_locked_ones() -> None:
    needs_cuda = any(need.startswith("nvidia-") for need in metadata.requires("torch") or [])
    variant = "cuda" if needs_cuda and sys.platform == "linux" else "cpu"
    check = subprocess.run(
        [sys.executable, ROOT / "deploy/verify_install.py", variant], capture_output=True, text=True, check=False
    )
    assert (check.returncode, check.stderr) == (0, "")


def test_wheel_carries_migrations_typing_marker_licence_and_command(tmp_path: Path) -> None:
    build: list[str | Path] = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "--wheel-dir",
        tmp_path,
        ROOT,
    ]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("perplex_mono-*-py3-none-any.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (entry_points,) = (name for name in names if name.endswith("entry_points.txt"))
        commands = archive.read(entry_points).decode()
    source = {path.relative_to(ROOT / "migrations") for path in (ROOT / "migrations").rglob("*.py")}
    assert {f"perplex_mono/_migrations/{path.as_posix()}" for path in source} <= names
    assert Path("env.py") in source
    assert "perplex_mono/_config.toml" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert "perplex-mono = perplex_mono.__main__:main" in commands


def test_make_help_names_every_target_and_each_can_be_planned() -> None:
    shown = subprocess.run(["make", "help"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    targets = re.findall(r"^  make (\S+)", shown, flags=re.MULTILINE)
    phony = re.search(r"^\.PHONY: help (.*)$", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    assert phony is not None
    assert sorted(targets) == sorted(["help", *phony[1].split()])
    for target in targets:
        subprocess.run(["make", "--dry-run", target], cwd=ROOT, check=True, capture_output=True)


@pytest.mark.parametrize(("arguments", "torch"), [(["runtime"], "tpu"), (["everything"], "cpu")])
def test_install_script_refuses_what_it_does_not_know(tmp_path: Path, arguments: list[str], torch: str) -> None:
    script = ROOT / "deploy/install.sh"
    environment = {"PATH": "/usr/bin:/bin", "TORCH": torch, "PYTHON": sys.executable}
    refusal = subprocess.run([script, tmp_path / "venv", *arguments], env=environment, capture_output=True, text=True)
    assert refusal.returncode == 2
    assert torch in refusal.stderr or "everything" in refusal.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have one build of torch")
@pytest.mark.parametrize(
    ("torch", "found", "is_told"), [("cpu", "cuda", True), ("cpu", "cpu", False), ("cuda", "cuda", False)]
)
def test_whoever_asked_for_the_cpu_build_and_got_cuda_reads_so_last(
    tmp_path: Path, torch: str, found: str, is_told: bool
) -> None:
    programs = tmp_path / "venv" / "bin"
    programs.mkdir(parents=True)
    refuses_cpu_build = 'case "$*" in *+cpu*) exit 1 ;; esac' if found == "cuda" else ""
    stand_in = f'#!/bin/sh\n{refuses_cpu_build}\ncase "$*" in *requires*) echo {found} ;; esac\n'
    for name in ("python", "pip"):
        (programs / name).write_text(stand_in)
        (programs / name).chmod(0o700)
    environment = {"PATH": "/usr/bin:/bin", "TORCH": torch}
    command: list[str | Path] = [ROOT / "deploy/install.sh", tmp_path / "venv", "runtime"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert ("TORCH=cpu was asked for" in done.stderr) == is_told
    assert ("TORCH_INDEX=ADDRESS" in " ".join(done.stderr.splitlines()[-3:])) == is_told


def test_install_script_names_what_to_install_where_python_is_too_old(tmp_path: Path) -> None:
    environment = {"PATH": "/usr/bin:/bin", "PYTHON": "/bin/false"}
    refusal = subprocess.run(
        [ROOT / "deploy/install.sh", tmp_path / "venv", "runtime"], env=environment, capture_output=True, text=True
    )
    assert refusal.returncode == 1
    assert "Python from 3.11" in refusal.stderr
    assert not (tmp_path / "venv").exists()
