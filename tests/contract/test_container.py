"""What can be known about the image without a container engine: its recipe, its files, and the libraries it needs."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]

# What python:3.11-slim-bookworm carries (glibc, the compiler's run-time libraries, zlib) ...
BASE_IMAGE_LIBRARIES = {
    "libc.so.6",
    "libdl.so.2",
    "libm.so.6",
    "libpthread.so.0",
    "librt.so.1",
    "libutil.so.1",
    "libgcc_s.so.1",
    "libstdc++.so.6",
    "libz.so.1",
}
# ... and what each package installed by apt in the last stage adds for us. The Redis server is a program of its own.
LIBRARIES_OF_APT_PACKAGES: dict[str, set[str]] = {"redis-server": set()}


class Step(NamedTuple):
    """One instruction of a Dockerfile: its word in capitals and the rest."""

    word: str
    rest: str


def dockerfile_stages() -> list[list[Step]]:
    """The instructions of each stage, `FROM` first; continued lines joined, comments dropped."""
    lines = [line for line in (ROOT / "Dockerfile").read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    stages: list[list[Step]] = []
    for line in joined.splitlines():
        if not line.strip():
            continue
        word, rest = line.split(maxsplit=1)
        if word == "FROM":
            stages.append([])
        stages[-1].append(Step(word, rest))
    return stages


def last_stage(word: str) -> list[str]:
    return [step.rest for step in dockerfile_stages()[-1] if step.word == word]


def apt_packages() -> set[str]:
    """Everything the last stage installs with apt."""
    found = re.findall(r"apt-get install ([^&]+)", " ".join(last_stage("RUN")))
    return {word for part in found for word in part.split() if not word.startswith("-")}


def compose_service() -> dict[str, Any]:
    services: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    (service,) = services.values()
    assert isinstance(service, dict)
    return service


def copied_from_context() -> list[str]:
    return [
        source
        for stage in dockerfile_stages()
        for step in stage
        if step.word == "COPY" and "--from=" not in step.rest
        for source in step.rest.split()[:-1]
    ]


def test_every_copied_path_exists_and_reaches_the_builder() -> None:
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for source in copied_from_context():
        assert (ROOT / source).exists(), source
        assert source in allowed, source


def test_the_image_installs_with_the_script_that_make_uses() -> None:
    commands = " ".join(step.rest for step in dockerfile_stages()[0] if step.word == "RUN")
    assert commands.split(" && ")[0].startswith("deploy/install.sh /opt/perplex runtime")
    assert "deploy/install.sh /opt/perplex wheel verify" in commands
    assert "pip install" not in commands
    makefile = (ROOT / "Makefile").read_text()
    assert "INSTALL := deploy/install.sh" in makefile
    assert "pip install" not in makefile


def test_last_stage_is_slim_and_has_no_build_tools() -> None:
    bases = [stage[0].rest.split()[0] for stage in dockerfile_stages()]
    assert set(bases) == {"python:3.11-slim-bookworm"}
    assert apt_packages() == LIBRARIES_OF_APT_PACKAGES.keys()
    assert not re.search(r"\b(pip|gcc|g\+\+|make|build-essential|curl|git)\b", " ".join(last_stage("RUN")))


def test_last_stage_runs_as_nobody_in_particular() -> None:
    assert last_stage("USER") == ["10001:10001"]
    assert last_stage("EXPOSE") == ["8080"]
    assert last_stage("VOLUME") == ["/data"]
    assert last_stage("STOPSIGNAL") == ["SIGTERM"]
    assert json.loads(last_stage("CMD")[0]) == ["perplex-mono", "serve"]
    (environment,) = last_stage("ENV")
    assert "PERPLEX_DATA__DIRECTORY=/data" in environment
    assert "PERPLEX_SERVER__HOST=0.0.0.0" in environment


@pytest.mark.parametrize(("status", "exit_code"), [(200, 0), (503, 1), (None, 1)])
def test_health_check_tells_a_living_server_from_a_dead_one(status: int | None, exit_code: int, tmp_path: Path) -> None:
    (check,) = last_stage("HEALTHCHECK")
    command = json.loads(check.split("CMD ", 1)[1])
    assert command[:2] == ["python", "-c"]
    stand_in = f"""
