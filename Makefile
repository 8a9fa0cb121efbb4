# A thin front for `uv run`. `make help` lists the targets.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
export PATH := $(CURDIR)/build/uv/bin:$(HOME)/.local/bin:$(PATH)
# The suites start hundreds of processes: each would compile all sources anew.
unexport PYTHONDONTWRITEBYTECODE

RUN := uv run --frozen
PYTEST := $(RUN) pytest --durations=10 --durations-min=1.0
# Tests of one file stay in one process: they share its daemons. The longest files begin (tests/conftest.py).
# They wait about a third of their time, so three of them keep two cores busy.
PARALLEL := -n 3 --dist loadfile --no-loadscope-reorder
# What a daemon does must not depend on where its ledger is.
ON_BOTH := $(addprefix tests/e2e/test_,$(addsuffix .py,budgets_at_run_time capacity clamp concurrency \
	counted_estimate degrade explain_is_what_happens failover_keys \
	disconnects idempotency labels modes overrun revocation simulate streams unknown_price weaknesses windows)) \
	tests/faults/test_people.py
PURE := core ledger pricing budgets identity registry routing approvals alerts
PURE_TESTS := $(addprefix tests/unit/,$(PURE))
OTHER_TESTS := $(filter-out $(PURE_TESTS),$(wildcard tests/unit/[a-z]*)) tests/properties tests/conformance
SYSTEM_TESTS := $(addprefix tests/,faults security e2e clients browser docs)
COVER := $(foreach package,$(PURE),--cov=src/palyra/$(package)) --cov-branch --cov-fail-under=100 \
	--cov-report=term-missing:skip-covered

# What is parallel says so itself: the suites want both cores.
.NOTPARALLEL:

# Types take as long as all else that is checked, and one core: they are checked beside it, and shown after it.
define beside-types
@mkdir -p build; \
$(RUN) pyright >build/types.txt 2>&1 & types=$$!; trap "kill $$types 2>/dev/null || true" EXIT; \
$(MAKE) --no-print-directory $(1); \
echo "$(RUN) pyright"; wait $$types && found=0 || found=$$?; cat build/types.txt; exit $$found
endef

.PHONY: help setup openapi chromium demo demo-scale check lint pure other postgres test unit system bench soak clean uv

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

uv:
	@command -v uv >/dev/null || { \
	  echo "uv is not here; installing it into build/uv"; \
	  { python3 -m venv build/uv && build/uv/bin/python -m pip install -q --disable-pip-version-check uv; } \
	  || python3 -m pip install -q --user uv \
	  || { echo "Install uv yourself (https://docs.astral.sh/uv/), then run make again." >&2; exit 1; }; }

setup: uv ## Install uv if it is missing, and everything the project needs, into .venv; build the console
	uv sync --all-extras --frozen
	$(RUN) python console/build.py

chromium: setup ## Install a Chromium for the browser tests, unless there is one
	PYTHONPATH=tests $(RUN) python -m harness.chromium

openapi: setup ## Write console/openapi.json anew, from which the console's client is made
	PYTHONPATH=tests $(RUN) python -m harness.openapi_file

demo: setup ## Run the daemon in front of a small real model, with a scene to watch
	$(RUN) palyra demo

demo-scale: setup ## Run three gateways on one PostgreSQL, kill one, and see one budget kept exactly
	$(RUN) palyra demo-scale

check: setup ## Format, lint, types, walls between modules, lock file
	$(call beside-types,lint)

lint:
	$(RUN) ruff format --check
	$(RUN) ruff check
	$(RUN) lint-imports
	uv lock --check
	$(RUN) python console/build.py check
	$(RUN) python console/build.py test

unit: setup pure other ## The fast suites: units, properties, conformance; the pure packages are covered to the last branch

pure:
	$(PYTEST) $(PARALLEL) $(COVER) -m "not soak" $(PURE_TESTS)

other:
	$(PYTEST) $(PARALLEL) -m "not soak" $(OTHER_TESTS)

system: setup chromium ## The suites that start processes: faults, security, end to end, official clients, browser, docs
	$(PYTEST) $(PARALLEL) -m "not soak" $(SYSTEM_TESTS)
	$(MAKE) --no-print-directory postgres

postgres:
	$(PYTEST) $(PARALLEL) -m "not soak" --postgres $(ON_BOTH)

test: setup chromium ## Everything that must hold before a change is merged
	$(call beside-types,lint pure)
	$(PYTEST) $(PARALLEL) -m "not soak" $(OTHER_TESTS) $(SYSTEM_TESTS)
	$(MAKE) --no-print-directory postgres

bench: setup ## Measure what the gateway adds to a call
	$(RUN) python -m benchmarks

soak: setup ## Long runs (not part of make test)
	$(PYTEST) -m soak --timeout=0 tests

clean: ## Remove what the targets made, and nothing else
	rm -rf console/node_modules console/src/client src/palyra/console_assets .venv .pytest_cache .ruff_cache .import_linter_cache .hypothesis .coverage htmlcov dist build
