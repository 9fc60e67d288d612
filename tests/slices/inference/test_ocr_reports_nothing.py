"""The packages that OCR stands on keep no record of their use, which they could send to their makers."""

import os
import subprocess
import sys
from pathlib import Path

# In a process of its own: what a package does on its first import is done only once.
READ_A_PAGE = """
from perplex_mono.inference.ocr_models import RAPIDOCR
from perplex_mono.inference.ocr_rapid import PageReader
PageReader(RAPIDOCR, threads=1, batch_width=1_000).shrink()
"""


def test_a_reader_leaves_no_trace_in_its_user_s_folders(tmp_path: Path) -> None:
    # Nothing else of the environment is passed on: makers stay silent where they take a machine for a build server.
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    folders = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache"), "TMPDIR": str(tmp_path)}
    program = [sys.executable, "-c", READ_A_PAGE]
    subprocess.run(program, env=environment | folders, cwd=tmp_path, check=True, timeout=120)
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")] == []
