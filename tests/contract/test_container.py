"""What can be known about the image without a container engine: its recipe, its files, and the libraries it needs."""

import json
import re
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import NamedTuple

import pytest

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


def test_the_cpu_build_is_the_default_and_cuda_an_argument() -> None:
    arguments = dict(step.rest.split("=", 1) for step in dockerfile_stages()[0] if step.word == "ARG")
    assert arguments["TORCH"] == "cpu"
    assert arguments["TORCH_INDEX"] == "", "whoever builds decides whom to trust"
    assert {step.word for step in dockerfile_stages()[1]}.isdisjoint({"ARG"})


def test_nothing_ties_the_image_to_one_kind_of_machine() -> None:
    recipe = (ROOT / "Dockerfile").read_text()
    instructions = "\n".join(step.rest for stage in dockerfile_stages() for step in stage)
    assert "linux/amd64,linux/arm64" in recipe
    assert not re.search(r"amd64|x86_64|arm64|aarch64|--platform", instructions)


class Answering(BaseHTTPRequestHandler):
    """Answers `/health` below a base path as its server says, everything else with 404."""

    def do_GET(self) -> None:
        status = vars(self.server)["status"] if self.path == "/documents/health" else 404
        self.send_response(status)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Silence."""


def health_check(port: int) -> subprocess.CompletedProcess[str]:
    """The image's own command, its script taken from the repository."""
    (check,) = last_stage("HEALTHCHECK")
    command = json.loads(check.split("CMD ", 1)[1])
    (copied,) = [rest.split() for rest in last_stage("COPY") if rest.startswith("deploy/healthcheck.py")]
    assert command == ["python", "-I", "-S", copied[1]]
    environment = {"PERPLEX_SERVER__PORT": str(port), "PERPLEX_SERVER__BASE_PATH": "/documents/"}
    script = str(ROOT / "deploy/healthcheck.py")
    return subprocess.run(
        [sys.executable, *command[1:3], script], env=environment, capture_output=True, text=True, timeout=30
    )


@pytest.mark.parametrize(("status", "exit_code"), [(200, 0), (503, 1)])
def test_health_check_tells_a_living_server_from_a_sick_one(status: int, exit_code: int) -> None:
    with HTTPServer(("127.0.0.1", 0), Answering) as server:
        vars(server)["status"] = status
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        checked = health_check(server.server_port)
        server.shutdown()
    assert (checked.returncode, checked.stderr) == (exit_code, "")


def test_health_check_tells_a_dead_server() -> None:
    with HTTPServer(("127.0.0.1", 0), Answering) as server:
        port = server.server_port
    checked = health_check(port)
    assert (checked.returncode, checked.stderr) == (1, "")


def test_health_check_loads_nothing_heavy() -> None:
    code = "import runpy, sys; runpy.run_path(sys.argv[1]); print(*sys.modules)"
    script = ROOT / "deploy/healthcheck.py"
    loaded = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, script], check=True, capture_output=True, text=True
    )
    assert {"torch", "perplex_mono", "http", "ssl", "asyncio", "email"}.isdisjoint(loaded.stdout.split())


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
    assert not list(copy.rglob("redis-server")), "Debian's is the one that gets security updates"
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


def image_size(*arguments: str) -> subprocess.CompletedProcess[str]:
    command: list[str | Path] = [sys.executable, ROOT / "deploy/image_size.py", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_the_size_of_the_image_is_told_layer_by_layer_and_held_to_a_budget() -> None:
    told = image_size("click", "msgspec")
    assert told.returncode == 0, told.stderr
    sizes = {line[:42].strip(): line[42:].split() for line in told.stdout.splitlines()[1:-1]}
    parts = [float(sizes[name][-1]) for name in ("click", "msgspec")]
    assert all(0 < part < 2 for part in parts)
    assert float(sizes["/opt/perplex, of which"][-1]) == pytest.approx(sum(parts), abs=0.15)
    assert float(sizes["in all"][-1]) == pytest.approx(sum(parts) + 53, abs=0.15)
    assert told.stdout.endswith("budget: 1500 MB, kept\n")
    exceeded = image_size("click", "--budget", "50")
    assert exceeded.returncode == 1
    assert exceeded.stdout.endswith("budget: 50 MB, EXCEEDED\n")
