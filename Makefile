# Two commands: `make run` shows Tollbook on its bundled example, `make test` proves it.
# Both create .venv from requirements.lock the first time, and again only when the lock changed.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# One more than there are cores: tests of sources wait a third of their time, for servers and clocks.
TESTERS := $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)
STAMP := $(VENV)/.installed-from-lock
export DO_NOT_TRACK := 1
export DAGSTER_DISABLE_TELEMETRY := 1

.DEFAULT_GOAL := help

.PHONY: help
help: ## List the targets.
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

$(STAMP): requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or later is needed; set PYTHON=/path/to/python3.11"; exit 2; }
	@echo "Setting up .venv from requirements.lock (once)"
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r tools/bootstrap.txt
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	$(BIN)/python -m compileall -q orchestration
	@touch $(STAMP)

.PHONY: setup
setup: $(STAMP) ## Create the environment from the lock file.

.PHONY: run
run: $(STAMP) ## Run the whole pipeline once on the bundled example.
	@$(BIN)/python examples/run.py

.PHONY: test
test: $(STAMP) ## Lint, type-check and run every test; with LONG=no all but the longest.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright
	$(BIN)/lint-imports
	$(BIN)/pytest -n $(TESTERS) --dist loadfile --no-loadscope-reorder $(if $(filter no,$(LONG)),-m "not long")

.PHONY: lint-sql
lint-sql: $(STAMP) ## Lint the SQL models.
	TOLLBOOK_DATABASE=:memory: TOLLBOOK_TEMP=target/tmp $(BIN)/sqlfluff lint models tests/dbt

.PHONY: bench bench-quick bench-full bench-accuracy
bench: $(STAMP) ## Measure every bench beside its anchor, in minutes; writes docs/performance.md.
	$(BIN)/python bench/run.py

bench-quick: $(STAMP) ## Check that every bench still gives the right results; measures nothing.
	$(BIN)/python bench/run.py --quick

bench-full: $(STAMP) ## The sizes of the goals, up to 100 M rows; hours, and 50 GB of disk.
	$(BIN)/python bench/run.py --full

bench-accuracy: $(STAMP) ## Plant faults in 200 invented months and see which are found.
	$(BIN)/python bench/accuracy/run.py --write

.PHONY: lock
lock: ## Resolve the dependencies anew.
	$(BIN)/uv pip compile pyproject.toml --group dev --generate-hashes --no-emit-index-url --no-header --universal --python-version 3.11 --upgrade -o requirements.lock

.PHONY: clean
clean: ## Remove the environment and everything a run leaves behind.
	rm -rf $(VENV) data target logs
