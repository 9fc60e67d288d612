"""The limit that counts is the tightest one around the process, in either layout of control groups."""

import gc
import os
import subprocess
import sys
import weakref
from pathlib import Path

import psutil
import pytest

from perplex_mono.inference.memory import available_memory_bytes, settle_objects, usable_cores

MEGABYTE = 1_000_000


def write(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def test_version_two_limit_less_use_plus_reclaimable_cache(tmp_path: Path) -> None:
    write(tmp_path / "membership", "0::/app\n")
    write(tmp_path / "fs/app/memory.max", f"{100 * MEGABYTE}\n")
    write(tmp_path / "fs/app/memory.current", f"{60 * MEGABYTE}\n")
    write(tmp_path / "fs/app/memory.stat", f"anon 5\ninactive_file {4 * MEGABYTE}\nactive_file {3 * MEGABYTE}\n")

    assert available_memory_bytes(tmp_path / "fs", tmp_path / "membership") == 47 * MEGABYTE


def test_an_enclosing_group_may_be_the_tighter_one(tmp_path: Path) -> None:
    write(tmp_path / "membership", "0::/outer/inner\n")
    write(tmp_path / "fs/outer/memory.max", f"{30 * MEGABYTE}\n")
    write(tmp_path / "fs/outer/memory.current", f"{10 * MEGABYTE}\n")
    write(tmp_path / "fs/outer/inner/memory.max", "max\n")

    assert available_memory_bytes(tmp_path / "fs", tmp_path / "membership") == 20 * MEGABYTE


def test_version_one_limit_and_its_way_to_say_none(tmp_path: Path) -> None:
    write(tmp_path / "membership", "4:memory:/app\n2:cpu,cpuacct:/app\n")
    write(tmp_path / "fs/memory/app/memory.limit_in_bytes", f"{50 * MEGABYTE}\n")
    write(tmp_path / "fs/memory/app/memory.usage_in_bytes", f"{20 * MEGABYTE}\n")
    write(tmp_path / "fs/memory/memory.limit_in_bytes", "9223372036854771712\n")

    assert available_memory_bytes(tmp_path / "fs", tmp_path / "membership") == 30 * MEGABYTE


def test_over_its_limit_there_is_nothing_left(tmp_path: Path) -> None:
    write(tmp_path / "membership", "0::/\n")
    write(tmp_path / "fs/memory.max", "1000\n")
    write(tmp_path / "fs/memory.current", "2000\n")

    assert available_memory_bytes(tmp_path / "fs", tmp_path / "membership") == 0


def test_without_groups_the_machine_decides(tmp_path: Path) -> None:
    available = available_memory_bytes(tmp_path / "absent", tmp_path / "absent")

    assert 0 < available <= psutil.virtual_memory().total


def test_cores_follow_the_processor_quota(tmp_path: Path) -> None:
    write(tmp_path / "membership", "0::/\n")
    write(tmp_path / "fs/cpu.max", "50000 100000\n")

    assert usable_cores(tmp_path / "fs", tmp_path / "membership") == 1
    assert usable_cores(tmp_path / "absent", tmp_path / "absent") == len(os.sched_getaffinity(0))


@pytest.mark.skipif(sys.platform != "linux", reason="glibc only")
@pytest.mark.parametrize(("environment", "heaps"), [({}, 2), ({"MALLOC_ARENA_MAX": "6"}, 6)])
def test_threads_share_few_heaps_unless_the_environment_says_otherwise(
    environment: dict[str, str], heaps: int, tmp_path: Path
) -> None:
    """`malloc_info` lists the heaps that twelve allocating threads were given."""
    program = """
import ctypes, sys, threading
from perplex_mono.inference.memory import limit_arenas
limit_arenas()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
barrier = threading.Barrier(12)
def work():
    libc.malloc(1000)
    barrier.wait()
threads = [threading.Thread(target=work) for _ in range(12)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
libc.fopen.restype = ctypes.c_void_p
file = ctypes.c_void_p(libc.fopen(sys.argv[1].encode(), b"w"))
libc.malloc_info(0, file)
libc.fclose(file)
"""
    clean = {key: value for key, value in os.environ.items() if key != "MALLOC_ARENA_MAX"}
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "heaps.xml")], env=clean | environment, check=True)
    assert (tmp_path / "heaps.xml").read_text().count("<heap nr=") == heaps


def test_what_survives_is_spared_later_collections_and_cycles_still_go() -> None:
    class Node:
        other: "Node"

    gc.unfreeze()
    kept = Node()
    kept.other = kept
    settle_objects()
    assert gc.get_freeze_count() > 1000
    assert not any(each is kept for each in gc.get_objects())

    gone = weakref.ref(kept)
    del kept
    gc.collect()
    assert gone() is not None
    settle_objects()
    assert gone() is None
