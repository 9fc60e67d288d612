#!/bin/sh
# Writes the locks from pyproject.toml. Present pins are kept where they still fit; `UPGRADE=1` moves everything forward.
# Only metadata is fetched: no package is downloaded or built.
set -eu
cd "$(dirname "$0")/.."

uv=${UV:-.venv/bin/uv}
upgrade=${UPGRADE:+--upgrade}

compile() { # output, then what to resolve
  output=$1
  shift
  # shellcheck disable=SC2086  # an empty $upgrade must vanish
  "$uv" pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest --only-binary :all: \
    --generate-hashes --no-annotate --no-emit-package torch --custom-compile-command "make lock" \
    $upgrade --output-file "requirements/$output" "$@"
}

compile cpu.txt --extra ocr-v4 --excludes requirements/exclude-cpu.txt pyproject.toml
compile cuda.txt --extra ocr-v4 --excludes requirements/exclude-cuda.txt --constraint requirements/cpu.txt pyproject.toml
compile dev.txt --group dev --constraint requirements/cpu.txt
compile build.txt --group build --constraint requirements/dev.txt
compile lock.txt --group lock
