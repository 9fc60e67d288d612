"""One process per data directory: the second is refused and told which process has it."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from perplex_mono.errors import Conflict
from perplex_mono.storage.data_directory import DataDirectory

TRY_TO_OPEN = """
import sys
from pathlib import Path
from perplex_mono.errors import Conflict
from perplex_mono.storage.data_directory import DataDirectory
try:
    DataDirectory(Path(sys.argv[1])).open()
except Conflict as conflict:
    print(conflict)
    sys.exit(3)
"""


def open_elsewhere(path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", TRY_TO_OPEN, str(path)], capture_output=True, text=True, timeout=60)


def test_a_second_process_is_refused_and_told_who_has_it(tmp_path: Path) -> None:
    directory = DataDirectory(tmp_path / "data").open()
    second = open_elsewhere(tmp_path / "data")
    assert second.returncode == 3, second.stderr
    assert f"(pid {os.getpid()})" in second.stdout
    assert str(tmp_path / "data") in second.stdout
    directory.close()
    assert open_elsewhere(tmp_path / "data").returncode == 0


def test_the_refused_one_leaves_the_lock_as_it_was(tmp_path: Path) -> None:
    directory = DataDirectory(tmp_path).open()
    for _ in range(2):
        with pytest.raises(Conflict, match=str(os.getpid())):
            DataDirectory(tmp_path).open()
    directory.close()
    DataDirectory(tmp_path).open().close()


def test_the_end_of_a_process_frees_its_directory(tmp_path: Path) -> None:
    code = f"{TRY_TO_OPEN}\nimport os, signal\nos.kill(os.getpid(), signal.SIGKILL)"
    killed = subprocess.run([sys.executable, "-c", code, str(tmp_path)], timeout=60)
    assert killed.returncode == -9
    DataDirectory(tmp_path).open().close()


def test_the_directory_is_private(tmp_path: Path) -> None:
    directory = DataDirectory(tmp_path / "data").open()
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700
    directory.close()
    directory.close()


def test_a_folder_that_was_open_to_others_is_closed_to_them(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.mkdir()
    path.chmod(0o755)
    directory = DataDirectory(path).open()
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    directory.close()
