# `make run` and `make test` need Python 3.11 or later and nothing else.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' >/dev/null 2>&1 && echo $$p && break; done)
BIN := .venv/bin
export NBP_ENV ?= development

.PHONY: help run test test-services test-sdks soak bench lint audit-dependencies fmt install requirements openapi clean

help: ## Show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

run: .venv/.base ## Install what is missing, then serve site, API and worker on http://127.0.0.1:$PORT (8000)
	@exec $(BIN)/python manage.py serve

.venv/.base: requirements/base.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11, 3.12 or 3.13 is needed; none was found."; exit 1; }
	@echo "Installing into .venv with $(PYTHON); the first time takes a minute or two ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --disable-pip-version-check --progress-bar on --require-hashes -r requirements/base.txt \
		| grep --line-buffered -E '^(Collecting|Installing|Successfully)' | cut -c1-100
	@$(BIN)/python -c 'import django, celery, google.genai' && touch $@

.venv/.dev: .venv/.base requirements/dev.txt
	@echo "Installing the tools for tests and lint ..."
	@$(BIN)/python -m pip install --disable-pip-version-check -q --require-hashes -r requirements/dev.txt
	@touch $@

install: .venv/.dev ## Install everything, tools for tests and lint included

test: .venv/.dev ## The whole suite on SQLite, with no service running
	@DATABASE_URL= REDIS_URL= CELERY_BROKER_URL= $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

test-services: .venv/.dev ## The same suite against PostgreSQL and Redis, and a smoke test on RabbitMQ
	@$(BIN)/python tests/services.py $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

test-sdks: .venv/.dev ## The vendors' SDKs, installed below var/sdks, against a running service (NBP_SDKS=all: every version)
	@NBP_SDKS=$${NBP_SDKS:-ends} DATABASE_URL= REDIS_URL= CELERY_BROKER_URL= $(BIN)/python -m pytest -n auto --dist loadfile -m slow tests/dialects

soak: .venv/.dev ## 10,000 seeds of the simulator, or SEEDS=... from FIRST=... on (a twentieth where DATABASE_URL is PostgreSQL)
	@SIMULATOR_SEEDS=$${SEEDS:-10000} SIMULATOR_FIRST=$${FIRST:-0} REDIS_URL= CELERY_BROKER_URL= $(BIN)/python -m pytest -n auto \
		tests/simulator/test_even_seeds.py tests/simulator/test_odd_seeds.py tests/ledger/test_state_machine.py
	@NBP_SDKS=all $(MAKE) test-sdks

bench: .venv/.dev ## Measure everything against PostgreSQL and Redis; ONLY="burst cpu" measures some of it
	@$(BIN)/python -m benchmarks $(ONLY)

lint: .venv/.dev ## ruff, bandit, mypy, layers, migrations, deployment checks, API schema
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/bandit -c pyproject.toml -q -r accounts generation nbp_site
	@$(BIN)/mypy accounts generation nbp_site
	@$(BIN)/lint-imports
	@NBP_DATA_DIR=$$(mktemp -d) $(BIN)/python manage.py makemigrations --check --dry-run
	@NBP_DATA_DIR=$$(mktemp -d) NBP_ENV=production SECRET_KEY=$$($(BIN)/python -c 'import secrets; print(secrets.token_urlsafe(60))') \
		NBP_KEY_PEPPER=lint NBP_LINK_KEY=lint NBP_FIELD_KEYS=k1:$$(printf '%064d' 0) EMAIL_URL=consolemail:// ALLOWED_HOSTS=example.org \
		$(BIN)/python manage.py check --deploy --fail-level WARNING
	@NBP_DATA_DIR=$$(mktemp -d) $(BIN)/python manage.py spectacular --validate --fail-on-warn --file docs/api/openapi.check.yaml
	@diff -u docs/api/openapi.yaml docs/api/openapi.check.yaml && rm docs/api/openapi.check.yaml

audit-dependencies: .venv/.dev ## Look every pinned library up among the known holes (asks osv.dev)
	@$(BIN)/python tests/advisories.py

openapi: .venv/.dev ## Write the API schema to docs/api/openapi.yaml
	@NBP_DATA_DIR=$$(mktemp -d) $(BIN)/python manage.py spectacular --validate --fail-on-warn --file docs/api/openapi.yaml

fmt: .venv/.dev ## Format the code
	@$(BIN)/ruff check --fix -q . ; $(BIN)/ruff format .

requirements: ## Pin requirements/*.in again, with hashes (needs uv)
	@uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-strip-extras --no-header requirements/base.in -o requirements/base.txt
	@uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-strip-extras --no-header requirements/dev.in -o requirements/dev.txt
	@uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-strip-extras --no-header --prerelease=if-necessary-or-explicit requirements/otel.in -o requirements/otel.txt

clean: ## Remove the environment and caches; data under var/ stays
	@rm -rf .venv .mypy_cache .ruff_cache .pytest_cache
