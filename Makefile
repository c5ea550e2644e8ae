PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
LOCK := deploy/requirements.lock
PEERS := floor,faust,quix,trivial,demo,large

.PHONY: help setup demo test unit thorough check format chaos bench lock clean
help: ## show this
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

setup: $(READY) ## virtual environment with the locked dependencies; leaves .venv/bin/kairos

$(READY): $(LOCK) pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r $(LOCK)
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

demo: setup ## the whole stack on demonstration data
	$(BIN)/kairos demo

test: setup ## every test but the long ones of `make chaos`
	$(BIN)/pytest -m "not chaos"

unit: setup ## the tests that need nothing but Python
	$(BIN)/pytest tests/unit tests/property

thorough: setup ## the laws of persons, profiles and segments on 2,000 cases each: ten minutes
	$(BIN)/pytest tests/property --hypothesis-profile=thorough

check: setup ## lint, format, types, import contract
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy pipeline agents
	$(BIN)/lint-imports

format: setup ## what `check` asks for, where it can be done by machine
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

chaos: setup ## kills and damages against an independent oracle
	$(BIN)/pytest -m chaos

bench: setup ## every measurement in a short form, side by side with peers: a quarter of an hour
	$(BIN)/kairos bench flow
	$(BIN)/kairos bench latency --systems $(PEERS) --rates 100,300 --seconds 5 --repeats 1
	$(BIN)/kairos bench throughput --systems $(PEERS),webhook --records 3000 --repeats 1
	$(BIN)/kairos bench stages --seconds 5
	$(BIN)/kairos bench decide --seconds 10 --repeats 1
	$(BIN)/kairos bench recovery --repeats 1
	$(BIN)/kairos bench state --profiles 20000
	$(BIN)/kairos bench timers
	$(BIN)/kairos bench apply --profiles 5000 --seconds 10

lock: setup ## pin every dependency by hash again
	$(PYTHON) -m venv $(VENV)-lock
	$(VENV)-lock/bin/pip install --quiet --disable-pip-version-check uv
	$(VENV)-lock/bin/uv pip compile pyproject.toml --group dev --universal --generate-hashes \
		--python-version 3.11 --custom-compile-command "make lock" --quiet -o $(LOCK)
	rm -rf $(VENV)-lock

clean: ## stop this home's broker; remove the environment, the home and caches
	-[ ! -x $(BIN)/kairos ] || $(BIN)/kairos broker stop
	rm -rf $(VENV) .kairos .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
