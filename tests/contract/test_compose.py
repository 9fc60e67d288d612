"""The Compose files are valid, name only what exists, and confine every service."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from perplex_mono.settings import setting_names
from tests.contract.test_container import last_stage

ROOT = Path(__file__).parents[2]
FILES = [ROOT / "compose.yaml", ROOT / "deploy/compose.override.yaml", ROOT / "deploy/compose.cuda.yaml"]
COMPOSE: dict[str, Any] = yaml.safe_load(FILES[0].read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
MONITORING = {"prometheus", "alertmanager", "grafana", "loki", "promtail"}
MADE_BY_THE_OPERATOR = {"./secrets/grafana_password"}


def validate(file: Path) -> subprocess.CompletedProcess[str]:
    """Against the Compose specification's own schema."""
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "check_jsonschema",
        "--builtin-schema",
        "vendor.compose-spec",
        file,
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def bind_mounts() -> list[tuple[str, str]]:
    """Service and path on the machine of every folder or file that is mounted."""
    mounts = [(name, mount.split(":")[0]) for name, service in SERVICES.items() for mount in service.get("volumes", [])]
    override = yaml.safe_load(FILES[1].read_text(encoding="utf-8"))["services"]["perplex"]["volumes"]
    return [(name, path) for name, path in [*mounts, *(("perplex", m.split(":")[0]) for m in override)] if "/" in path]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_the_file_is_valid(file: Path) -> None:
    checked = validate(file)
    assert checked.returncode == 0, checked.stdout


def test_a_misspelt_key_would_be_seen(tmp_path: Path) -> None:
    wrong = tmp_path / "compose.yaml"
    wrong.write_text(FILES[0].read_text(encoding="utf-8").replace("mem_limit:", "mem_limits:"))
    assert validate(wrong).returncode != 0


def test_everything_mounted_exists_and_is_read_only() -> None:
    assert len(bind_mounts()) >= 7
    for name, path in bind_mounts():
        assert (ROOT / path).exists(), path
        mounts = [*SERVICES[name]["volumes"], *yaml.safe_load(FILES[1].read_text())["services"]["perplex"]["volumes"]]
        assert all(mount.endswith(":ro") for mount in mounts if mount.startswith(f"{path}:")), path
    assert {secret["file"] for secret in COMPOSE["secrets"].values()} == MADE_BY_THE_OPERATOR
    assert "/secrets/" in (ROOT / ".gitignore").read_text().splitlines()


def test_every_named_volume_network_and_secret_is_declared() -> None:
    named = {m.split(":")[0] for s in SERVICES.values() for m in s.get("volumes", []) if "/" not in m.split(":")[0]}
    assert named == COMPOSE["volumes"].keys()
    assert {network for service in SERVICES.values() for network in service["networks"]} == COMPOSE["networks"].keys()
    assert {s for service in SERVICES.values() for s in service.get("secrets", [])} == COMPOSE["secrets"].keys()


def test_configuration_files_named_in_commands_are_mounted() -> None:
    seen = set()
    for name, service in SERVICES.items():
        for path in re.findall(r"config\.file=(\S+)", " ".join(service.get("command", []))):
            (mount,) = [m for m in service["volumes"] if m.startswith("./") and path.startswith(m.split(":")[1])]
            source, target, _ = mount.split(":")
            assert (ROOT / source / Path(path).relative_to(target)).is_file(), path
            seen.add(name)
    assert seen == MONITORING - {"grafana"}


