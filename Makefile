# What a user, a developer and CI run. Rust (rustup.rs) is the one thing that must be there; the rest is
# installed by `scripts/needs`, as root or with sudo, or named when that is not possible.

CARGO ?= cargo
FEATURES = --features state-tracker/failure-points,state-tracker/demo

.PHONY: demo docs test test-all lint bench state-tracker image-check clean

# The state tracker at work, with a Redis, producers and crashes of its own. DEMO="--calm", DEMO="--check --for 30s"
demo:
	scripts/needs redis-server anvil
	$(CARGO) run --quiet $(FEATURES) -- demo $(DEMO)

# Writes the files that are generated from tables: config/default.toml, docs/reference.
docs:
	$(CARGO) run --quiet $(FEATURES) --example reference

# Format, lint, all tests.
test: lint
	scripts/needs redis-server anvil
	$(CARGO) test --workspace $(FEATURES)

# And what takes too long for every change.
test-all: test
	$(CARGO) test --workspace $(FEATURES) -- --ignored

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets $(FEATURES) -- -D warnings
	$(CARGO) check --quiet --package state-tracker

# Figures, as ratios within one run.
bench:
	scripts/needs redis-server anvil
	$(CARGO) bench --package supervision --bench kit
	$(CARGO) bench --package actors --bench collector
	$(CARGO) bench --package evm --bench backfill
	$(CARGO) bench --package state-tracker --bench passes $(FEATURES)
	$(CARGO) bench --package state-tracker --bench operation $(FEATURES)

# The service itself, without failure points, as bin/state-tracker.
state-tracker:
	$(CARGO) build --release --package state-tracker
	mkdir -p bin
	cp target/release/state-tracker bin/state-tracker

# What the Dockerfile does, without a container engine: as root, in a bare Debian root, with a chain's node and TLS.
image-check: state-tracker
	scripts/needs redis-server debootstrap anvil curl openssl socat
	scripts/image-check

clean:
	$(CARGO) clean
	rm -rf bin
