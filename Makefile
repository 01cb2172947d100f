# Everything a contributor runs. `make demo` and `make test` set up what they need on a fresh machine.

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= python3
EXTENSION := python/pointgate/_core.abi3.so
FUZZ_SECONDS ?= 60
KILLS ?= 1000
STATES ?= 1000
QUERIES ?= 10000
MINUTES ?= 10
# Most tests wait for processes more than they compute.
TEST_WORKERS ?= $(shell expr 2 '*' $$(nproc 2>/dev/null || echo 2) + 2)
PYTEST = $(BIN)/pytest -q -n $(TEST_WORKERS)
# The tests start a thousand processes, each of which would compile the package anew.
unexport PYTHONDONTWRITEBYTECODE
RUST_SOURCES = $(shell find rust -name fuzz -prune -o \( -name '*.rs' -o -name Cargo.toml \) -print | sort)

.PHONY: help demo test slow check format bench brokers instructions fuzz crash limits powercut readers soak spark setup extension broker servers lock clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

demo: setup broker ## run broker, service and simulated senders; SECONDS=30 ends it after that time
	@$(BIN)/pointgate demo $(if $(SECONDS),--seconds $(SECONDS))

test: setup servers ## run the tests, against real servers; under ten minutes on two cores
	cargo test --locked --workspace --quiet
	$(PYTEST) --dist worksteal -m "not slow and not limits and not brokers"

slow: setup servers ## the tests that kill, cut the power, fill the memory or torture readers, in a short version
	$(PYTEST) --dist load --maxschedchunk 1 -m "slow and not limits and not brokers"

check: setup ## formatting, lints, types, stubs
	cargo fmt --check
	cargo clippy --locked --workspace --all-targets --quiet -- -D warnings
	CUSTOM_LIBFUZZER_PATH=/nowhere/libfuzzer.a cargo check --locked --quiet --manifest-path rust/fuzz/Cargo.toml
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/stubtest pointgate._core --mypy-config-file pyproject.toml

format: setup ## format everything
	cargo fmt
	$(BIN)/ruff format
	$(BIN)/ruff check --fix --quiet || true

bench: setup servers ## compare the judge with its peers, then measure service, sinks and archives
	@mkdir -p docs/benchmarks
	$(BIN)/python benches/compare.py --json docs/benchmarks/judge.json --plot docs/benchmarks/judge.svg --markdown docs/benchmarks/judge.md
	$(BIN)/pytest -q benches --benchmark-enable --benchmark-only --benchmark-group-by=group --benchmark-columns=median,iqr,rounds
	$(BIN)/python -m benches.bench_echo --qos 0
	$(BIN)/python -m benches.bench_echo --qos 1
	$(BIN)/python -m benches.bench_echo --qos 1 --ack spool
	$(BIN)/python -m benches.services --json docs/benchmarks/service.json --plot docs/benchmarks/service.svg --markdown docs/benchmarks/service.md
	$(BIN)/python -m benches.bench_catalog --markdown docs/benchmarks/catalog.md
	$(BIN)/python -m benches.bench_hostile
	$(BIN)/python -m benches.bench_parquet
	$(BIN)/python -m benches.bench_postgres
	$(BIN)/python -m benches.bench_validate

instructions: $(VENV)/installed ## count the judge's instructions a byte, and fail above the limits
	$(call need,valgrind,valgrind)
	@$(BIN)/python benches/instructions.py

# Without a sanitizer: the stable toolchain has none to offer, and the core has no unsafe code for one to watch.
fuzz: ## fuzz each target of rust/fuzz for a minute; FUZZ_SECONDS=600 for longer
	@command -v cargo-fuzz >/dev/null || cargo install --quiet --locked cargo-fuzz
	$(PYTHON) rust/fuzz/seed.py
	@for target in payload json model devices mqtt; do \
		cargo fuzz run --fuzz-dir rust/fuzz --sanitizer none $$target -- -dict=rust/fuzz/json.dict \
			-max_total_time=$(FUZZ_SECONDS) -timeout=2 -rss_limit_mb=1024 -max_len=65536 || exit 1; \
	done

# make hands MOSQUITTO=… of its command line on.
brokers: setup broker ## the conformance suite on Mosquitto, NATS and HiveMQ CE (Maven, Java 17); MOSQUITTO=/path/to/another
	$(BIN)/pytest -q tests/brokers -m "" -rs

