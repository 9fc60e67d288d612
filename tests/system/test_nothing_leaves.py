"""Nothing leaves the machine: no system call of the server, its native libraries or its children names another one."""

import os
import re
import shutil
import sys
import time
from pathlib import Path

import httpx

from tests.documents import PROSE, scanned_pdf
from tests.server_process import ServerProcess
from tests.system.faults.means import missing
from tests.system.traced_server import TRACE_VARIABLE

ROOT = Path(__file__).parents[2]
# A package that reports its use begins within ten seconds of its first work.
WATCHED_SECONDS = 20
_INTERNET = re.compile(r"sa_family=AF_INET6?\b.*")


def test_reading_searching_and_answering_name_no_other_machine(tmp_path: Path) -> None:
    if shutil.which("strace") is None:
        missing("strace is not installed")
    trace = tmp_path / "trace"
    # Makers stay silent where a variable says that this is a build server.
    environment = {TRACE_VARIABLE: str(trace), "CI": "", "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    server = ServerProcess(tmp_path, environment, module="tests.system.traced_server")
    server.start()
    try:
        scan = scanned_pdf(tmp_path / "scan.pdf", [PROSE]).read_bytes()
        given = server.upload(("scan.pdf", scan), ("page.html", b"<p>Words</p><img src='http://example.com/a.png'>"))
        assert server.wait_operation(given["operation_id"])["state"] == "completed"
        read = time.monotonic()
        server.wait_ready()
        assert server.search("who counted the ships?")["hits"]
        answer = httpx.post(f"{server.url}/api/v1/answers", json={"question": "Who counted the ships?"}, timeout=60)
        assert answer.status_code == 200
        time.sleep(max(0.0, read + WATCHED_SECONDS - time.monotonic()))
    finally:
        server.stop()
    told = trace.read_text(errors="replace")
    assert "AF_UNIX" in told, "nothing was traced: the test is at fault"
    itself = f'sin_port=htons({server.port}), sin_addr=inet_addr("127.0.0.1")'  # which it asks whether it is there yet
    assert [call for call in _INTERNET.findall(told) if itself not in call] == []