import http.server, runpy, sys, threading
class Health(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response({status} if self.path == "/health" else 404)
        self.end_headers()
    def log_message(self, *_): pass
server = http.server.HTTPServer(("127.0.0.1", 0), Health)
port = server.server_port
if {status} is None:
    server.server_close()
else:
    threading.Thread(target=server.serve_forever, daemon=True).start()
exec(sys.argv[1].replace("8080", str(port)))
"""
    ended = subprocess.run([sys.executable, "-c", stand_in, command[2]], capture_output=True, timeout=30, check=False)
    assert ended.returncode == exit_code, ended.stderr.decode()


def test_compose_publishes_on_loopback_only_and_confines_the_service() -> None:
    service = compose_service()
    assert service["ports"] == ["127.0.0.1:8080:8080"]
    assert service["volumes"] == ["data:/data"]
    assert service["read_only"] is True
    assert [mount.split(":")[0] for mount in service["tmpfs"]] == ["/tmp"]
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert service["restart"] == "unless-stopped"
    assert service["stop_grace_period"] == "40s"
    assert service["mem_limit"] == "4g"
    assert service["healthcheck"]["retries"] == 3
    assert not {"privileged", "network_mode", "cap_add", "user"} & service.keys()


@pytest.fixture(scope="module")
def venv() -> Path:
    if sys.prefix == sys.base_prefix:
        pytest.fail("run the suite in the virtual environment that `make test` builds")
    return Path(sys.prefix)


def shared_objects(venv: Path) -> list[Path]:
    """Extension modules, bundled libraries, and the programs that packages bring."""
    files = [path for path in venv.rglob("*") if path.is_file() and not path.is_symlink()]
    return [path for path in files if ".so" in path.suffixes or (path.parent.name == "bin" and is_elf(path))]


def is_elf(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"


@pytest.mark.skipif(sys.platform != "linux", reason="the image is Linux; its libraries can only be looked at there")
def test_every_library_needed_is_in_the_venv_or_in_the_image(venv: Path) -> None:
    objects = [path for path in shared_objects(venv) if is_elf(path)]
    assert len(objects) > 300
    bundled = {path.name for path in venv.rglob("*.so*")}
    provided = BASE_IMAGE_LIBRARIES.union(*(LIBRARIES_OF_APT_PACKAGES[name] for name in apt_packages()))
    listing = subprocess.run(["ldd", *objects], capture_output=True, text=True, check=False).stdout
    wanting: dict[str, str] = {}
    current = ""
    for line in listing.splitlines():
        if not line.startswith("\t"):
            current = line.rstrip(":")
        elif match := re.match(r"\t(\S+) => (\S+)", line):
            name, found = match.groups()
            inside = found.startswith(str(venv)) or name in bundled
            if not inside and name not in provided:
                wanting.setdefault(name, current)
    assert wanting == {}


@pytest.mark.skipif(sys.platform != "linux", reason="what is trimmed differs on other systems")
def test_a_trimmed_installation_still_starts_every_engine(venv: Path, tmp_path: Path) -> None:
    copy = tmp_path / "perplex"
    subprocess.run(["cp", "--archive", "--link", venv, copy], check=True)
    trimmed = subprocess.run([ROOT / "deploy/trim.sh", copy], check=True, capture_output=True, text=True).stdout
    sizes = re.findall(r"(\d+) MB", trimmed)
    assert int(sizes[1]) < int(sizes[0]) - 100
    assert shutil.which("python", path=str(copy / "bin"))
    program = """
import numpy, torch, sentence_transformers, onnxruntime, rapidocr, cv2, lancedb, pyarrow, litestar, granian, arq
import pypdfium2, lxml.etree
engine = rapidocr.RapidOCR()
image = numpy.full((64, 320, 3), 255, dtype=numpy.uint8)
cv2.putText(image, "PERPLEX", (10, 48), cv2.FONT_HERSHEY_SIMPLEX, 1.6, (0, 0, 0), 3)
print(sentence_transformers.__file__, engine(image).txts)
"""
    ran = subprocess.run([copy / "bin/python", "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stderr
    assert str(copy) in ran.stdout
    assert "PERPLEX" in ran.stdout
