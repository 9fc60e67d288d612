"""`kubectl` as far as the pages use it, where no cluster is: each pod is the same folder of the machine.

What there is it reads from the manifests. Paths and commands in a pod are as in `docker_stand_in`. The server's pod is
there when the server listens; that of another deployment when it was scaled up, which a file beside the data notes.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from tests.docker_stand_in import inside, is_running

FOLDER = Path(__file__).parents[1] / "deploy" / "kubernetes"
SERVER = "perplex-mono"
KIND = "deployment/"


def manifest(name: str) -> dict[str, Any]:
    """One of the manifests."""
    content: dict[str, Any] = yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
    return content


def deployments() -> dict[str, dict[str, str]]:
    """The labels of each deployment's pods."""
    found = [manifest(name) for name in ("deployment", "maintenance")]
    return {found["metadata"]["name"]: found["spec"]["template"]["metadata"]["labels"] for found in found}


def scaled_up(name: str) -> Path:
    """The file that is there while a deployment other than the server's has a pod."""
    return Path(os.environ["PERPLEX_DATA__DIRECTORY"]).with_name(f"{name}.scaled-up")


def has_pod(name: str) -> bool:
    """Whether there is a pod of the deployment."""
    return is_running() if name == SERVER else scaled_up(name).exists()


def deployment(word: str) -> str:
    """The name of a deployment that there is."""
    name = word.removeprefix(KIND)
    if not word.startswith(KIND) or name not in deployments():
        raise argparse.ArgumentTypeError(f"{word} not found")
    return name


def scale(given: argparse.Namespace) -> int:
    """Give a deployment a pod or take it away; the server's is started and stopped by who types the commands."""
    if given.deployment == SERVER:
        raise SystemExit("scaling the server's deployment is not known here")
    if given.replicas:
        scaled_up(given.deployment).touch()
    else:
        scaled_up(given.deployment).unlink()
    return 0


def wait(given: argparse.Namespace) -> int:
    """Until there is no pod with the label; here nothing is on its way."""
    name, _, value = given.selector.partition("=")
    selected = [deployment for deployment, labels in deployments().items() if labels.get(name) == value]
    if not selected or any(has_pod(deployment) for deployment in selected):
        raise SystemExit(f"timed out waiting for the condition on {selected}")
    return 0


def rollout(given: argparse.Namespace) -> int:
    """Until the deployment has its pod."""
    if not has_pod(given.deployment):
        raise SystemExit("timed out waiting for the condition")
    return 0


def execute(given: argparse.Namespace, words: list[str]) -> int:
    """A command in the pod of a deployment; without `--stdin` it reads nothing."""
    if not has_pod(given.deployment):
        raise SystemExit(f"no pod of {given.deployment} is running")
    command = [inside(word) for word in words]
    return subprocess.run(command, stdin=None if given.stdin else subprocess.DEVNULL, check=False).returncode


def parser() -> argparse.ArgumentParser:
    """What the page may give."""
    found = argparse.ArgumentParser("kubectl", allow_abbrev=False)
    found.add_argument("--namespace", required=True, choices=[manifest("kustomization")["namespace"]])
    commands = found.add_subparsers(dest="command", required=True)
    scaling, executing = commands.add_parser("scale"), commands.add_parser("exec")
    rolling = commands.add_parser("rollout").add_subparsers(required=True).add_parser("status")
    for one in (scaling, executing, rolling):
        one.add_argument("deployment", type=deployment)
    scaling.add_argument("--replicas", type=int, choices=[0, 1], required=True)
    executing.add_argument("--stdin", action="store_true")
    executing.add_argument("--tty", action="store_true")
    waiting = commands.add_parser("wait")
    waiting.add_argument("--for", choices=["delete"], required=True)
    waiting.add_argument("resource", choices=["pod"])
    waiting.add_argument("--selector", required=True)
    waiting.add_argument("--timeout")
    return found


def main(words: list[str]) -> int:
    """Do what was typed."""
    end = words.index("--") if "--" in words else len(words)
    given = parser().parse_args(words[:end])
    if given.command == "exec":
        return execute(given, words[end + 1 :])
    return {"scale": scale, "wait": wait, "rollout": rollout}[given.command](given)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
