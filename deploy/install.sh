#!/bin/sh
# Installs the product from its locks. The Makefile, CI and the Dockerfile all install through this file.
#
#   deploy/install.sh VENV STEP...
#     runtime   the venv, torch, and the lock that belongs to the torch build that was found
#     dev       tools for tests, formatting, types and imports
#     lock      the tool that writes the locks
#     editable  the product itself, running from this folder
#     wheel     the product itself, built and copied into VENV; leaves no build tool behind
#     verify    stops if what is installed is not what the locks say
#
# A step whose inputs have not changed since it last succeeded is skipped. Environment:
#   PYTHON       the interpreter to build on; default: the first of python3, python3.13 ... that is new enough
#   TORCH        cpu, cuda or auto (default): cuda if an NVIDIA GPU is found
#   TORCH_INDEX  a package index that carries CPU builds of torch, if the configured ones do not
set -eu
cd "$(dirname "$0")/.."

say() { printf '%s\n' "$*" >&2; }

fits() { "$1" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' 2>/dev/null; }

find_python() {
  for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11 python3.14}; do
    if fits "$candidate"; then
      echo "$candidate"
      return
    fi
  done
  say "No Python from 3.11 to 3.14 with the venv module was found. Install one, or name it: make serve PYTHON=/path/to/python3"
  return 1
}

make_venv() {
  if [ -x "$venv/bin/pip" ] && fits "$venv/bin/python"; then return; fi
  python=$(find_python)
  say "Creating $venv with $("$python" --version)"
  "$python" -m venv --clear "$venv"
}

pip() { "$venv/bin/python" -m pip --disable-pip-version-check --no-input "$@"; }

install_lock() { pip install --quiet --no-deps --only-binary :all: --require-hashes --requirement "requirements/$1.txt"; }

wants_cuda() {
  case ${TORCH:-auto} in
    cuda) return 0 ;;
    cpu) return 1 ;;
    auto) [ -e /dev/nvidia0 ] || { command -v nvidia-smi >/dev/null 2>&1 && nvidia-smi -L >/dev/null 2>&1; } ;;
    *)
      say "TORCH is '$TORCH'; it can be cpu, cuda or auto."
      exit 2
      ;;
  esac
}

get_torch() { pip install --quiet --no-deps --only-binary :all: ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} "$@"; }

install_torch() {
  version=$(sed -n 's/^torch==//p' requirements/torch.txt)
  # Three equal signs: `==2.13.0` is also satisfied by `2.13.0+cpu`, and pip prefers that where it can see both.
  general_build="torch===$version"
  cpu_build="torch==$version+cpu"
  if [ "$(uname -s)" != Linux ] || wants_cuda; then
    get_torch "$general_build"
    return
  fi
  if get_torch "$cpu_build" 2>/dev/null; then return; fi
  say "No CPU-only build of torch ($cpu_build) is on the package indexes this machine's pip knows."
  say "Taking the general build instead. It carries CUDA: about 3 GB to download and 5 GB on disk, where the CPU build"
  say "needs 0.2 and 0.8. To avoid that, stop now and name an index that has CPU builds (the install page of the"
  say "PyTorch site gives its address): make serve TORCH_INDEX=ADDRESS"
  get_torch "$general_build"
}

# The general Linux build cannot even be imported without its CUDA libraries, so the build that was found decides.
variant_lock() {
  if [ "$(uname -s)" != Linux ]; then
    echo cpu
    return
  fi
  "$venv/bin/python" -c 'from importlib.metadata import requires
print("cuda" if any(need.startswith("nvidia-") for need in requires("torch") or []) else "cpu")'
}

step_runtime() {
  install_torch
  variant=$(variant_lock)
  install_lock "$variant"
  if [ "${TORCH:-auto}" = cpu ] && [ "$variant" = cuda ]; then
    say "TORCH=cpu was asked for, but what is installed carries CUDA, about 4 GB that are of no use here: no index that pip"
    say "knows has the CPU build. Name one that has, and begin again: TORCH_INDEX=ADDRESS, which the install page of the"
    say "PyTorch site gives."
  fi
}

step_dev() { install_lock dev; }

step_lock() { install_lock lock; }

step_editable() {
  install_lock build
  pip install --quiet --no-deps --no-build-isolation --editable .
}

step_wheel() {
  workshop=$(mktemp -d)
  "$venv/bin/python" -m venv "$workshop/venv"
  "$workshop/venv/bin/python" -m pip --disable-pip-version-check install --quiet --no-deps --require-hashes \
    --requirement requirements/build.txt
  "$workshop/venv/bin/python" -m pip --disable-pip-version-check wheel --quiet --no-deps --no-build-isolation \
    --wheel-dir "$workshop/dist" .
  pip install --quiet --no-deps --force-reinstall "$workshop"/dist/*.whl
  rm -rf "$workshop" "$venv/.stamp-editable"
}

step_verify() { "$venv/bin/python" deploy/verify_install.py "$(variant_lock)"; }

# What a step depends on, as text: the same text means the same result.
inputs() {
  cat deploy/install.sh
  case $1 in
    runtime)
      cat requirements/torch.txt requirements/cpu.txt requirements/cuda.txt
      if wants_cuda; then echo cuda; else echo cpu; fi
      ;;
    dev) cat requirements/dev.txt ;;
    lock) cat requirements/lock.txt ;;
    editable) cat pyproject.toml requirements/build.txt && pwd ;;
  esac
}

run_step() {
  stamp="$venv/.stamp-$1"
  wanted=$(inputs "$1" | cksum)
  if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then return; fi
  say "Installing: $1"
  "step_$1"
  echo "$wanted" >"$stamp"
}

venv=$1
shift
for step in "$@"; do
  case $step in
    runtime | dev | lock | editable | wheel | verify) ;;
    *)
      say "Unknown step '$step'."
      exit 2
      ;;
  esac
done
if wants_cuda; then say "An NVIDIA GPU was found or TORCH=cuda was given: the CUDA build of torch is used."; fi
make_venv
for step in "$@"; do
  case $step in
    wheel | verify) "step_$step" ;;
    *) run_step "$step" ;;
  esac
done