crash: setup servers ## kill service, broker, database and Kafka 1,000 times, and look for what was answered 200; KILLS=100, SEED=7
	@$(BIN)/python -m tests.crash --kills $(KILLS) $(if $(SEED),--seed $(SEED))
	@$(BIN)/python -m tests.crash.kafka --brokers --nodes 3 --kills $(shell expr $(KILLS) / 10) $(if $(SEED),--seed $(SEED))
	@$(BIN)/python -m tests.crash.kafka --brokers --nodes 3 --exactly-once --kills $(shell expr $(KILLS) / 10) $(if $(SEED),--seed $(SEED))
	POINTGATE_REGISTRY_KILLS=$(shell expr $(KILLS) / 10) $(BIN)/pytest -q tests/registries/test_kills.py

limits: setup servers ## the largest values, requests, imports and backlogs, in the memory that the documents promise
	$(BIN)/pytest -q tests/limits -m "limits or not limits" --timeout 3600

powercut: setup servers ## rebuild what 1,000 power cuts leave of a recorded service, restart it, and look for what was answered 200; STATES=100, SEED=7
	@$(BIN)/python -m tests.powercut --states $(STATES) $(if $(SEED),--seed $(SEED))

readers: setup servers ## query datasets 10,000 times while they are written and their writers killed; QUERIES=1000
	POINTGATE_READERS=$(QUERIES) $(BIN)/pytest -q -s tests/readers/test_torture.py tests/readers/test_object_torture.py

# No part of the lock file: Spark is 400 MB, and DuckDB's extensions need a DuckDB of their version.
spark: setup servers ## pointgate.spark, and what reads Parquet and Delta: Spark (Java 17, Maven), DuckDB's extensions
	$(BIN)/pip install --quiet --disable-pip-version-check pyspark==4.2.0 'pandas<3' \
		pysail==0.7.2 grpcio grpcio-status googleapis-common-protos zstandard
	$(BIN)/pip install --quiet --disable-pip-version-check --upgrade --target $(VENV)/duckdb \
		duckdb==1.5.5 duckdb-extension-httpfs==1.5.5 duckdb-extension-delta==1.5.5
	$(BIN)/pytest -q -rs tests/readers/test_reading.py tests/spark tests/tiers
	$(BIN)/python -m benches.bench_spark
	PYTHONPATH=$(VENV)/duckdb $(BIN)/pytest -q -rs tests/readers/test_lakes.py

soak: setup broker ## watch the memory of a service whose sink stands still; MINUTES=30 for longer
	$(BIN)/python -m benches.soak --minutes $(MINUTES)

setup: $(VENV)/installed extension

$(VENV)/installed: requirements.lock
	@command -v cargo >/dev/null || { echo "pointgate needs a Rust toolchain (cargo): install one with rustup" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "pointgate needs Python 3.11 or newer; say PYTHON=python3.11" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@touch $@

# By content, not by time: a checkout of other sources never runs with a stale extension.
extension: $(VENV)/installed
	@print=$$({ rustc -V; sha256sum $(RUST_SOURCES) Cargo.toml Cargo.lock pyproject.toml; } | sha256sum); \
	if [ "$$print" != "$$(cat $(VENV)/extension 2>/dev/null)" ] || [ ! -e $(EXTENSION) ]; then \
		echo "building the extension (release)" >&2; \
		VIRTUAL_ENV=$(CURDIR)/$(VENV) PIP_QUIET=1 $(BIN)/maturin develop --release --locked --quiet && echo "$$print" > $(VENV)/extension; \
	fi

# $(call need,COMMANDS,PACKAGES): installs Debian packages where we may, else says which are needed.
define need
@PATH="$$PATH:/usr/sbin:$$(echo /usr/lib/postgresql/*/bin | tr ' ' :)"; for command in $(1); do command -v $$command >/dev/null || missing="$$missing $$command"; done; \
if [ -n "$$missing" ]; then \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo "installing $(2)" >&2; \
		{ apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(2); } >/dev/null; \
	else \
		echo "missing:$$missing; install the packages $(2) first" >&2; exit 1; \
	fi; \
fi
endef

broker:
	$(call need,mosquitto mosquitto_pub mosquitto_sub,mosquitto mosquitto-clients)

servers: $(VENV)/installed
	$(call need,mosquitto mosquitto_pub promtool initdb strace faketime,mosquitto mosquitto-clients prometheus postgresql strace faketime)
	$(call need,java mvn,default-jre-headless maven)
	@$(BIN)/python -m tests.support.s3_server
	@$(BIN)/python -m tests.support.kafka_server

lock: ## resolve requirements.lock again (needs uv)
	uv pip compile pyproject.toml --extra dev --universal --generate-hashes --no-emit-index-url --no-annotate \
		--no-header --python-version 3.11 --upgrade -o requirements.lock

clean: ## remove what was built
	rm -rf $(VENV) target $(EXTENSION)
