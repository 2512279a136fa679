# What one does with this repository. `make` lists it.

export PATH := $(or $(CARGO_TARGET_DIR),$(CURDIR)/target)/tools/bin:$(PATH)
NEXTEST_PROFILE := $(if $(CI),ci,default)

.PHONY: help build test api-test faults lint demo bench

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## Build the program (target/debug/bday)
	@.ci/setup compiler
	cargo build --locked

test: ## Run all tests on a private PostgreSQL, or those that match FILTER=name
	@.ci/setup compiler postgres browser receivers pooler
	@if cargo nextest --version >/dev/null 2>&1; then \
	  set -x; cargo nextest run --locked --profile $(NEXTEST_PROFILE) $(FILTER); \
	else \
	  set -x; cargo test --locked $(FILTER); \
	fi

api-test: ## Validate the API description, test generated clients, fuzz the API (tools from PyPI, npm); EXAMPLES=n per operation
	@.ci/setup compiler postgres generators
	@tests/api/run.sh $(EXAMPLES) $(SEED)

faults: ## Run the fault suite 200 times on each queue, or with ARGS='--seed 17 --queue sqs'
	@.ci/setup compiler postgres
	cargo test --locked --test faults -- $(or $(ARGS),--runs 200)

lint: ## Check formatting and lints
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings

demo: ## See greetings arrive, on a private PostgreSQL; ONCE=1 ends by itself
	@.ci/setup compiler postgres
	cargo run --locked -- demo $(if $(ONCE),--once)

bench: ## Measure the pipeline; ARGS go to the benchmark
	@.ci/setup compiler postgres
	cargo bench --locked --bench pipeline -- $(ARGS)

include deploy/deploy.mk
