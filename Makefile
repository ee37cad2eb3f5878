PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.ready

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint audit bench soak faults clean

help:  ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

setup: $(STAMP)  ## the environment alone, in .venv/

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Evenkeel needs Python 3.11 or newer: make PYTHON=/path/to/python3.11")'
	@echo "==> creating .venv ($$($(PYTHON) --version))"
	@$(PYTHON) -m venv .venv
	@echo "==> installing the pinned packages"
	@$(BIN)/python -m pip install --disable-pip-version-check --no-input --progress-bar on --require-hashes -r requirements.lock | sed -u -n 's/^\(Collecting\|Downloading\|Installing\|Successfully\) /    &/p'
	@test -x $(BIN)/pytest || { echo "installing the packages failed: run '$(BIN)/python -m pip install --require-hashes -r requirements.lock' to see why" >&2; exit 1; }
	@$(BIN)/python -m pip install --disable-pip-version-check --no-input --quiet --no-deps --no-build-isolation -e .
	@touch $(STAMP)
	@echo "==> ready: $(BIN)/collector, $(BIN)/analyzer"

demo: setup  ## QuestDB, exchange simulator, collector, verification and one analysis, on this machine
	@$(BIN)/collector demo $(if $(VENUES),--venues $(VENUES)) $(ARGS)

lint: setup
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

test: lint  ## lint, types, and the tests against a real QuestDB
	@$(BIN)/pytest -n auto --dist worksteal --durations 10 $(ARGS)

audit: setup  ## known holes in the pinned packages (asks a vulnerability service), secrets in tracked files
	@$(BIN)/pip-audit --disable-pip --require-hashes --requirement requirements.lock --progress-spinner off
	@$(BIN)/pytest -q -n 0 tests/test_security.py

bench: setup  ## the figures: prints them and writes bench.json
	@$(BIN)/python -m tests.bench $(ARGS)

soak: setup  ## memory over time under load and outages: ARGS="--duration 20m --rate 10000 --kill-every 3m"
	@$(BIN)/python -m tests.soak $(ARGS)

faults: setup  ## every fault in its long form, a million fuzzed messages; writes var/faults/faults.md
	@EVENKEEL_FAULTS_LONG=1 EVENKEEL_HYPOTHESIS_EXAMPLES=500 $(BIN)/pytest tests/faults tests/collector/test_journal_model.py -v $(ARGS)
	@$(BIN)/python -m tests.fuzz --messages 1000000
	@$(BIN)/python -m tests.fuzz.guided --seconds 300

clean:  ## the environment and everything recorded here
	rm -rf .venv var build dist
