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
# These need no broker, hence run on all cores at once.
PYTHON_ONLY := --numprocesses logical --dist worksteal tests/unit tests/property
# These wait for most of their time; a file's tests share what they start.
WITH_BROKER := --numprocesses 2 --dist loadfile tests --ignore tests/unit --ignore tests/property
# A stack of its own beside the demo's, on any free ports.
BANK := env KAIROS_HOME=$(or $(KAIROS_HOME),.kairos)-bank KAIROS_BROKER_PORT=0 KAIROS_GATEWAY_PORT=0 $(BIN)/kairos
# Of `make thorough`, printed with its command; `make thorough SEED=…` tries the same cases again.
SEED ?= $(shell od -An -N4 -tu4 /dev/urandom | tr -d ' ')
PEERS := floor,faust,quix,trivial,demo,large

# Where bytecode is not kept, each of a stack's processes compiles all modules anew as it starts.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup dev demo test long unit thorough check format chaos bench lock clean
help: ## show this
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

setup: $(READY) ## virtual environment with what running needs; leaves .venv/bin/kairos

dev: $(READY_DEV) ## what tests, lint and benchmarks need as well

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

demo: setup ## the whole stack on demonstration data, then a minute of a bank that learns
	$(BIN)/kairos demo
	$(BANK) up --config deploy/bank
	$(BANK) simulate bank --customers 300 --days 30 --live --seconds 60; \
	status=$$?; $(BANK) down; exit $$status

test: dev ## every test but those of `make long` and `make chaos`: ten minutes
	status=0; $(BIN)/pytest -m "not (long or chaos)" $(PYTHON_ONLY) || status=1; \
	$(BIN)/pytest -m "not (long or chaos)" $(WITH_BROKER) || status=1; \
	exit $$status

long: dev ## the tests that take a quarter of a minute or more each
	$(BIN)/pytest -m "long and not chaos" $(WITH_BROKER)

unit: dev ## the tests that need nothing but Python
	$(BIN)/pytest -m "not (long or chaos)" $(PYTHON_ONLY)

thorough: dev ## every law on as many random cases as it has: 2,000, or its own number; ten minutes
	$(BIN)/pytest tests/property --hypothesis-profile=thorough --hypothesis-seed=$(SEED)

check: dev ## lint, format, types, import contract, licences, known vulnerabilities
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy pipeline agents tests
	$(BIN)/lint-imports
	$(BIN)/pytest -q tests/unit/test_licences.py
	$(BIN)/python -m tests.support.audit

format: dev ## what `check` asks for, where it can be done by machine
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

chaos: dev ## kills and damages against an independent oracle
	$(BIN)/pytest -m chaos

bench: dev ## every measurement in a short form, side by side with peers: a quarter of an hour
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
