"""A server killed in the middle of a scan: the next start finishes it, and every file is there exactly once."""

from pathlib import Path

import httpx
import pytest

from tests.server_process import ServerProcess, running_server
from tests.system.faults.table import FaultTable

FILES = 80  # more than one batch


@pytest.mark.parametrize("failpoint", ["after_scan_blobs:2", "after_scan_batch:1"])
def test_a_killed_scan_goes_on(tmp_path: Path, faults: FaultTable, failpoint: str) -> None:
    fault = faults.fault("kill -9 during a scan of a folder")
    folder, home = tmp_path / "papers", tmp_path / "home"
    folder.mkdir()
    home.mkdir()
    for number in range(FILES):
        (folder / f"{number}.txt").write_text(f"The walrus{number} was seen from the harbour wall. " * 8)
    environment = {"PERPLEX_SOURCES__ROOTS": str(folder), "PERPLEX_QUEUE__EMBEDDED_REDIS": "false"}
    with running_server(home, environment) as server:
        server.stop()
        server.start(PERPLEX_FAILPOINT=failpoint)
        scan_id = start_scan(server, folder)
        server.wait_end()
        server.start()
        assert server.wait_operation(scan_id)["state"] == "completed"
        for operation in httpx.get(f"{server.url}/api/v1/operations?kind=ingest", timeout=60).json()["items"]:
            assert server.wait_operation(operation["id"])["state"] == "completed"
        for number in range(FILES):
            hits = server.search(f"walrus{number}", mode="sparse")["hits"]
            found = [hit["document"]["name"] for hit in hits]
            fault.lost += found == []
            fault.duplicated += len(found) > 1
            assert set(found) == {f"{number}.txt"}
        names = sorted(document["name"] for document in server.documents())
        assert names == sorted(f"{number}.txt" for number in range(FILES))
        assert {document["status"] for document in server.documents()} == {"ready"}
        fault.rounds += 1
        server.stop()
        assert server.examine()["healthy"]


def start_scan(server: ServerProcess, folder: Path) -> str:
    """Follow the folder and have it scanned; the scan's id."""
    sources = f"{server.url}/api/v1/collections/default/sources"
    source = httpx.post(sources, json={"directory": str(folder), "watch": False}, timeout=60).json()
    return str(httpx.post(f"{sources}/{source['id']}/scan", timeout=60).json()["scan_id"])
