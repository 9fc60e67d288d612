"""Attacks by what lies on the machine: models that are programs, forged jobs, links, and other users who look."""

import json
import os
import pickle
import stat
import time
from collections.abc import Mapping
from pathlib import Path

import httpx
import psutil
import pytest
from redis import Redis
from redis.exceptions import RedisError

from perplex_mono.storage.queue import QUEUE_NAME
from tests.server_process import ServerProcess
from tests.system.attacks.hostile_client import require_problem

WAIT_SECONDS = 30.0


class _Touch:
    """Makes a file where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, int]]:
        return os.open, (str(self.path), os.O_CREAT)


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The one folder that may be followed."""
    return tmp_path_factory.mktemp("sources")


@pytest.fixture(scope="module")
def settings(sources: Path) -> Mapping[str, str]:
    """With a queue, and a folder to follow."""
    return {"PERPLEX_QUEUE__EMBEDDED_REDIS": "true", "PERPLEX_SOURCES__ROOTS": str(sources)}


def _redis_socket(server: ServerProcess) -> Path:
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        for child in psutil.Process(server.pid).children(recursive=True):
            for connection in child.net_connections("unix"):
                if str(connection.laddr).endswith("redis.sock"):
                    return Path(str(connection.laddr))
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a74_models_that_are_programs_are_never_opened(server: ServerProcess, tmp_path: Path) -> None:
    server.wait_ready()
    marker = tmp_path / "unpickled"
    for name in ("pytorch_model.bin", "model.pt", "model.ckpt"):
        folder = tmp_path / name.replace(".", "-")
        folder.mkdir()
        (folder / "config.json").write_text("{}")
        (folder / "tokenizer.json").write_text("{}")
        (folder / name).write_bytes(pickle.dumps(_Touch(marker)))
        answer = httpx.post(f"{server.url}/api/v1/collections/default/reindex", json={"model": str(folder)}, timeout=60)
        assert "safetensors" in require_problem(answer, 400)["detail"]
    own_code = tmp_path / "own-code"
    own_code.mkdir()
    (own_code / "modules.json").write_text(json.dumps([{"type": "os.system", "path": "."}]))
    answer = httpx.post(f"{server.url}/api/v1/collections/default/reindex", json={"model": str(own_code)}, timeout=60)
    require_problem(answer, 400)
    assert not marker.exists()


def test_a75_jobs_that_somebody_forged_do_nothing(server: ServerProcess, tmp_path: Path) -> None:
    marker = tmp_path / "unpickled"
    forged = [
        pickle.dumps(_Touch(marker)),
        pickle.dumps({"f": "pick_up", "a": (_Touch(marker),), "k": {}, "t": 1, "et": 1}),
        json.dumps({"f": "os.system", "a": [f"touch {marker}"], "k": {}, "t": None, "et": 1}).encode(),
        json.dumps({"f": "pick_up", "a": ["../../etc"], "k": {}, "t": None, "et": 1}).encode(),
        b"\xff" * 100_000,
        b"[" * 100_000,
    ]
    redis = Redis(unix_socket_path=str(_redis_socket(server)))
    for number, job in enumerate(forged):
        redis.psetex(f"arq:job:forged-{number}", 60_000, job)
        redis.zadd(QUEUE_NAME, {f"forged-{number}": int(time.time() * 1000)})
    deadline = time.monotonic() + WAIT_SECONDS
    while redis.zcard(QUEUE_NAME):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert not marker.exists()
    accepted = server.upload(("after.txt", b"words after the forged jobs"))
    assert server.wait_operation(accepted["operation_id"])["state"] == "completed"


def test_a76_the_queue_is_private_and_does_only_what_a_queue_needs(server: ServerProcess) -> None:
    path = _redis_socket(server)
    assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    redis = Redis(unix_socket_path=str(path))
    commands = (
        ("CONFIG", "SET", "dir", "/tmp"),
        ("EVAL", "return 1", 0),
        ("FLUSHALL",),
        ("MODULE", "LIST"),
        ("SHUTDOWN",),
    )
    for command in (*commands, ("SLAVEOF", "127.0.0.1", 1), ("SET", "elsewhere", "x"), ("DEBUG", "SLEEP", 60)):
        with pytest.raises(RedisError):
            redis.execute_command(*command)  # type: ignore[no-untyped-call]
    for child in psutil.Process(server.pid).children(recursive=True):
        assert child.net_connections("inet") == []


def test_a77_other_users_of_the_machine_read_nothing(tmp_path: Path, server: ServerProcess) -> None:
    folder = tmp_path / "open"
    (folder / "data").mkdir(parents=True, mode=0o755)
    other = ServerProcess(folder, {"PERPLEX_QUEUE__EMBEDDED_REDIS": "false", "PERPLEX_OCR__ENGINE": "none"})
    other.start()
    try:
        assert stat.S_IMODE(other.data.stat().st_mode) == 0o700
    finally:
        other.stop()


def test_a78_links_in_a_followed_folder_lead_nowhere(server: ServerProcess, sources: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.txt").write_text("the secret of the outside folder")
    followed = sources / "papers"
    followed.mkdir()
    (followed / "plain.txt").write_text("plain words of a plain file")
    (followed / "file-link.txt").symlink_to(outside / "secret.txt")
    (followed / "folder-link").symlink_to(outside)
    (followed / "circle").symlink_to(followed)
    (followed / "device.txt").symlink_to("/dev/zero")
    os.mkfifo(followed / "pipe.txt")
    (sources / "escape").symlink_to(outside)
    own = f"{server.url}/api/v1/collections/default/sources"
    for folder in (
        "/etc",
        str(outside),
        str(sources / "escape"),
        f"{sources}/papers/../../outside",
        "papers",
        str(server.data),
    ):
        require_problem(httpx.post(own, json={"directory": folder}, timeout=60), 400, 404)
    made = httpx.post(own, json={"directory": str(followed), "watch": False}, timeout=60).json()
    scan = httpx.post(f"{own}/{made['id']}/scan", timeout=30).json()
    assert server.wait_operation(scan["operation_id"])["state"] == "completed"
    listed = {item["path"]: item for item in httpx.get(f"{own}/{made['id']}/files", timeout=60).json()["items"]}
    assert listed["plain.txt"]["document_id"]
    assert not any(item["document_id"] for path, item in listed.items() if path != "plain.txt")


def test_a79_answers_and_health_name_no_place_on_the_machine(server: ServerProcess) -> None:
    for path in ("/health", "/ready", "/metrics", "/db/health", "/vector/health", "/schema/openapi.json"):
        answer = httpx.get(f"{server.url}{path}", timeout=30)
        assert str(server.data) not in answer.text
        assert "Traceback" not in answer.text
