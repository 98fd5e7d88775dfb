# What a newcomer and CI type. Needs only python3 (3.11 or newer, with venv) and make; PYTHON=... chooses another interpreter.

PYTHON ?= python3
JOBS ?= 2
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
COVERAGE_FLOOR := 93
UV := uv==0.13.8
SERVED := --extra server --extra s3 --extra azure --extra gcs --extra sql
LOCK := --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header --quiet

.DEFAULT_GOAL := help
.PHONY: help run setup check test services test-services deep fuzz bench docs lock clean FORCE

help:
	@echo 'make run     set up, then run the main job on a sample media project'
	@echo 'make test    set up, then run every test that needs only Python packages'
	@echo 'make check   lint, format, types, import rules, and the coverage of the last `make test`'
	@echo 'make test-services  fetch real object stores into .services/, and run the tests that need them; needs go, npm and PostgreSQL'
	@echo 'make deep    the whole sweeps of which `make test` takes samples; some hours; needs what `make test-services` needs'
	@echo 'make fuzz    feed every parser for SECONDS=60 each with what a coverage-guided fuzzer thinks of'
	@echo 'make bench   measure beside cp, git-lfs, borg and restic; writes benchmarks/RESULTS.md'
	@echo 'make docs    write docs/cli.md from the commands'
	@echo 'make setup   only create $(VENV)'
	@echo 'make lock    choose dependency versions anew and write requirements/'
	@echo 'make clean   remove everything that make made'

run: setup
	@$(BIN)/python -m benchmarks.tour

setup: $(READY)

# The checkout was moved or copied: its environment still points to the old place.
ifneq ($(shell cat $(READY) 2>/dev/null),$(CURDIR))
$(READY): FORCE
endif

$(READY): pyproject.toml requirements/dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo 'MediaVault needs Python 3.11 or newer; name one: make PYTHON=/path/to/python3' >&2; exit 1; }
	@if ! { test -x $(BIN)/python && $(BIN)/python -m pip --version | grep -qF '$(CURDIR)/'; } >/dev/null 2>&1; then \
	  rm -rf $(VENV); \
	  $(PYTHON) -m venv $(VENV) || { \
	    rm -rf $(VENV); \
	    echo 'This Python cannot create environments. On Debian or Ubuntu: apt install python3-venv' >&2; exit 1; }; \
	fi
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@printf '%s' '$(CURDIR)' > $(READY)

test: setup
	@rm -f .coverage .coverage.*
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal --cov --cov-report= $(PYTEST_ARGS)

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@test -f .coverage || { echo 'No coverage was measured here yet: run make test first.' >&2; exit 1; }
	$(BIN)/coverage report --fail-under=$(COVERAGE_FLOOR)

deep: services
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal -m deep --timeout 14400 $(PYTEST_ARGS)

services: setup
	$(BIN)/python -m tests.services install

test-services: services
	$(BIN)/python -m pytest -m services --cov --cov-append --cov-report= $(PYTEST_ARGS) tests/services

fuzz: setup
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements/fuzz.txt
	$(BIN)/python -m tests.fuzz all --seconds $(or $(SECONDS),60)

docs: setup
	$(BIN)/python -m mediavault.cli.document docs/cli.md

bench: setup
	$(BIN)/python -m benchmarks $(BENCH_ARGS)

lock:
	@scratch=$$(mktemp -d) && trap 'rm -rf "$$scratch"' EXIT && \
	$(PYTHON) -m venv "$$scratch/venv" && \
	"$$scratch/venv/bin/python" -m pip install --quiet --disable-pip-version-check $(UV) && \
	$(PYTHON) -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")' \
	  > "$$scratch/build.in" && \
	compile="$$scratch/venv/bin/uv pip compile $(LOCK)" && \
	$$compile --upgrade $(SERVED) pyproject.toml -o requirements/run.txt > /dev/null && \
	$$compile --upgrade --extra dev -c requirements/run.txt pyproject.toml "$$scratch/build.in" \
	  -o requirements/dev.txt > /dev/null && \
	$$compile --upgrade -c requirements/dev.txt "$$scratch/build.in" -o requirements/build.txt > /dev/null

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache htmlcov dist build .coverage .coverage.*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

FORCE:
