# `make train` and `make test` work on a fresh machine: both build .venv first.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: install train test test-slow test-browser notebooks docs bench bench-peers soak dist lint format types clean

# One stamp per set of extras, renewed when the dependencies change.
install: .venv/installed-base

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/installed-base: pyproject.toml | .venv/bin/python
	@echo "installing into .venv, about 900 MB"
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

.venv/installed-dev: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[test,dev]'
	touch $@ .venv/installed-base

.venv/installed-notebooks: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[notebooks]'
	touch $@ .venv/installed-base

.venv/installed-docs: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	touch $@ .venv/installed-base

.venv/installed-bench: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[bench]'
	touch $@ .venv/installed-base

train: install
	$(BIN)/python train.py --num_envs 512

test: .venv/installed-dev
	$(BIN)/python -m pytest -n auto --durations=25

test-slow: .venv/installed-dev .venv/installed-bench
	$(BIN)/python -m pytest -m slow

test-browser: .venv/installed-dev
	$(BIN)/python -m pytest -m browser

# Every notebook from its first cell to its last, with small parameters; outputs are left as they are. Nearly all of the
# time is compilation, so XLA is told to hurry.
notebooks: .venv/installed-dev .venv/installed-notebooks
	QMIX_NOTEBOOK_SMALL=1 JAX_DISABLE_MOST_OPTIMIZATIONS=1 $(BIN)/python -m pytest -n auto --nbmake notebooks

docs: .venv/installed-docs
	$(BIN)/python -m mkdocs build --strict

bench: .venv/installed-bench
	$(BIN)/python benchmarks/bench.py

# Beside JaxMARL's own scripts: hours, and it continues where it was stopped. JAXMARL is a checkout of its repository.
bench-peers: .venv/installed-dev
	$(BIN)/python benchmarks/peers/run.py --jaxmarl "$(JAXMARL)"
	$(BIN)/python benchmarks/peers/table.py

# An hour; `make soak MINUTES=5` for less.
MINUTES ?= 60
soak: install
	$(BIN)/python benchmarks/soak.py --minutes $(MINUTES)

# Wheel and source distribution, checked as the package index checks them.
dist: .venv/installed-dev
	rm -rf dist
	$(BIN)/python -m build
	$(BIN)/python -m twine check --strict dist/*

lint: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: .venv/installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: .venv/installed-dev
	$(BIN)/mypy

clean:
	rm -rf .venv dist .pytest_cache .mypy_cache .ruff_cache
