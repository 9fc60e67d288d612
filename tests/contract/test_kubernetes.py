"""The Kubernetes manifests are what the API server takes, and promise what the product needs."""

import subprocess
import sys
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
import yaml

from perplex_mono.settings import load_settings, setting_names
from perplex_mono.web.guard import RequestGuard
from tests.contract.test_container import last_stage

FOLDER = Path(__file__).parents[2] / "deploy" / "kubernetes"
MANIFESTS = sorted(file for file in FOLDER.glob("*.yaml") if file.name != "kustomization.yaml")


def read(name: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
    return content


def pod(deployment: str = "deployment") -> dict[str, Any]:
    spec: dict[str, Any] = read(deployment)["spec"]["template"]["spec"]
    return spec


def container(deployment: str = "deployment") -> dict[str, Any]:
    (only,) = pod(deployment)["containers"]
    assert isinstance(only, dict)
    return only


@pytest.mark.parametrize("version", ["1.29", "1.37"])
def test_every_manifest_is_valid_and_has_no_unknown_field(version: str) -> None:
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "kubernetes_validate",
        "--strict",
        "--kubernetes-version",
        version,
        *MANIFESTS,
    ]
    checked = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert (checked.stdout + checked.stderr).count(" passed ") == len(MANIFESTS)


def test_a_misspelt_field_would_be_seen(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yaml"
    text = (FOLDER / "deployment.yaml").read_text(encoding="utf-8")
    wrong.write_text(text.replace("readinessProbe:", "readinesProbe:"))
    command: list[str | Path] = [sys.executable, "-m", "kubernetes_validate", "--strict", wrong]
    assert subprocess.run(command, capture_output=True, timeout=120).returncode != 0


def test_kustomize_applies_every_manifest_and_makes_the_secret() -> None:
    kustomization = read("kustomization")
    assert sorted(kustomization["resources"]) == [file.name for file in MANIFESTS]
    (secret,) = kustomization["secretGenerator"]
    (mounted,) = [volume["secret"] for volume in pod()["volumes"] if "secret" in volume]
    assert secret["name"] == mounted["secretName"]
    ignored = (FOLDER.parents[1] / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert [f"/deploy/kubernetes/{file}" for file in secret["files"]] == [
        line for line in ignored if line.startswith("/deploy/kubernetes/")
    ]


def test_one_process_at_a_time_has_the_data() -> None:
    deployment = read("deployment")["spec"]
    assert deployment["replicas"] == 1
    assert deployment["strategy"] == {"type": "Recreate"}
    claim = read("volume")
    assert claim["spec"]["accessModes"] == ["ReadWriteOnce"]
    (data,) = [volume for volume in pod()["volumes"] if "persistentVolumeClaim" in volume]
    assert data["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    assert {mount["name"]: mount["mountPath"] for mount in container()["volumeMounts"]}[data["name"]] == "/data"


@pytest.mark.parametrize("deployment", ["deployment", "maintenance"])
def test_the_pods_may_do_nothing_they_need_not(deployment: str) -> None:
    user = int(last_stage("USER")[0].split(":")[0])
    assert pod(deployment)["automountServiceAccountToken"] is False
    assert pod(deployment)["enableServiceLinks"] is False
    context = pod(deployment)["securityContext"]
    assert (context["runAsNonRoot"], context["runAsUser"], context["fsGroup"]) == (True, user, user)
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container(deployment)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container(deployment)["resources"]["limits"]["memory"]
    assert container(deployment)["resources"]["requests"].keys() == {"cpu", "memory"}


def test_maintenance_has_the_servers_data_and_image_and_neither_its_name_nor_a_pod() -> None:
    maintenance, server = read("maintenance")["spec"], read("deployment")["spec"]
    assert (maintenance["replicas"], maintenance["strategy"]) == (0, {"type": "Recreate"})
    assert container("maintenance")["command"] == ["sleep", "infinity"]
    assert container("maintenance")["image"] == container()["image"]
    assert pod("maintenance")["securityContext"] == pod()["securityContext"]
    for part, of_server, of_maintenance in (
        ("mounts", container()["volumeMounts"], container("maintenance")["volumeMounts"]),
        ("volumes", pod()["volumes"], pod("maintenance")["volumes"]),
    ):
        assert [item for item in of_server if item["name"] != "secrets"] == of_maintenance, part
    served = read("service")["spec"]["selector"].items()
    assert served <= server["template"]["metadata"]["labels"].items()
    assert not served <= maintenance["template"]["metadata"]["labels"].items(), "no request may reach it"


def test_probes_ask_what_they_are_for() -> None:
    paths = {name: container()[name]["httpGet"]["path"] for name in container() if name.endswith("Probe")}
    assert paths == {"startupProbe": "/health", "livenessProbe": "/health", "readinessProbe": "/ready"}
    startup = container()["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] >= 60
    assert container()["readinessProbe"]["timeoutSeconds"] > 5, "a probe of a component may take 5 s"


def test_the_pod_has_time_to_stop() -> None:
    assert pod()["terminationGracePeriodSeconds"] == 45


def test_nobody_is_called_and_only_the_named_call() -> None:
    policy = read("network-policy")["spec"]
    assert set(policy["policyTypes"]) == {"Ingress", "Egress"}
    assert policy["egress"] == []
    assert all("namespaceSelector" in caller for rule in policy["ingress"] for caller in rule["from"])
    allowed = {port["port"] for rule in policy["ingress"] for port in rule["ports"]}
    assert allowed == {port["name"] for port in container()["ports"]}
    for deployment in ("deployment", "maintenance"):
        labels = read(deployment)["spec"]["template"]["metadata"]["labels"]
        assert policy["podSelector"]["matchLabels"].items() <= labels.items()


def test_the_token_for_set_up_comes_from_the_secret() -> None:
    given = {variable["name"]: variable["value"] for variable in container()["env"]}
    (mount,) = [mount for mount in container()["volumeMounts"] if mount["name"] == "secrets"]
    (file,) = read("kustomization")["secretGenerator"][0]["files"]
    assert given["PERPLEX_AUTH__SETUP_TOKEN_FILE"] == f"{mount['mountPath']}/{file}"


def test_clients_behind_the_ingress_are_told_apart() -> None:
    """One address for all of them would share one count of failed logins, and one of requests."""
    given = {variable["name"]: variable["value"] for variable in container()["env"]}
    proxies = load_settings(None, given).server.trusted_proxies
    guard = RequestGuard("0.0.0.0", has_users=lambda: True, trusted_proxies=proxies)
    controller = str(ip_network(given["PERPLEX_SERVER__TRUSTED_PROXIES"])[20])
    for client in ("198.51.100.7", "2001:db8::7"):
        assert guard.client_address(controller, {b"x-forwarded-for": client.encode()}) == client
        assert guard.client_address(client, {b"x-forwarded-for": b"203.0.113.9"}) == client, "who is no proxy"


def test_every_setting_given_exists() -> None:
    known = {f"PERPLEX_{name.replace('.', '__').upper()}" for name in setting_names()}
    assert {variable["name"] for variable in container().get("env", [])} <= known
