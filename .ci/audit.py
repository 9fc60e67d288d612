"""Asks whether the locked packages have known vulnerabilities: fails if so, and says so where nobody could be asked."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ("cpu.txt", "cuda.txt", "torch.txt", "build.txt")
ANSWER_SECONDS = 15
WHOLE_SECONDS = 300


def asked(lock: Path) -> dict[str, Any] | str:
    """The report of pip-audit about a lock, or why there is none."""
    command = [sys.executable, "-m", "pip_audit", "--format", "json", "--progress-spinner", "off", "--disable-pip"]
    command += ["--no-deps", "--timeout", str(ANSWER_SECONDS), "--requirement", str(lock)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=WHOLE_SECONDS, check=False)
        report: dict[str, Any] = json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        return f"no answer within {WHOLE_SECONDS} s"
    except ValueError:
        return (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
    return report if "dependencies" in report else "its report has another form than expected"


def vulnerabilities(report: dict[str, Any]) -> list[str]:
    """A line for each vulnerability: the package, what it is known by, and the versions without it."""
    return [
        f"{package['name']} {package['version']}: {found['id']}, mended in {', '.join(found['fix_versions']) or 'none'}"
        for package in report["dependencies"]
        for found in package.get("vulns", [])
    ]


def main() -> int:
    """Ask about every lock; exit code."""
    found: set[str] = set()
    for name in LOCKS:
        report = asked(ROOT / "requirements" / name)
        if isinstance(report, str):
            print(f"audit: {name} was NOT checked for known vulnerabilities: {report}")
            continue
        told = vulnerabilities(report)
        print(f"audit: {name}: {len(report['dependencies'])} packages, {len(told)} known vulnerabilities")
        found.update(told)
    for line in sorted(found):
        print(f"audit: {line}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
