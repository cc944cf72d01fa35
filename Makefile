# `make help` lists what there is. Every target makes the environment first, if it is not there or out of date.
.DEFAULT_GOAL := help
SHELL := bash

PYTHON := .venv/bin/python
EVENTMILL := .venv/bin/eventmill
# More arguments for the command of a target, and the folder to accept: make test ARGS='-k budget'; make accept DATA=folder
ARGS ?=
DATA ?=

.PHONY: help
help: ## Show this list
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: setup
setup: ## Make the environment in .venv from requirements.lock
	@scripts/setup

.PHONY: lock
lock: ## Resolve the dependencies of pyproject.toml anew into requirements.lock and requirements-train.lock
	UV_CUSTOM_COMPILE_COMMAND="make lock" scripts/uv pip compile --universal --generate-hashes --no-emit-index-url --no-annotate --python-version 3.11 \
		--extra stack --extra test --extra dev --upgrade --quiet pyproject.toml -o requirements.lock
	UV_CUSTOM_COMPILE_COMMAND="make lock" scripts/uv pip compile --universal --generate-hashes --no-emit-index-url --no-annotate --python-version 3.11 \
		--extra stack --extra test --extra train --constraints requirements.lock --upgrade --quiet pyproject.toml -o requirements-train.lock

.PHONY: fmt
fmt: setup ## Repair what ruff can repair, the order of imports for one
	$(PYTHON) -m ruff check --fix .

.PHONY: lint
lint: setup ## Check the style
	$(PYTHON) -m ruff check .

.PHONY: types
types: setup ## Check the types
	$(PYTHON) -m mypy

.PHONY: imports
imports: setup ## Check that imports go one way
	.venv/bin/lint-imports

# Tests with servers wait most of their time, so rows of tests run side by side, on one stack. What measures runs alone.
WITH_WORKERS := tests/integration/streams \
	$(addprefix tests/integration/test_,crash.py demo.py accept.py local_models.py) tests/acceptance/test_readme.py
MEASURING := tests/benchmarks
ifeq ($(strip $(ARGS)),)
.PHONY: test
test: setup ## Check style, types and imports, and run all tests, the local stack around those that need it
	@echo 'Three rows of checks and tests run side by side; each shows what it has done at its end.'
	@$(MAKE) --no-print-directory --jobs=3 --output-sync=target test-workers test-commands test-alone
	$(PYTHON) -m pytest -m integration $(MEASURING)
else
.PHONY: test
test: lint types imports
	$(PYTHON) -m pytest $(ARGS)
endif

.PHONY: test-alone test-workers test-commands
test-alone: setup
	$(PYTHON) -m ruff check .
	$(PYTHON) -m mypy
	.venv/bin/lint-imports
	$(PYTHON) -m pytest -m 'not integration'

test-workers: setup
	$(PYTHON) -m pytest -m integration $(WITH_WORKERS)

test-commands: setup
	$(PYTHON) -m pytest -m integration tests $(addprefix --ignore=,$(WITH_WORKERS) $(MEASURING))

.PHONY: fuzz
fuzz: setup ## Try the property tests on new random examples
	EVENTMILL_FUZZ=1 $(PYTHON) -m pytest -m 'hypothesis and not integration' $(ARGS)

.PHONY: up
up: setup ## Start the local stack
	$(EVENTMILL) dev up $(ARGS)

.PHONY: down
down: setup ## Stop the local stack
	$(EVENTMILL) dev down $(ARGS)

.PHONY: demo
demo: setup ## Show eventmill at work, from nothing to results
	$(EVENTMILL) demo $(ARGS)

.PHONY: bench
bench: setup ## Measure throughput, latency and cost per event
	$(EVENTMILL) bench $(ARGS)

.PHONY: parity
parity: ## Compare MiniLM, linear heads and the rate of embedding with torch's, in .venv-train (6 GB)
	@scripts/setup train
	.venv-train/bin/python -m pytest tests/parity -s $(ARGS)

.PHONY: sabotage
sabotage: setup ## Break the code on purpose and see that a test notices
	$(PYTHON) tests/sabotage/run.py $(ARGS)

.PHONY: warehouse
warehouse: setup ## Bring results into Postgres and into an Iceberg table, and read them back
	@scripts/uv venv --quiet --allow-existing .eventmill/pyiceberg
	@scripts/uv pip install --quiet --python .eventmill/pyiceberg/bin/python 'pyiceberg[sql-postgres,pyarrow]==0.12.0'
	$(PYTHON) -m pytest tests/integration/test_warehouse.py tests/warehouse/iceberg.py $(ARGS)

.PHONY: accept
accept: setup ## Send the questions of FOLDER/test.csv through an example and count: make accept DATA=FOLDER
	@test -n '$(DATA)' || { echo 'error: name the folder that holds test.csv: make accept DATA=FOLDER' >&2; exit 2; }
	$(EVENTMILL) accept --data '$(DATA)' $(ARGS)
