# Everything here works in a clone anywhere, on a bare machine with Python 3.11 or newer, and may be run twice.

VENV ?= .venv
# the first of these that is there and new enough builds the environment; `make PYTHON=…` chooses
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt
# one thread a test process: two processes with two threads each would fight over two cores
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest
WORKERS ?= 2
DEMO := outputs/demo
MADE_FROM := pyproject.toml constraints.txt
SOURCES = $(shell find gentool configs -name '*.py' -o -name '*.yaml')

.DEFAULT_GOAL := help
.PHONY: help install demo table test test-all check format bench clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*  ## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | \
		while IFS="$$(printf '\t')" read -r name text; do printf '  make %-10s %s\n' "$$name" "$$text"; done

install: $(VENV)/.gentool  ## create .venv and install gentool in it, editable

demo: $(DEMO)/.sample $(DEMO)/.interpolate  ## train a VAE on scikit-learn's digits, sample, interpolate; print where the pictures are
	@echo; echo "The pictures:"; ls $(DEMO)/train/samples/*.gif $(DEMO)/sample/*.png $(DEMO)/interpolate/*.* | sed 's/^/  /'

table: $(VENV)/.gentool  ## every family from five seeds on the same digits: the lectures' table with measured cells, in two hours of a shared machine
	$(BIN)/python scripts/lecture_table.py --out outputs/table

test: $(VENV)/.gentool-test  ## the default tests, in minutes on two cores
	$(PYTEST) -n $(WORKERS) --dist worksteal -q $(ARGS)

test-all: $(VENV)/.gentool-test  ## the slow tests too: a wheel in a fresh environment, the README's commands
	$(PYTEST) -n $(WORKERS) --dist worksteal -q -m 'slow or not slow' $(ARGS)

check: $(VENV)/.gentool-dev  ## lint, format, types, docstrings, doctests: what a change must pass
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pydoclint --quiet gentool
	$(PYTEST) -q -p no:cacheprovider gentool

format: $(VENV)/.gentool-dev  ## mend what ruff can mend
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

bench: $(VENV)/.gentool  ## side-by-side timings; the numbers of docs/benchmarks.md, on a quiet machine
	$(BIN)/python benchmarks/loop_overhead.py
	$(BIN)/python benchmarks/vae.py
	$(BIN)/python benchmarks/flows.py
	$(BIN)/python benchmarks/sampling.py
	$(BIN)/python benchmarks/unet.py
	$(BIN)/python benchmarks/gan.py

clean:  ## remove what the tools and the demo made; .venv and your runs stay
	rm -rf $(DEMO) .bench-venv build dist .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find gentool tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "gentool needs Python 3.11 or newer; none was found (make PYTHON=…)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

# A stamp says what was installed, from which pins; it is made anew only when these change.
$(VENV)/.gentool: $(MADE_FROM) | $(BIN)/python
	$(PIP) -e .
	@touch $@
$(VENV)/.gentool-test: $(MADE_FROM) | $(BIN)/python
	$(PIP) -e '.[test]'
	@touch $@ $(VENV)/.gentool
$(VENV)/.gentool-dev: $(MADE_FROM) | $(BIN)/python
	$(PIP) -e '.[dev]'
	@touch $@ $(VENV)/.gentool-test $(VENV)/.gentool

# The demo trains again only when gentool itself has changed; a folder is thrown away before it is made again.
$(DEMO)/.train: $(SOURCES) | $(VENV)/.gentool
	rm -rf $(DEMO)/train
	$(BIN)/gentool train model=vae dataset=digits out=$(DEMO)/train
	@touch $@
$(DEMO)/.sample $(DEMO)/.interpolate: $(DEMO)/.%: $(DEMO)/.train
	rm -rf $(DEMO)/$*
	$(BIN)/gentool $* ckpt=$(DEMO)/train out=$(DEMO)/$*
	@touch $@
