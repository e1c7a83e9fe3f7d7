# The commands that people and CI share; `make` without a target lists them.
# Commands longer than a line are in scripts/.

# rustup puts its folder on the PATH of login shells only; `env -i make test` must find cargo too.
ifeq ($(shell command -v rustup),)
export PATH := $(or $(CARGO_HOME),$(HOME)/.cargo)/bin:$(PATH)
endif
# One cargo command for tools and tests alike: with test targets included, so that demo, bench and
# tests agree on every dependency's features and wasmtime is compiled once.
BUILD := cargo build --workspace --all-targets
# The host for benchmarks. Naming one test keeps the features the same without compiling all tests at this level.
AT_FULL_SPEED := --config profile.dev.package.windlass.opt-level=3
BUILD_TO_MEASURE := cargo build --workspace --bins --test end_to_end $(AT_FULL_SPEED)
# Falls back to cargo's own runner if nextest is not installed.
RUN_TESTS := cargo $$(cargo nextest --version >/dev/null 2>&1 && echo nextest run || echo test) --workspace
SAMPLES := --manifest-path sample-modules/Cargo.toml
DATA ?= ./windlass-data
KILLS ?= 50

.DEFAULT_GOAL := help
.PHONY: help demo test sim fuzz compat modules modules-component run bench microbench crash siege lint build guest-target

help: ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 20

demo: build modules ## See every sample workflow run and survive a kill (ONCE=1: stop the host at the end)
	ONCE=$(ONCE) scripts/demo

# Property tests use the same cases everywhere; a plain `cargo test` uses new ones each time.
test: export PROPTEST_RNG_SEED ?= 1
# The second but last line runs the end-to-end tests on hosts that keep no guest in memory, so that every turn replays.
test: lint build modules ## Check everything: lints, sample modules from source, all tests
	$(RUN_TESTS) --tests && cargo test --workspace --doc
	WINDLASS_TEST_HOT=0 $(RUN_TESTS) --test end_to_end
	$(RUN_TESTS) --tests $(SAMPLES)

sim: ## Simulate hosts that crash (SEEDS=100000 sets their number, SEED=42 runs one with logs)
	$(if $(SEED),WINDLASS_SIM_SEED=$(SEED),WINDLASS_SIM_SEEDS=$(or $(SEEDS),20000)) \
		cargo test --workspace --lib tests::simulation_ -- $(if $(SEED),--nocapture,--show-output)

fuzz: ## Drive parsers with damaged input (TARGET=history selects one, SECONDS=60 sets the time for each)
	WINDLASS_FUZZ_SECONDS=$(or $(SECONDS),60) cargo test --workspace --lib fuzz_$(TARGET) -- --show-output

compat: build modules ## Drive the host with the npm package durable-functions (needs Node.js 20 and npm)
	scripts/compat

modules: guest-target ## Build the sample modules for wasm32-wasip2
	scripts/guest-cargo build --release --workspace --target wasm32-wasip2 $(SAMPLES)

modules-component: build modules ## Build a sample with cargo component, upload and run it (slow the first time)
	scripts/cargo-component-sample

run: guest-target build ## Serve on 127.0.0.1 with the data in ./windlass-data (DATA=… selects another folder)
	target/debug/windlass serve --data $(DATA)

bench: modules ## Measure the host: throughput, latency, memory, disk, recovery (under three minutes)
	$(BUILD_TO_MEASURE)
	target/debug/windlass bench --short

microbench: ## Measure replaying, folding, encoding and writing separately (criterion)
	cargo bench --workspace --profile dev --config profile.dev.package.windlass.opt-level=3 --bench hot_paths

crash: build modules ## Kill the host repeatedly under load, and look for lost work (KILLS=50, SEED=…)
	WINDLASS_TEST_KILLS=$(KILLS) $(if $(SEED),WINDLASS_TEST_SEED=$(SEED)) $(RUN_TESTS) --test end_to_end crash::

siege: modules ## Attack a host with all hostile guests at once, and kill it every minute (SECONDS=600)
	$(BUILD_TO_MEASURE)
	WINDLASS_SIEGE_SECONDS=$(or $(SECONDS),600) \
		cargo test --workspace --test end_to_end $(AT_FULL_SPEED) siege:: -- --nocapture

lint: guest-target ## Check formatting, clippy, vendored WIT and shell scripts
	scripts/lint

build: # The host, the samples' backend and the tests
	$(BUILD)

guest-target: # Set up the toolchain for guests, if necessary
	@scripts/guest-target
