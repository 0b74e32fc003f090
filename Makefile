# Everything happens in .venv; nothing is installed anywhere else.
PYTHON ?= python3
BIN := .venv/bin
PROJECT_FILES := pyproject.toml
PYTEST = $(BIN)/python -m pytest --dist worksteal
CLIENT ?= build
# Set in some shells; without cached bytecode every command compiles its imports again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help install run demo chaos screenshots test test-system lint check format bench bench-compare bench-gate fuzz lock client sbom audit release clean

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-13s %s\n", $$1, $$2}'

install: .venv/.installed ## .venv with the commands dhash and rollout
.venv/.installed: locks/runtime.txt $(PROJECT_FILES) scripts/make_venv.sh
	@sh scripts/make_venv.sh "$(PYTHON)" locks/runtime.txt
	@touch $@

.venv/.development: locks/development.txt .venv/.installed
	@sh scripts/make_venv.sh "$(PYTHON)" locks/development.txt
	@touch $@

.venv/.bench: locks/bench.txt .venv/.development
	@sh scripts/make_venv.sh "$(PYTHON)" locks/bench.txt
	@touch $@

run: install ## a guarded rollout of this checkout, where rollout.toml says
	@$(BIN)/rollout up
	@url=$$($(BIN)/rollout status --json | sed -n 's/.*"url": *"\([^"]*\)".*/\1/p'); \
	sed "s|http://localhost:3000|$${url:-http://localhost:3000}|" docs/welcome.txt

demo: .venv/.development ## the whole story in three minutes: a good release, a bad one, nothing lost
	@$(BIN)/python -m bench.demo

screenshots: .venv/.development ## the pictures in docs/screenshots, of a service and a rollout that really run
	@sh scripts/have_chromium.sh
	@$(BIN)/python -m bench.screenshots $(ARGS)

test: .venv/.development ## the fast lane: all that a change needs within minutes
	$(PYTEST) -n 3 -m "not system" $(ARGS)

test-system: .venv/.development ## the system lane: whole machines, real releases, the pages in a real Chromium
	@sh scripts/have_chromium.sh
	$(PYTEST) -n 3 -m system $(ARGS)

lint: .venv/.development ## format, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

check: lint ## format, lint, types, both lanes with coverage
	$(MAKE) test ARGS="--cov --cov-report= $(ARGS)"
	$(MAKE) test-system ARGS="--cov --cov-append --cov-report=term $(ARGS)"

format: .venv/.development ## rewrite the sources in the project's format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: .venv/.bench ## measure, beside peers in the same run
	$(BIN)/python -m bench $(ARGS)

bench-compare: .venv/.bench ## what this checkout changed: BASE=ref ARGS="QUESTION… --quick"
	$(BIN)/python -m bench.compare $(or $(BASE),$(error say which commit to compare with: BASE=ref)) $(ARGS)

bench-gate: .venv/.bench ## fail where a request costs a tenth more than in the last release (or BASE=ref); ARGS=--quick
	$(BIN)/python -m bench.compare $(or $(BASE),$(shell git log -1 --format=%h -G'^version = ' -- pyproject.toml),$(error say which commit to compare with: BASE=ref)) requests --gate --rounds 3 $(ARGS)

fuzz: .venv/.development ## hostile input at random, as long as you like: make fuzz SECONDS=600 SEED=1
	$(BIN)/python -m fuzz $(or $(TARGET),all) --seconds $(or $(SECONDS),60) --seed $(or $(SEED),1)

client: .venv/.development ## generate a client from the OpenAPI document into build/client; fails on any warning
	@mkdir -p $(CLIENT)
	@$(BIN)/python -c 'import json; from dhash_service.app import create_app; print(json.dumps(create_app().openapi()))' > $(CLIENT)/openapi.json
	@$(BIN)/uv tool run openapi-python-client@0.29.1 generate --path $(CLIENT)/openapi.json --output-path $(CLIENT)/client --meta none --overwrite --fail-on-warning

chaos: .venv/.development ## real rollouts under fire, judged from outside; RUNS=1000 SEED=n JOBS=2 for a campaign
	@$(BIN)/python -m chaos $(if $(RUNS),--runs $(RUNS)) $(if $(SEED),--seed $(SEED)) $(if $(JOBS),--jobs $(JOBS)) $(ARGS)

lock: .venv/.development ## newest versions that pyproject.toml admits, with hashes
	sh scripts/lock.sh

sbom: .venv/.development ## build/*.cdx.json: the bills of materials of the locks, CycloneDX
	@mkdir -p build
	@for lock in service runtime; do sh scripts/sbom.sh locks/$$lock.txt build/$$lock.cdx.json; done; ls build/*.cdx.json

audit: .venv/.development ## known vulnerabilities of what the locks name; fails where no database can be asked
	@sh scripts/audit.sh locks/runtime.txt

release: .venv/.development ## dist/: wheel (built twice, equal), locks, bills of materials, sums; KEY=ssh-key signs it
	@sh scripts/release.sh $(KEY)

clean: ## remove .venv and caches; data and backups stay
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage
