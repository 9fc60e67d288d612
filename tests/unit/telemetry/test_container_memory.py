"""What is in use counts without the cache that the kernel gives back on demand, or every busy disk would look full."""

from pathlib import Path

from perplex_mono.telemetry.cgroups import Memory, tightest_memory


def test_reclaimable_cache_is_not_in_use(tmp_path: Path) -> None:
    group = tmp_path / "fs" / "app"
    group.mkdir(parents=True)
    (tmp_path / "membership").write_text("0::/app\n")
    for name, content in (
        ("memory.max", "1000\n"),
        ("memory.current", "900\n"),
        ("memory.stat", "inactive_file 600\n"),
    ):
        (group / name).write_text(content)
    assert tightest_memory(tmp_path / "fs", tmp_path / "membership") == Memory(limit=1000, used=300)


def test_without_a_limit_the_machine_counts(tmp_path: Path) -> None:
    memory = tightest_memory(tmp_path / "absent", tmp_path / "absent")
    assert 0 < memory.used < memory.limit
    assert memory.free == memory.limit - memory.used
