"""How an attacker speaks to the server: bytes as they are, forms made by hand; and how we see that nothing happened."""

import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil

from tests.server_process import ServerProcess

UPLOADS = "/api/v1/collections/default/documents"
BOUNDARY = "frontier"
FORM = f"multipart/form-data; boundary={BOUNDARY}"
MEGABYTE = 1_000_000
# Without the parts that an attack does not aim at a server starts in seconds.
BARE = {"PERPLEX_QUEUE__EMBEDDED_REDIS": "false", "PERPLEX_OCR__ENGINE": "none"}
WHERE = ("data", "server.log")


def head(server: ServerProcess, request: str, *lines: str, host: str | None = None) -> bytes:
    """The first lines of a request, ending with the empty one."""
    host = f"127.0.0.1:{server.port}" if host is None else host
    return "\r\n".join([f"{request} HTTP/1.1", f"Host: {host}", *lines, "", ""]).encode("latin-1")


def send_raw(server: ServerProcess, *pieces: bytes, seconds: float = 20.0, until: bytes = b"") -> bytes:
    """Send bytes as they are; what came back until the server closed, or fell silent after an answer with `until`."""
    received = b""
    with socket.create_connection(("127.0.0.1", server.port), timeout=seconds) as client:
        try:
            for piece in pieces:
                client.sendall(piece)
            while True:
                if received and until in received:
                    client.settimeout(0.5)
                more = client.recv(65536)
                if not more:
                    break
                received += more
        except (TimeoutError, ConnectionError):
            pass
    return received


def status_of(answer: bytes) -> int:
    """The status of the first answer; 0 when the connection was closed without one."""
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.1 ") else 0


def headers_of(answer: bytes) -> list[tuple[str, str]]:
    """Names, in lower case, and values of the first answer's headers."""
    lines = answer.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")[1:]
    return [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]


def part(content: bytes, *, file_name: bytes | None = None, name: str = "files") -> bytes:
    """One part of a form."""
    file = b'; filename="%s"' % file_name if file_name is not None else b""
    return b'--%s\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n' % (
        BOUNDARY.encode(),
        name.encode(),
        file,
        content,
    )


END_OF_FORM = f"--{BOUNDARY}--\r\n".encode()


def post_form(server: ServerProcess, body: bytes | Iterable[bytes]) -> httpx.Response:
    """Send a form as it is; in pieces it goes without an announced length."""
    return httpx.post(f"{server.url}{UPLOADS}", content=body, headers={"Content-Type": FORM}, timeout=60)


def require_problem(answer: httpx.Response, *statuses: int) -> dict[str, Any]:
    """A refusal as RFC 9457 says, and never a trace or a path of the server's."""
    assert answer.status_code in statuses, (answer.status_code, answer.text)
    assert answer.headers["content-type"] == "application/problem+json"
    assert "Traceback" not in answer.text
    problem: dict[str, Any] = answer.json()
    return problem


def final_documents(
    server: ServerProcess, files: Mapping[str, bytes], seconds: float = 120.0
) -> dict[str, dict[str, Any]]:
    """Upload files and wait until each has a final state; the documents by name."""
    accepted = server.upload(*files.items())
    ids = {item["id"]: name for name, item in zip(files, accepted["documents"], strict=True)}
    deadline = time.monotonic() + seconds
    while True:
        found = {ids[key]: httpx.get(f"{server.url}/api/v1/documents/{key}", timeout=30).json() for key in ids}
        if all(document["status"] in ("ready", "failed") for document in found.values()):
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.1)


def require_failed(documents: Mapping[str, dict[str, Any]], **codes: str) -> None:
    """Each document failed, for the reason in words that its code stands for."""
    found = {name: (document["failure"] or {}).get("code") for name, document in documents.items()}
    assert found == codes, documents
    assert all(document["failure"]["message"] for document in documents.values())


def require_no_leftovers(server: ServerProcess, seconds: float = 20.0) -> None:
    """Temporary files of uploads are gone, as soon as what is being stored just now is stored."""
    folder, deadline = server.data / "blobs" / "incoming", time.monotonic() + seconds
    while left := list(folder.iterdir()):
        assert time.monotonic() < deadline, left
        time.sleep(0.1)


def strangers(server: ServerProcess) -> list[str]:
    """What lies beside the data directory and the log, where nobody may have written."""
    return sorted(path.name for path in server.data.parent.iterdir() if path.name not in WHERE)


def resident_bytes(server: ServerProcess) -> int:
    """Memory of the server's own process; its readers have limits of their own."""
    return int(psutil.Process(server.pid).memory_info().rss)


@contextmanager
def bounded_growth(server: ServerProcess, max_bytes: int) -> Iterator[None]:
    """What happens inside may make the server's peak memory grow by so much and not more."""
    reset, before = Path(f"/proc/{server.pid}/clear_refs"), resident_bytes(server)
    if reset.exists():
        reset.write_text("5")
    yield
    peak = _peak_bytes(server) if reset.exists() else resident_bytes(server)
    assert peak - before < max_bytes, f"{(peak - before) / MEGABYTE:.0f} MB more"


def _peak_bytes(server: ServerProcess) -> int:
    lines = Path(f"/proc/{server.pid}/status").read_text().splitlines()
    (line,) = [line for line in lines if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024


class Listener:
    """A port on loopback that counts who calls: nothing a document says may make the server do so."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._socket.settimeout(0)
        self.port = int(self._socket.getsockname()[1])

    def calls(self) -> int:
        """Connections since the last look."""
        count = 0
        while True:
            try:
                self._socket.accept()[0].close()
            except BlockingIOError:
                return count
            count += 1

    def close(self) -> None:
        """Listen no more."""
        self._socket.close()
