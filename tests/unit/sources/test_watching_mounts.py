"""Where changes must be looked for, because the file system does not tell them."""

from pathlib import Path

import pytest

from perplex_mono.sources import watching

MOUNTS = """\
/dev/sda1 / ext4 rw,relatime 0 0
server:/export /mnt/nas nfs4 rw 0 0
/dev/sdb1 /mnt/nas/local\\040disk ext4 rw 0 0
sshfs#me@there: /home/me/there fuse.sshfs rw 0 0
"""


@pytest.mark.parametrize(
    ("path", "is_silent"),
    [
        ("/srv/papers", False),
        ("/mnt/nas", True),
        ("/mnt/nas/papers", True),
        ("/mnt/nasty/papers", False),
        ("/mnt/nas/local disk/papers", False),
        ("/home/me/there/x", True),
    ],
)
def test_the_nearest_mount_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, is_silent: bool) -> None:
    (tmp_path / "mounts").write_text(MOUNTS)
    monkeypatch.setattr(watching, "MOUNTS", tmp_path / "mounts")
    monkeypatch.setattr("sys.platform", "linux")
    assert watching._is_silent(path, watching._mounts()) is is_silent


def test_a_system_that_says_nothing_is_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "MOUNTS", tmp_path / "missing")
    assert watching._is_silent("/anything", watching._mounts()) is False
