# Two commands do everything on a fresh Debian machine with Python 3.11 and git:
#   make demo   sets up, then runs the whole pipeline on synthetic slides
#   make test   sets up, then runs the tests
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test test-slow test-long check lint types contract docs clean

demo: $(VENV)/.train
	$(BIN)/bci-pipeline demo

test: $(VENV)/.dev
	.ci/with-display $(BIN)/python -m pytest -n 2 --dist loadfile --durations=20

test-slow: $(VENV)/.dev
	.ci/with-display $(BIN)/python -m pytest -n 2 --dist loadfile --durations=20 -m "slow and not long and not gpu"
	.ci/with-display $(BIN)/python -m pytest -m long tests/napari_plugin/test_walk.py

test-long: $(VENV)/.dev
	.ci/with-display $(BIN)/python -m pytest -m long

check: lint types contract

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev
	$(BIN)/mypy

contract: $(VENV)/.dev
	$(BIN)/lint-imports

$(VENV)/.base: pyproject.toml constraints.txt
	.ci/system-packages base
	@test -x $(BIN)/python || $(PYTHON) -c 'import sys; old = sys.version_info < (3, 11); \
	  sys.exit("Python 3.11 or later is needed, and $(PYTHON) is %d.%d: name another, as in make demo PYTHON=python3.11" \
	  % tuple(sys.version_info)[:2] if old else 0)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e .
	touch $@

$(VENV)/.train: $(VENV)/.base
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[train]'
	touch $@

$(VENV)/.dev: $(VENV)/.base
	.ci/system-packages gui
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[train,napari,slurm,docs,dev]'
	touch $@

docs: $(VENV)/.dev
	$(BIN)/mkdocs build --strict

clean:
	rm -rf $(VENV) demo site
