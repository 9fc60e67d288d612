# Two commands matter: `make serve` and `make test`. `make help` lists the others.
#
#   PYTHON=python3.12    the interpreter to build .venv on (3.11 or newer; found by itself)
#   TORCH=cpu|cuda       which build of torch to install (default: cuda if an NVIDIA GPU is found, else cpu)
#   TORCH_INDEX=ADDRESS  a package index with CPU builds of torch, for Linux where pip's own has none
#   ARGS="..."           more arguments for serve, test, faults, soak or bench

VENV := .venv
BIN := $(VENV)/bin
INSTALL := deploy/install.sh $(VENV)
# Two files of tests at a time, since many wait for servers; each file's own tests in their order.
WHOLE_SUITE := -n 2 --dist loadfile --cov --cov-report=

# Only what was given: an empty PYTHON would be a wrong one.
export PYTHON TORCH TORCH_INDEX

.DEFAULT_GOAL := help
.PHONY: help install install-dev serve test faults soak check lint audit coverage format bench lock wheels build clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' Makefile

install: ## make .venv with the pinned versions, nothing if it is up to date
	@$(INSTALL) runtime editable

install-dev: ## the same, with the development tools
	@$(INSTALL) runtime dev editable

serve: install ## install what is missing and start the server on http://127.0.0.1:8080
	@exec $(BIN)/perplex-mono serve $(ARGS)

test: install-dev ## install what is missing and run the whole suite
	@$(INSTALL) verify
	@$(BIN)/python -m pytest $(or $(ARGS),$(WHOLE_SUITE))

faults: install-dev ## run every fault test at full length (hours), print the table, keep it in docs/reliability.md
	@$(BIN)/python -m pytest tests/system/faults -m "" --store-faults $(ARGS)

soak: install-dev ## an hour of ingest, search and sockets: does it grow? ARGS="--minutes 10" for less
	@$(BIN)/python -m benchmarks.soak $(ARGS)

check: lint audit coverage ## everything about the code but its tests' results

lint: install-dev ## formatting, lint, types, import contracts, dangerous calls
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/bandit --quiet --configfile pyproject.toml --recursive --severity-level medium src

audit: install-dev ## known vulnerabilities of the locked packages, where the service that knows them answers
	@$(BIN)/python .ci/audit.py

coverage: .coverage ## fail if the tests reach less than 90 % of src
	@$(BIN)/python -m coverage report

# `make test` leaves it behind; without it, or when the code is newer, the tests that run in one process are enough.
.coverage: $(shell find src tests -name '*.py') | install-dev
	@$(BIN)/python -m coverage run -m pytest tests/unit tests/slices tests/contract

format: install-dev ## rewrite the files as `make check` wants them
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: install-dev ## run the benchmarks, print their table, write JSON
	@$(BIN)/python -m benchmarks $(ARGS)

lock: ## write requirements/*.txt from pyproject.toml (UPGRADE=1 moves every pin forward)
	@$(INSTALL) lock
	UV=$(BIN)/uv requirements/lock.sh

wheels: install-dev ## name locked packages without a wheel for a supported platform
	@$(BIN)/python .ci/check_wheels.py $(ARGS)

build: install-dev ## build the project's wheel into dist/
	@$(BIN)/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .

clean: ## remove .venv and everything generated; the data folder stays
	rm -rf $(VENV) dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage
	find src tests benchmarks migrations -name __pycache__ -type d -prune -exec rm -rf {} +
