# Every verb does the set-up it needs. Python >= 3.11 and make are all that must be there.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# Without this the folders runtime/, actors/, ... would be importable under two names.
export PYTHONSAFEPATH := 1

.PHONY: setup run test check demo bench dist clean
.DEFAULT_GOAL := setup

setup: $(READY)

$(READY): pyproject.toml .ci/constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "holdfast needs Python 3.11 or newer, this is " + sys.version)'
	@echo "setting up $(VENV) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c .ci/constraints.txt -e '.[specs,dev]'
	@mkdir -p build/importroot/holdfast
	@for folder in runtime supervisors actors specs; do ln -sfn ../../../$$folder build/importroot/holdfast/$$folder; done
	@touch $@

run: $(READY)
	@$(BIN)/holdfast run $(ARGS)

test: $(READY)
	@rm -f build/.coverage*
	@$(BIN)/python -m pytest -n 2 --dist worksteal --cov --cov-report= $(ARGS)
	@$(BIN)/python tests/repository/coverage_floors.py

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy tests
	$(BIN)/pyright
	PYTHONPATH=build/importroot $(BIN)/lint-imports

demo: $(READY)
	@$(BIN)/holdfast demo $(ARGS)

# What draws the picture is large, and nothing else needs it.
$(VENV)/.bench-ready: $(READY)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c .ci/constraints.txt -e '.[bench]'
	@touch $@

bench: $(VENV)/.bench-ready
	@PYTHONPATH=$(CURDIR) $(BIN)/python -m tests.benchmarks $(ARGS)

dist: $(READY)
	@$(BIN)/python -m build --outdir dist

clean:
	rm -rf build dist $(VENV) *.egg-info