def test_only_the_server_starts_unless_more_is_asked_for() -> None:
    profiles = {name: service.get("profiles", []) for name, service in SERVICES.items()}
    assert profiles == {
        "perplex": [],
        **{name: ["monitoring"] for name in MONITORING},
        "searxng": ["web-search"],
    }


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_confined_and_bounded(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["mem_limit"]
    assert service["pids_limit"]
    assert service["logging"]["options"].keys() == {"max-size", "max-file"}
    assert not {"privileged", "network_mode", "cap_add", "pid", "ipc", "devices"} & service.keys()
    assert not any("docker.sock" in mount for mount in service.get("volumes", []))
    assert all(re.match(r"/\w[\w/]*:size=\d+[mg],mode=1777$", mount) for mount in service.get("tmpfs", []))


@pytest.mark.parametrize("name", sorted(SERVICES.keys() - {"perplex"}))
def test_images_of_others_are_pinned(name: str) -> None:
    assert re.search(r":v?\d+\.\d+", SERVICES[name]["image"])


def test_ports_are_published_on_loopback_only() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {"perplex": ["127.0.0.1:8080:8080"], "grafana": ["127.0.0.1:3000:3000"]}


def test_only_who_must_reaches_the_internet() -> None:
    internal = {name for name, network in COMPOSE["networks"].items() if network and network.get("internal")}
    assert internal == {"monitoring", "web-search"}
    assert {name for name, service in SERVICES.items() if "outside" in service["networks"]} == {
        "alertmanager",
        "searxng",
    }
    assert {name for name, service in SERVICES.items() if set(service["networks"]) <= internal} == {
        "prometheus",
        "loki",
        "promtail",
    }


def test_the_server_has_what_it_needs_and_time_to_stop() -> None:
    service = SERVICES["perplex"]
    assert service["volumes"] == ["data:/data", "logs:/logs"]
    assert service["stop_grace_period"] == "45s"
    assert service["restart"] == "unless-stopped"
    assert service["init"] is True
    assert service["mem_limit"] == service["memswap_limit"] == "${PERPLEX_MEMORY:-4g}"
    assert service["build"]["args"] == {"TORCH": None, "TORCH_INDEX": None}, "null: the Dockerfile's default holds"
    assert "user" not in service, "the image says who runs it"
    assert SERVICES["promtail"]["user"] == last_stage("USER")[0]
    (made,) = [rest for rest in last_stage("RUN") if "install --directory" in rest]
    for mount in service["volumes"]:
        assert re.search(rf"--mode=0700 .*{mount.split(':')[1]}\b", made)


def test_prometheus_asks_the_port_that_shows_figures_and_is_not_published() -> None:
    prometheus = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text(encoding="utf-8"))
    jobs = {job["job_name"]: job["static_configs"][0]["targets"] for job in prometheus["scrape_configs"]}
    port = SERVICES["perplex"]["environment"]["PERPLEX_TELEMETRY__METRICS_PORT"]
    assert jobs["perplex-mono"] == [f"perplex:{port}"]
    assert not any(published.endswith(f":{port}") for published in SERVICES["perplex"]["ports"])
    assert set(SERVICES["perplex"]["networks"]) & set(SERVICES["prometheus"]["networks"])


def test_compose_checks_health_as_often_as_the_image_says() -> None:
    (check,) = last_stage("HEALTHCHECK")
    options = dict(re.findall(r"--([\w-]+)=(\w+)", check))
    shown = {key.replace("_", "-"): str(value) for key, value in SERVICES["perplex"]["healthcheck"].items()}
    assert shown == options


@pytest.mark.parametrize("file", [*FILES, ROOT / "Dockerfile"], ids=lambda file: file.name)
def test_every_setting_given_exists(file: Path) -> None:
    known = {f"PERPLEX_{name.replace('.', '__').upper()}" for name in setting_names()}
    assert set(re.findall(r"PERPLEX_[A-Z]+__\w+", file.read_text(encoding="utf-8"))) <= known


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_variable_works_without_being_set(file: Path) -> None:
    taken = re.findall(r"\$\{(\w+)([^}]*)\}", file.read_text(encoding="utf-8"))
    assert [name for name, default in taken if not re.match(r":-\w", default)] == []


def test_no_password_has_a_default() -> None:
    text = FILES[0].read_text(encoding="utf-8")
    assert not re.search(
        r"(?i)(password|secret|token)\w*:\s*[\"']?\w+[\"']?\s*$", text.split("secrets:\n  grafana")[0], re.MULTILINE
    )
    assert SERVICES["searxng"]["environment"] == ["SEARXNG_SECRET"]


def test_developing_is_asked_for() -> None:
    assert not (ROOT / "compose.override.yaml").exists(), "Compose would take it for everybody"
    assert "-f compose.yaml -f deploy/compose.override.yaml" in FILES[1].read_text(encoding="utf-8")
    cuda = yaml.safe_load(FILES[2].read_text(encoding="utf-8"))["services"]["perplex"]
    assert cuda["build"]["args"] == {"TORCH": "cuda"}
    assert cuda["deploy"]["resources"]["reservations"]["devices"][0]["capabilities"] == ["gpu"]
