# Two commands: `make demo` shows the main job on real images, `make test` checks everything. `make help` lists the rest.
# Assumes python3 (3.11 to 3.13) with pip and venv; everything else is pinned by hash in requirements*.txt and *.lock.

SHELL := /bin/bash
PYTHON ?= python3
WORKERS ?= 2
BIN := .venv/bin
UV := $(BIN)/uv
STAMP := .venv/.installed
DEMO := demo
BENCH_ENV := bench/.peers-venv

# each test worker keeps to one core; without this every worker starts a thread per core
PYTEST := OMP_NUM_THREADS=1 $(BIN)/pytest -n $(WORKERS)

.PHONY: help setup demo test test-all lint format lock bench-env clean
.DEFAULT_GOAL := help

help: ## list these commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## */\1\t/' | expand -t 12

setup: $(STAMP) ## install everything into .venv

$(UV): requirements-uv.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip --version >/dev/null 2>&1 || $(BIN)/python -m ensurepip >/dev/null
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-uv.txt
	touch $(UV)

# bytecode is compiled here: where Python may not write it later (read-only installs, PYTHONDONTWRITEBYTECODE), every
# start of fovea would otherwise spend ten seconds compiling torch
$(STAMP): $(UV) requirements.lock pyproject.toml
	$(UV) pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r requirements.lock
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	touch $(STAMP)

demo: setup ## train, evaluate and report on scikit-learn's handwritten digits
	rm -rf $(DEMO)/run
	$(BIN)/python -m fovea.data.samples digits $(DEMO)/digits
	$(BIN)/fovea train $(DEMO)/digits --from-scratch --budget 60s --set data.hflip=0 --out $(DEMO)/run

test: setup lint ## lint, types, layers and all tests but the slow ones
	$(PYTEST) -m "not slow"

test-all: setup lint ## the slow tests too
	$(PYTEST)

lint: setup ## format check, lint, types, direction of imports
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup ## format and mend what can be mended
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

LOCK := $(UV) pip compile --quiet --generate-hashes --universal --python-version 3.11 --no-header --no-emit-index-url
lock: $(UV) ## pin the dependencies anew, by hash and without addresses
	$(LOCK) --no-annotate --group pyproject.toml:bootstrap -o requirements-uv.txt
	$(LOCK) pyproject.toml --all-extras --group dev -o requirements.lock
	$(LOCK) bench/peers.txt -o bench/peers.lock

bench-env: $(BENCH_ENV)/.installed ## the peers that bench/ compares with, in an environment of their own

$(BENCH_ENV)/.installed: $(UV) bench/peers.lock
	$(UV) venv --quiet --allow-existing --python $(BIN)/python $(BENCH_ENV)
	$(UV) pip install --quiet --python $(BENCH_ENV)/bin/python --require-hashes -r bench/peers.lock
	touch $@

clean: ## remove what the commands above made, but not .venv
	rm -rf $(DEMO) dist build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
