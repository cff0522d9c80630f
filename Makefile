# What a developer runs; `make` alone lists it. Everything needs Python 3.11 or newer and nothing else; where there is a
# Rust toolchain as well, the native transcoder is built, tested and checked too.

VENV := .venv
BIN := $(VENV)/bin
CODE := src simulator/src tests tools benchmarks
READY := $(VENV)/.ready
NATIVE := $(VENV)/.native
CONNECT_CHECKS := $(VENV)/connect-checks/.ready
CRATE := --manifest-path native/Cargo.toml
# True where the transcoder can be built: there is Rust, a linker, and its crates are here or can be fetched.
HAS_RUST := command -v cargo >/dev/null && command -v cc >/dev/null && cargo fetch --quiet --locked $(CRATE)

# The first Python on PATH that is new enough and can make a virtual environment; PYTHON=… chooses another.
CHECK := import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for name in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$name -c '$(CHECK)' 2>/dev/null && echo $$name && break; done)

.DEFAULT_GOAL := help
.PHONY: help setup native demo test soak bench lint fmt lock clean

help:  ## List these targets
	@sed -n 's/^\([a-z]*\):[^#]*## /  make \1|/p' Makefile | awk -F '|' '{printf "%-14s %s\n", $$1, $$2}'

setup: $(READY) $(NATIVE) $(CONNECT_CHECKS)  ## Make .venv with everything in it; again when requirements/ or pyproject.toml change

$(READY): requirements/dev.txt requirements/deploy-checks.txt pyproject.toml simulator/pyproject.toml
	@test -n "$(PYTHON)" || { echo "Tailrace needs Python 3.11 or newer with venv and ensurepip, and none of python3 and" \
		"python3.11 to python3.14 on PATH is that; install one (on Debian and Ubuntu: apt install python3 python3-venv)" \
		"or name yours: make PYTHON=/path/to/python3" >&2; exit 1; }
	@echo "making $(VENV) (once, about a minute)" >&2
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps \
		--editable . --editable simulator
	@$(BIN)/python -m venv $(VENV)/deploy-checks
	@$(VENV)/deploy-checks/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes \
		-r requirements/deploy-checks.txt
	@touch $@

$(CONNECT_CHECKS): requirements/connect-checks.txt $(READY)
	@$(BIN)/python -m venv --clear $(@D)
	@$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

native: $(NATIVE)  ## Build the native transcoder into .venv, or say why not

# Where it cannot be built there is no stamp: the next make looks again.
$(NATIVE): $(READY) $(wildcard native/*.toml native/Cargo.lock native/src/*.rs native/transcode/*.toml native/transcode/src/*.rs)
	@if $(HAS_RUST); then \
		echo "building the native transcoder (about a minute the first time)" >&2; \
		VIRTUAL_ENV=$(abspath $(VENV)) $(BIN)/maturin develop --quiet --release $(CRATE) && touch $@; \
	else \
		echo "no Rust toolchain (cargo), no linker (cc), or its crates cannot be fetched: the native transcoder is not" \
			"built, and Tailrace is pure Python here, which is complete and slower" >&2; \
		$(BIN)/python -m pip uninstall --quiet --disable-pip-version-check --yes tailrace-native 2>/dev/null; \
	fi

demo: $(READY)  ## See it work: Kafka, DynamoDB Local, two workers, one of them killed, and the verdict
	@$(BIN)/tailrace demo

# Two at once, as most tests wait most of the time: each process has services of its own, and a file's tests stay together.
test: $(READY) $(NATIVE) $(CONNECT_CHECKS)  ## Run all tests, on a real Kafka and DynamoDB Local that are started for them
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder

# make soak CHANGES=1000000 KILLS=200, make soak HOURS=1, make soak SEED=7 MINUTES=5: what is not given follows from the rest.
soak: $(READY)  ## Real workers on three real brokers under faults: SEED, SOURCE, CHANGES, KILLS, MINUTES or HOURS, WORKERS, ITEMS
	@PYTHONPATH=tests $(BIN)/python -m chaos $(if $(SEED),--seed $(SEED)) $(if $(SOURCE),--source $(SOURCE)) \
		$(if $(CHANGES),--changes $(CHANGES)) $(if $(KILLS),--kills $(KILLS)) $(if $(MINUTES),--minutes $(MINUTES)) $(if $(HOURS),--hours $(HOURS)) \
		$(if $(WORKERS),--workers $(WORKERS)) $(if $(ITEMS),--items $(ITEMS)) $(SOAK)

# QUICK=1 only shows that it runs; ONLY=page,worker runs some parts; WRITE=1 writes docs/performance.* again;
# ONLY=keys KEYS=10000000 measures memory at so many keys.
bench: $(READY)  ## Measure how fast it is beside the usual code (QUICK=1, ONLY=page,worker, WRITE=1, KEYS=10000000)
	$(BIN)/python -m benchmarks $(if $(QUICK),--quick) $(if $(ONLY),--only $(ONLY)) $(if $(WRITE),--write) \
		$(if $(KEYS),--keys $(KEYS))

lint: $(READY)  ## Check style, types and the import rule
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/lint-imports --config simulator/pyproject.toml
	@if $(HAS_RUST); then set -x; \
		cargo fmt $(CRATE) --all --check && cargo clippy --quiet --locked $(CRATE) --workspace --all-targets -- -D warnings; \
	else echo "native/ is not checked: there is no Rust toolchain (cargo), no linker (cc), or its crates cannot be fetched" >&2; fi

fmt: $(READY)  ## Format the code and fix what can be fixed
	$(BIN)/ruff check --fix $(CODE)
	$(BIN)/ruff format $(CODE)
	@if command -v cargo >/dev/null; then cargo fmt $(CRATE) --all; fi

# uv is not among the requirements that it writes: it lives in an environment of its own for this one command.
lock: $(READY)  ## Write the pinned requirements again from pyproject.toml
	@set -e; tools=$$(mktemp -d); trap 'rm -rf "$$tools"' EXIT; \
	$(BIN)/python -m venv "$$tools"; \
	"$$tools/bin/python" -m pip install --quiet --disable-pip-version-check uv; \
	"$$tools/bin/uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes --all-extras --group dev \
		--no-emit-package tailrace-native --no-emit-package tailrace-simulator pyproject.toml -o requirements/dev.txt; \
	"$$tools/bin/uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes --group deploy-checks \
		-o requirements/deploy-checks.txt; \
	"$$tools/bin/uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes \
		requirements/connect-checks.in -o requirements/connect-checks.txt; \
	"$$tools/bin/uv" pip compile --quiet --universal --python-version 3.12 --generate-hashes --no-annotate \
		--custom-compile-command "make lock" --constraint requirements/dev.txt --group layer \
		-o src/tailrace/deploy/requirements.txt

clean:  ## Remove .venv and what the tools leave behind (not the cache of downloads)
	rm -rf $(VENV) native/target .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache build dist
	find src simulator tests tools benchmarks -name __pycache__ -prune -exec rm -rf {} +
