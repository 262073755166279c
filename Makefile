# Needs python3 (3.11 or newer) and make; everything else is installed into .venv by the first target that is run.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
# pytest arguments, for example: make test ARGS="-k relay -x"
ARGS ?=

.PHONY: help install demo test check format chaos bench atlas temporal-postgres clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile

install: $(INSTALLED) ## create .venv and install everything

$(INSTALLED): pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "make: no $(PYTHON) on PATH: install Python 3.11 or newer, or name one: make PYTHON=/path/to/python3" >&2; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "make: $(PYTHON) is $$($(PYTHON) -V 2>&1): Python 3.11 or newer is needed; name one: make PYTHON=/path/to/python3" >&2; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv || { rm -rf .venv; echo "make: $(PYTHON) can't make a virtual environment (Debian: apt-get install python3-venv)" >&2; exit 2; }
	@echo "installing into .venv"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input --editable '.[dev]'
	@touch $@

demo: $(INSTALLED) ## the system at work, beside ordinary activities (under 4 minutes)
	@$(BIN)/python -m loadtest demo

# Three at a time keep two cores busy: a fifth of the tests' time is waiting.
test: $(INSTALLED) ## all tests, on real servers
	@$(BIN)/python -m pytest -n 3 --dist loadfile $(ARGS)

check: $(INSTALLED) ## ruff, mypy --strict, import contracts
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: $(INSTALLED) ## let ruff rewrite what it can
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

chaos: $(INSTALLED) ## the tests that kill things, in their long form
	@DELEGATOR_CHAOS=long $(BIN)/python -m pytest tests/chaos -v -o timeout=1800 -o faulthandler_timeout=2000 $(ARGS)

bench: $(INSTALLED) ## the figures that are promised, reached or not (35 minutes; run `make temporal-postgres` first)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input --editable '.[dev,peers]'
	@$(BIN)/python -m loadtest bench $(ARGS)

atlas: $(INSTALLED) ## build the Atlas CLI (needs Go; about two minutes, once)
	@.ci/build-atlas

temporal-postgres: ## build Temporal's own server, for `--temporal postgres` (needs Go; about four minutes, once)
	@.ci/build-temporal

clean: ## remove .venv, tools and caches; data kept by `delegator dev` stays
	rm -rf .venv .tools .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis dist build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
