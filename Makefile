# make setup   once; then make demo, make test, make check
# Everything is installed into .venv; without changes to requirements.lock or pyproject.toml no network is needed.

SHELL := /bin/sh
BIN := .venv/bin
PYTEST := $(BIN)/python -m pytest
# two workers, each with a PostgreSQL of its own; make test WORKERS=0 runs in one process
WORKERS ?= 2
# further words for the command: make test ARGS="-k backup"
ARGS ?=
export DBT_SEND_ANONYMOUS_USAGE_STATS := false
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help setup browser demo test faults bench bench-golden pictures check format check-format check-lint check-types check-sql check-dbt lock clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/make \1\t\2/p' Makefile | expand -t 18

setup: ## install exactly requirements.lock and this project into .venv
	@sh .ci/setup

browser: setup ## see to the Chromium and the accessibility check of the web tests
	@sh .ci/browser

demo: setup ## migrate a made-up CRM in a private PostgreSQL and show what changed
	@$(BIN)/crm-migrate demo $(ARGS)

test: setup browser ## all tests
	@$(PYTEST) -n $(WORKERS) --dist worksteal $(ARGS)

faults: setup ## break something on purpose, everywhere: about two hours
	@CRM_FAULTS=whole $(PYTEST) -n $(WORKERS) --dist worksteal -m "fault or swept" $(ARGS)

bench: setup ## the whole migration and other ways, measured: a million contacts
	@PYTHONPATH=wrapper:tests $(BIN)/python -m bench $(ARGS)

bench-golden: setup ## agree to the plans and the number of statements as they are now
	@UPDATE_GOLDEN=1 $(PYTEST) tests/migration/test_plans_and_round_trips.py

pictures: setup browser ## take the pictures of docs/ anew, of the real pages
	@PYTHONPATH=wrapper:tests $(BIN)/python -m pictures $(ARGS)

check: setup check-format check-lint check-types check-sql check-dbt ## formatters, linters, types, SQL lint, dbt parse

check-format: setup
	@$(BIN)/ruff format --check --quiet wrapper tests || { echo "make format mends these files" >&2; exit 1; }

check-lint: setup
	@$(BIN)/ruff check --quiet wrapper tests

check-types: setup
	@$(BIN)/mypy

check-sql: setup
	@$(BIN)/sqlfluff lint --disable-progress-bar dbt_project/models
	@$(BIN)/sqlfluff lint --disable-progress-bar --templater placeholder $$(ls -d sql/*/ | grep -v -e oracles -e links -e review -e outcomes -e sample -e kit -e redo -e seeds)
	@$(BIN)/sqlfluff lint --disable-progress-bar --templater python sql/oracles sql/links sql/review sql/outcomes sql/sample sql/kit sql/redo sql/seeds

check-dbt: setup
	@$(BIN)/dbt --quiet parse --project-dir dbt_project --profiles-dir dbt_project

format: setup ## format the Python files
	@$(BIN)/ruff format wrapper tests
	@$(BIN)/ruff check --fix --quiet wrapper tests

lock: ## make requirements.lock anew from the ranges in pyproject.toml (needs the network)
	@sh .ci/lock

clean: ## remove what the tools and dbt leave; .venv stays
	@rm -rf .mypy_cache .pytest_cache .ruff_cache .hypothesis dbt_project/target dbt_project/logs logs
	@find wrapper tests -name __pycache__ -type d -prune -exec rm -rf {} +
