# Kairos. `make run` and `make test` set themselves up; everything else does too.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps
PORT   ?= 8000
DATA   ?=
AREA   ?= all
QUICK  ?=
DEMO   ?=
VOLUMES ?=
ARGS   ?=

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev setup-peers setup-obp run test test-kafka check fmt lint types imports schemas bench faults evidence audit train up down clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Kairos needs Python 3.11 or newer; set PYTHON=")'
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.run-ready: requirements/run.txt pyproject.toml | $(BIN)/python
	@echo "setting up $(VENV) to run (about half a minute, once)"
	@$(PIP) --require-hashes -r requirements/run.txt
	@$(PIP) --editable .
	@touch $@

$(VENV)/.dev-ready: requirements/dev.txt pyproject.toml | $(BIN)/python
	@echo "setting up $(VENV) to build and test (about a minute, once)"
	@$(PIP) --require-hashes -r requirements/dev.txt
	@$(PIP) --editable .
	@touch $@ $(VENV)/.run-ready

$(VENV)/.audit-ready: requirements/audit.txt $(VENV)/.dev-ready
	@$(PIP) --require-hashes -r requirements/audit.txt
	@touch $@

$(VENV)-peers/.ready: loadtests/peers/requirements.txt | $(BIN)/python
	@echo "setting up $(VENV)-peers, the systems measured beside ours (about a minute, once)"
	@$(PYTHON) -m venv $(VENV)-peers
	@$(VENV)-peers/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r $<
	@touch $@

# Systems that pin what the others pin otherwise: an environment each.
$(VENV)-feast/.ready $(VENV)-mlserver/.ready: $(VENV)-%/.ready: loadtests/peers/%.txt | $(BIN)/python
	@echo "setting up $(VENV)-$*, measured beside ours (about a minute, once)"
	@$(PYTHON) -m venv $(VENV)-$*
	@$(VENV)-$*/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r $<
	@touch $@

$(VENV)-obp/.ready: loadtests/peers/obp.txt | $(BIN)/python
	@echo "setting up $(VENV)-obp, the oracle of the off-policy estimators (about half a minute, once)"
	@$(PYTHON) -m venv $(VENV)-obp
	@$(VENV)-obp/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r $<
	@touch $@

setup: $(VENV)/.run-ready ## what running needs
setup-dev: $(VENV)/.dev-ready ## what building and testing needs
setup-peers: $(VENV)-peers/.ready $(VENV)-feast/.ready $(VENV)-mlserver/.ready ## the other systems that benchmarks run beside ours
setup-obp: $(VENV)-obp/.ready ## the Open Bandit Pipeline, which off-policy estimates are compared with

run: setup ## the whole product, embedded, with a simulated bank (DATA=… replays a real one, PORT=…)
	@$(BIN)/kairos dev --port $(PORT) $(if $(DATA),--data $(DATA),) $(ARGS)

test: setup-dev ## the whole suite that needs nothing but the Python registry
	@$(BIN)/pytest -m "not kafka" $(ARGS)

test-kafka: setup-dev ## the bus and reliability suites on a real Apache Kafka and Redis, which it starts
	@$(BIN)/python -m tests.real_servers $(ARGS)

check: setup-dev lint types imports schemas ## format, lint, types, import rules, schemas, architecture tests
	@$(BIN)/pytest tests/architecture

lint:
	@$(BIN)/ruff format --check --quiet . || { echo "run make fmt"; exit 1; }
	@$(BIN)/ruff check --quiet .
types:
	@$(BIN)/mypy
imports:
	@$(BIN)/lint-imports --no-logo
schemas:
	@$(BIN)/kairos schemas --check

fmt: setup-dev ## put the code in its form
	@$(BIN)/ruff format --quiet . && $(BIN)/ruff check --quiet --fix .

bench: setup-dev setup-peers ## the benchmarks, with the baseline beside them
	@$(BIN)/python -m loadtests.bench $(ARGS)

faults: setup-dev ## the fault campaign, repeatable by its seed (ARGS='--seed 1 --faults 500', --broker kafka, --list)
	@$(BIN)/python -m loadtests.faults $(ARGS)

evidence: setup-dev setup-peers setup-obp ## the measurements behind the claims (AREA=path, QUICK=1)
	@$(BIN)/python -m loadtests.evidence --area $(AREA) $(if $(QUICK),--quick,) $(ARGS)

audit: $(VENV)/.audit-ready ## pins, bandit, a bill of materials in var/, and known faults of dependencies (asks the registry)
	@$(BIN)/python -m loadtests.supply_chain --known-faults

train: setup ## fit a model from the archive of the last run
	@$(BIN)/kairos train --archive var/latest/archive --model cross_sell --out var/latest/models $(ARGS)

up: ## the distributed deployment with docker compose (DEMO=1: with the simulated bank)
	@$(PYTHON) deploy/make_secrets.py
	@PORT=$(PORT) CLOCK=$(if $(DEMO),events,system) docker compose -f deploy/compose.yaml $(if $(DEMO),--profile demo,) up --build --detach
	@$(PYTHON) deploy/until_ready.py http://127.0.0.1:$(PORT)/readyz
	@echo "API and screens: http://127.0.0.1:$(PORT) (key: deploy/secrets/api_key)"
	@echo "Grafana:         http://127.0.0.1:3000 (admin; password: deploy/secrets/grafana_password)"
	@echo "Prometheus:      http://127.0.0.1:9090"

down: ## end it (VOLUMES=1: and forget everything it kept)
	@docker compose -f deploy/compose.yaml --profile demo --profile webhooks down $(if $(VOLUMES),--volumes,)

clean: ## remove what builds and runs have left
	rm -rf $(VENV) $(VENV)-peers $(VENV)-feast $(VENV)-mlserver $(VENV)-obp var build dist *.egg-info .mypy_cache .ruff_cache .import_linter_cache .hypothesis
