"""What `make check` says of vulnerabilities: which there are, or that nobody could be asked."""

import os
import runpy
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
AUDIT = ROOT / ".ci" / "audit.py"
# tools of those who work on the product, and what the locks leave out
NOT_INSTALLED = {"dev.txt", "lock.txt", "exclude-cpu.txt", "exclude-cuda.txt"}


def test_a_vulnerability_is_told_with_the_version_that_mends_it() -> None:
    vulnerabilities = runpy.run_path(str(AUDIT))["vulnerabilities"]
    report = {
        "dependencies": [
            {"name": "whole", "version": "1.0", "vulns": []},
            {"name": "skipped", "skip_reason": "not on the index"},
            {"name": "leaky", "version": "2.0", "vulns": [{"id": "PYSEC-1", "fix_versions": ["2.1", "3.0"]}]},
            {"name": "hopeless", "version": "0.1", "vulns": [{"id": "PYSEC-2", "fix_versions": []}]},
        ]
    }
    assert vulnerabilities(report) == [
        "leaky 2.0: PYSEC-1, mended in 2.1, 3.0",
        "hopeless 0.1: PYSEC-2, mended in none",
    ]


def test_where_the_service_does_not_answer_it_is_said_and_no_failure() -> None:
    nowhere = dict.fromkeys(("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"), "http://127.0.0.1:9")
    environment = {**os.environ, **nowhere, "NO_PROXY": "", "no_proxy": ""}
    done = subprocess.run(
        [sys.executable, str(AUDIT)], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split(":")[1].split()[:4] for line in lines] == [
        ["cpu.txt", "was", "NOT", "checked"],
        ["cuda.txt", "was", "NOT", "checked"],
        ["torch.txt", "was", "NOT", "checked"],
        ["build.txt", "was", "NOT", "checked"],
    ]


def test_everything_that_an_installation_takes_is_asked_about() -> None:
    locks = {path.name for path in (ROOT / "requirements").glob("*.txt")}
    assert set(runpy.run_path(str(AUDIT))["LOCKS"]) == locks - NOT_INSTALLED
