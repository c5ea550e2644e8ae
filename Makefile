PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
READY_DEV := $(VENV)/.ready-dev
UV := $(BIN)/uv
LOCK := deploy/requirements.lock
LOCK_DEV := deploy/requirements-dev.lock
LOCK_UV := deploy/requirements-uv.lock
INSTALL := $(UV) pip install --quiet --python $(BIN)/python --no-deps
COMPILE := $(UV) pip compile --universal --generate-hashes --python-version 3.11 \
	--custom-compile-command "make lock" --quiet
# Tests that need no broker run on all cores at once.
PYTHON_ONLY := --numprocesses logical --dist worksteal tests/unit tests/property
# Tests with a broker mostly wait, so two files run at once; the tests of a file share its fixtures.
WITH_BROKER := --numprocesses 2 --dist loadfile tests --ignore tests/unit --ignore tests/property
# Command for the bank's own stack beside the demo's, on any free ports.
BANK := env KAIROS_HOME=$(or $(KAIROS_HOME),.kairos)-bank KAIROS_BROKER_PORT=0 KAIROS_GATEWAY_PORT=0 $(BIN)/kairos
# Seed of `make thorough`, printed with its command; `make thorough SEED=…` repeats the same cases.
SEED ?= $(shell od -An -N4 -tu4 /dev/urandom | tr -d ' ')
PEERS := floor,faust,quix,trivial,demo,large

# Without bytecode on disk each process of a stack would compile all modules at its start.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup dev demo test long unit thorough check format chaos bench lock clean
help: ## list the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

setup: $(READY) ## make a virtual environment for running Kairos, with .venv/bin/kairos

dev: $(READY_DEV) ## add the packages for tests, lint and benchmarks to it

$(UV): $(LOCK_UV)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r $(LOCK_UV)
	touch $@

$(READY): $(UV) $(LOCK) pyproject.toml
	$(INSTALL) --require-hashes -r $(LOCK)
	$(INSTALL) --no-build-isolation -e .
	touch $@

$(READY_DEV): $(READY) $(LOCK_DEV)
	$(INSTALL) --require-hashes -r $(LOCK_DEV)
	touch $@

demo: setup ## run the whole stack on demonstration data, then a learning bank for a minute
	$(BIN)/kairos demo
	$(BANK) up --config deploy/bank
	$(BANK) simulate bank --customers 300 --days 30 --live --seconds 60; \
	status=$$?; $(BANK) down; exit $$status

test: dev ## run every test but those of `make long` and `make chaos`: ten minutes
	status=0; $(BIN)/pytest -m "not (long or chaos)" $(PYTHON_ONLY) || status=1; \
	$(BIN)/pytest -m "not (long or chaos)" $(WITH_BROKER) || status=1; \
	exit $$status

long: dev ## run the tests that take a quarter of a minute or more each
	$(BIN)/pytest -m "long and not chaos" $(WITH_BROKER)

unit: dev ## run the tests that need only Python
	$(BIN)/pytest -m "not (long or chaos)" $(PYTHON_ONLY)

thorough: dev ## test every law on 2,000 random cases, or the law's own number: ten minutes
	$(BIN)/pytest tests/property --hypothesis-profile=thorough --hypothesis-seed=$(SEED)

check: dev ## check lint, format, types, import contracts, licences, known vulnerabilities
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy pipeline agents tests
	$(BIN)/lint-imports
	$(BIN)/pytest -q tests/unit/test_licences.py
	$(BIN)/python -m tests.support.audit

format: dev ## fix the findings of `make check` that ruff can fix
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

chaos: dev ## test kills and damages against an independent oracle: long
	$(BIN)/pytest -m chaos

bench: dev ## run every benchmark in a short form, with its peers: a quarter of an hour
	$(BIN)/kairos bench flow
	$(BIN)/kairos bench latency --systems $(PEERS) --rates 100,300 --seconds 5 --repeats 1
	$(BIN)/kairos bench throughput --systems $(PEERS),webhook,email,sms,push,pos --records 3000 --repeats 1
	$(BIN)/kairos bench stages --seconds 5
	$(BIN)/kairos bench catalog --decisions 500
	$(BIN)/kairos bench latency --systems floor,catalog --rates 300 --seconds 5 --repeats 1
	$(BIN)/kairos bench snapshots --seconds 10
	$(BIN)/kairos bench decide --seconds 10 --repeats 1
	$(BIN)/kairos bench recovery --repeats 1
	$(BIN)/kairos bench state --profiles 20000
	$(BIN)/kairos bench timers
	$(BIN)/kairos bench apply --profiles 5000 --seconds 10
	$(BIN)/kairos bench insights --journeys 200000 --repeats 1
	$(BIN)/kairos bench ingest --rows 100000
	$(BIN)/kairos bench replay --records 100000

lock: $(UV) ## pin every dependency by hash again
	$(COMPILE) pyproject.toml --group build -o $(LOCK)
	$(COMPILE) --group dev -c $(LOCK) -o $(LOCK_DEV)
	echo uv | $(COMPILE) - -o $(LOCK_UV)

clean: ## stop this home's broker; remove the environment, the home and caches
	-[ ! -x $(BIN)/kairos ] || $(BIN)/kairos broker stop
	rm -rf $(VENV) .kairos .kairos-bank .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
