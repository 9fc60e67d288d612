"""kill -9 in the middle of a backup or a restore: there is a whole backup or none, the old library or the new one."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import httpx
import pytest

from tests.server_process import ServerProcess
from tests.system.faults.promises import require_sound, require_tidy
from tests.system.faults.samples import Sample, text_file
from tests.system.faults.table import FaultTable

OLD, NEW = text_file(1), text_file(2)


def upload(server: ServerProcess, sample: Sample) -> None:
    accepted = server.upload((sample.name, sample.content))
    assert server.wait_operation(accepted["operation_id"])["state"] == "completed"


def names_found(server: ServerProcess, sample: Sample) -> list[str]:
    return [hit["document"]["name"] for hit in server.search(sample.words[0], mode="sparse")["hits"]]


def back_up(server: ServerProcess) -> dict[str, str]:
    answer = httpx.post(f"{server.url}/api/v1/backups", json={}, timeout=60)
    assert answer.status_code == 202, answer.text
    accepted: dict[str, str] = answer.json()
    return accepted


def restore(server: ServerProcess, file: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    here: Mapping[str, str] = {**os.environ, "PERPLEX_DATA__DIRECTORY": str(server.data), **environment}
    command = [sys.executable, "-m", "perplex_mono", "restore", str(file), "--yes"]
    return subprocess.run(command, env=here, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("passage", [1, pytest.param(2, marks=pytest.mark.faults)])
def test_a_killed_backup_is_made_at_the_next_start(server: ServerProcess, faults: FaultTable, passage: int) -> None:
    fault = faults.fault("kill -9 during a backup")
    server.start(PERPLEX_FAILPOINT=f"mid_backup:{passage}")
    upload(server, OLD)
    accepted = back_up(server)
    assert server.wait_end() == -signal.SIGKILL
    folder = server.data / "backups"
    assert [path for path in folder.iterdir() if path.suffix == ".tar"] == []
    server.start()
    assert server.wait_operation(accepted["operation_id"])["state"] == "completed"
    assert [path.name for path in folder.iterdir()] == [f"perplex-{accepted['backup_id']}.tar"]
    server.wait_ready()
    fault.lost += names_found(server, OLD) != [OLD.name]
    fault.rounds += 1
    assert server.stop() == 0
    require_sound(server)
    require_tidy(server)
    assert fault.lost == 0


@pytest.mark.parametrize(("failpoint", "is_new"), [("before_restore_swap", False), ("mid_restore_swap", True)])
def test_a_killed_restore_leaves_the_old_library_or_the_new_one(
    server: ServerProcess, faults: FaultTable, tmp_path: Path, failpoint: str, is_new: bool
) -> None:
    """Up to the journal it is the old one; from there on whoever opens the directory first finishes the swap."""
    fault = faults.fault("kill -9 during a restore")
    server.start()
    upload(server, NEW)
    accepted = back_up(server)
    assert server.wait_operation(accepted["operation_id"])["state"] == "completed"
    made = server.data / "backups" / f"perplex-{accepted['backup_id']}.tar"
    [document] = server.documents()
    deleted = httpx.delete(f"{server.url}/api/v1/documents/{document['id']}", timeout=60).json()
    server.wait_operation(deleted["operation_id"])
    upload(server, OLD)
    assert server.stop() == 0

    assert restore(server, made, PERPLEX_FAILPOINT=failpoint).returncode == -signal.SIGKILL
    server.start()
    server.wait_ready()
    there, gone = (NEW, OLD) if is_new else (OLD, NEW)
    fault.lost += names_found(server, there) != [there.name]
    fault.lost += names_found(server, gone) != []
    fault.rounds += 1
    assert server.stop() == 0
    require_sound(server)
    assert [path.name for path in server.data.glob("rest*")] == []
    assert len(list(server.data.glob("before-restore-*"))) == is_new
    assert fault.lost == 0
