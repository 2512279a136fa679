# The targets of this repository. `make` lists them.

TARGET := $(or $(CARGO_TARGET_DIR),$(CURDIR)/target)
export PATH := $(TARGET)/tools/bin:$(PATH)
NEXTEST_PROFILE := $(if $(CI),ci,default)

.PHONY: help build test api-test providers-test screenshots faults lint demo bench dist

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## Build the program (target/debug/bday)
	@.ci/setup compiler
	cargo build --locked

test: ## Run all tests on a private PostgreSQL, or those that match FILTER=name
	@.ci/setup compiler postgres browser axe receivers pooler resolver
	@if cargo nextest --version >/dev/null 2>&1; then \
	  set -x; cargo nextest run --locked --profile $(NEXTEST_PROFILE) -j $$((2 * $$(nproc))) $(FILTER); \
	else \
	  set -x; cargo test --locked $(FILTER); \
	fi

api-test: ## Validate the API description, test generated clients, fuzz the API (tools from PyPI, npm); EXAMPLES=n per operation
	@.ci/setup compiler postgres generators
	@tests/api/run.sh $(EXAMPLES) $(SEED)

providers-test: ## Test the channels against Postfix, MailDev, moto and Prism (from Debian, PyPI, npm)
	@.ci/setup compiler postgres generators mta
	@tests/providers/run.sh

screenshots: ## Make the pictures of the README (docs/pictures)
	@.ci/setup compiler postgres browser
	cargo test --locked --test all -- console::pictures
	cp $(TARGET)/tmp/pictures/today.png $(TARGET)/tmp/pictures/calendar-dark.png docs/pictures/

faults: ## Run the fault suite 200 times on each queue, or with ARGS='--seed 17 --queue sqs'
	@.ci/setup compiler postgres
	cargo test --locked --test faults -- $(or $(ARGS),--runs 200)

lint: ## Check formatting, lints, and the rooms of src/ (order, circles)
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	cargo test --locked --test rooms -- --quiet

# A fresh clone compiles the smallest program that runs the demo. A tree that is built already uses what is there.
DEMO_BUILD = $(if $(wildcard $(TARGET)/debug/bday),,--profile demo --no-default-features)

demo: ## Run the demo on a private PostgreSQL; ONCE=1 stops when all greetings have arrived
	@.ci/setup compiler postgres
	cargo run --locked $(DEMO_BUILD) -- demo $(if $(ONCE),--once)

bench: ## Run the benchmark; ARGS='--help' lists its options
	@.ci/setup compiler postgres
	cargo bench --locked --bench pipeline -- $(ARGS)

dist: ## Build a release in dist/: archive, Debian package, image (with docker), SBOM, checksums
	@.ci/setup compiler packager
	deploy/dist/build

include deploy/deploy.mk
