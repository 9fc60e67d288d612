"""The shipped nginx site in front of a real server: paths, WebSockets, streamed uploads, and what is kept inside.

Local mode refuses whatever was forwarded, so that it does is how a request is known to have arrived.
"""

import json
import re
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from perplex_mono.settings import Settings
from tests.app_client import PASSWORD
from tests.server_process import ServerProcess, free_port
from tests.system.faults.means import missing

SITE = Path(__file__).parents[2] / "deploy" / "nginx" / "perplex-mono.conf"
START_SECONDS = 90.0
FORWARDED = "takes no forwarded requests"


class Front(NamedTuple):
    """nginx as it runs, and how to reach it."""

    port: int
    trust: ssl.SSLContext

    @property
    def client(self) -> httpx.Client:
        """Speaks to it as to a host of its own."""
        return httpx.Client(base_url=f"https://localhost:{self.port}", verify=self.trust, timeout=20)

    def connect(self) -> ssl.SSLSocket:
        """A bare connection."""
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=20)
        return self.trust.wrap_socket(plain, server_hostname="localhost")


def program(name: str, package: str) -> str:
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    if path is None:
        missing(f"{name} is not installed (Debian: {package})")
    return str(path)


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for localhost, and its key."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    command = [program("openssl", "openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    subprocess.run([*command, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    return certificate, key


def configure(folder: Path, server: int, port: int, certificate: Path, key: Path) -> Path:
    """The site as it is shipped, but for addresses and certificate, inside a configuration of the test's."""
    site = SITE.read_text()
    changes = {
        "listen 443": f"listen 127.0.0.1:{port}",
        "server 127.0.0.1:8080": f"server 127.0.0.1:{server}",
        r"(ssl_certificate +)\S+;": rf"\1{certificate};",
        r"(ssl_certificate_key +)\S+;": rf"\1{key};",
    }
    for pattern, by in changes.items():
        site, count = re.subn(pattern, by, site)
        assert count == 1, pattern
    temporary = "".join(
        f"{kind}_temp_path {folder / kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    configuration = folder / "nginx.conf"
    configuration.write_text(
        f"daemon off; master_process off; pid {folder / 'pid'}; error_log {folder / 'error.log'} warn;"
        f"events {{}} http {{ access_log off; {temporary}\n{site}\n}}"
    )
    return configuration


@contextmanager
def below_documents(folder: Path, **environment: str) -> Iterator[ServerProcess]:
    """A server whose paths begin as the site's do."""
    wanted = {"PERPLEX_SERVER__BASE_PATH": "/documents", "PERPLEX_QUEUE__EMBEDDED_REDIS": "false", **environment}
    started = ServerProcess(folder, wanted)
    started.launch()
    try:
        until(lambda: httpx.get(f"{started.url}/documents/health", timeout=60).status_code == 200)
        yield started
    finally:
        started.stop()


@contextmanager
def fronted(server: ServerProcess, folder: Path) -> Iterator[Front]:
    """nginx in front of it."""
    nginx, port = program("nginx", "nginx-light"), free_port()
    certificate, key = make_certificate(folder)
    configuration = configure(folder, server.port, port, certificate, key)
    process = subprocess.Popen([nginx, "-p", str(folder), "-c", str(configuration)], stderr=subprocess.DEVNULL)
    try:
        found = Front(port, ssl.create_default_context(cafile=certificate))
        until(lambda: found.connect().version() is not None)
        yield found
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with below_documents(tmp_path_factory.mktemp("behind")) as started:
        yield started


@pytest.fixture(scope="module")
def front(server: ServerProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    with fronted(server, tmp_path_factory.mktemp("nginx")) as found:
        yield found


def until(condition: Callable[[], bool]) -> None:
    """Wait until the condition holds and nothing refuses the connection."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            if condition():
                return
        except (OSError, httpx.TransportError):
            pass
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_health_is_answered_in_every_mode(front: Front) -> None:
    with front.client as client:
        answer = client.get("/documents/health", headers={"host": "documents.example.org"})
    assert answer.status_code == 200
    assert answer.json()["status"] == "ok"


def test_calls_arrive_with_their_path_and_as_forwarded(front: Front) -> None:
    with front.client as client:
        answer = client.get("/documents/api/v1/collections")
    assert answer.status_code == 403
    assert FORWARDED in answer.json()["detail"]
    assert answer.json()["instance"] == "/documents/api/v1/collections"


def test_a_websocket_is_opened_through_it(front: Front) -> None:
    url = f"wss://localhost:{front.port}/documents/ws/operations"
    with connect(url, ssl=front.trust, open_timeout=20) as feed, pytest.raises(ConnectionClosed) as closed:
        feed.recv(timeout=20)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4403
    assert "forwarded" in closed.value.rcvd.reason


def test_an_upload_reaches_the_server_before_it_is_complete(front: Front) -> None:
    head = (
        "POST /documents/api/v1/collections/default/documents HTTP/1.1\r\nHost: localhost\r\n"
        "Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 1000000\r\n\r\n--x\r\n"
    )
    with front.connect() as connection:
        connection.sendall(head.encode())
        answer = connection.recv(65536).decode()
    assert answer.split()[1] == "403"


def test_what_is_larger_than_any_upload_is_refused_at_the_door(front: Front) -> None:
    allowed = re.search(r"client_max_body_size (\d+)m;", SITE.read_text())
    assert allowed is not None
    largest = int(allowed[1]) * 1024 * 1024
    file = Settings().limits.max_upload_bytes
    assert file < largest < file * 1.1
    assert upload_of(front, file + 4096) == 403, "the server's own answer"
    assert upload_of(front, largest + 1) == 413


def upload_of(front: Front, length: int) -> int:
    """The status that an upload of so many bytes gets once it is announced."""
    head = (
        "POST /documents/api/v1/collections/default/documents HTTP/1.1\r\nHost: localhost\r\n"
        f"Content-Type: multipart/form-data; boundary=x\r\nContent-Length: {length}\r\n\r\n"
    )
    with front.connect() as connection:
        connection.sendall(head.encode())
        return int(connection.recv(65536).split()[1])


def test_figures_stay_inside(front: Front, server: ServerProcess) -> None:
    with front.client as client:
        assert client.get("/documents/metrics").status_code == 404
    assert httpx.get(f"{server.url}/documents/metrics", timeout=60).status_code == 200


def test_the_path_without_its_slash_leads_there(front: Front) -> None:
    with front.client as client:
        answer = client.get("/documents")
    assert (answer.status_code, answer.headers["location"].endswith("/documents/")) == (308, True)


def test_with_accounts_users_work_and_follow_their_work_through_it(tmp_path: Path) -> None:
    """With the settings that the site's head names; the address in the log of security events is the client's."""
    known = {
        "PERPLEX_SERVER__ALLOWED_HOSTS": "documents.example.org",
        "PERPLEX_SERVER__TRUSTED_PROXIES": "127.0.0.1",
        "PERPLEX_OCR__ENGINE": "none",
    }
    folder = tmp_path / "nginx"
    folder.mkdir()
    with below_documents(tmp_path, **known) as server, fronted(server, folder) as front, front.client as client:
        first = {"name": "ada", "password": PASSWORD}
        made = httpx.post(f"{server.url}/documents/api/v1/auth/setup", json=first, timeout=60)
        assert made.status_code == 201, made.text
        client.headers["Host"] = "documents.example.org"
        assert client.get("/documents/api/v1/collections").status_code == 401
        token = client.post("/documents/api/v1/auth/login", json=first).json()["access_token"]
        client.headers["Authorization"] = f"Bearer {token}"
        form = [("files", ("tide.txt", b"The tide turns twice a day."))]
        accepted = client.post("/documents/api/v1/collections/default/documents", files=form)
        assert accepted.status_code == 202, accepted.text
        url = f"wss://localhost:{front.port}/documents/ws/operations/{accepted.json()['operation_id']}?after=0"
        with connect(url, ssl=front.trust, additional_headers={"Authorization": f"Bearer {token}"}) as feed:
            heard = [json.loads(feed.recv(timeout=60))["type"]]
            while heard[-1] != "completed":
                heard.append(json.loads(feed.recv(timeout=60))["type"])
        assert heard[0] == "queued"
        other = {"name": "ada", "password": "x" * 20}
        assert client.post("/documents/api/v1/auth/login", json=other).status_code == 401
        (refused,) = client.get("/documents/api/v1/audit?limit=1").json()["items"]
        assert (refused["outcome"], refused["address"]) == ("refused", "127.0.0.1")
