# The commands of users, developers and CI. You need Rust (rustup.rs); `scripts/needs` installs the rest, as root or
# with sudo, or says what to install.

CARGO ?= cargo
FEATURES = --features state-tracker/failure-points,state-tracker/demo

.PHONY: assets demo docs test test-all lint loom mutants faults fuzz bench state-tracker image image-check compose-check deny promtool clean

# The service with a private Redis, producers and crashes. DEMO="--calm", DEMO="--check --for 30s"
demo:
	scripts/needs redis-server anvil
	$(CARGO) run --quiet $(FEATURES) -- demo $(DEMO)

# Writes the files that are generated from tables: config/default.toml, docs/reference.
docs:
	$(CARGO) run --quiet $(FEATURES) --example reference

# Format, lint, documentation, all tests.
test: lint
	scripts/needs redis-server anvil chromedriver postgres pgbouncer socket.io-client
	$(CARGO) test --workspace $(FEATURES)

# The slow tests too.
test-all: promtool test loom
	promtool test rules config/alerts.test.yml
	scripts/schemathesis
	$(CARGO) test --workspace $(FEATURES) -- --ignored
	SUPERVISION_SEEDS=10000 $(CARGO) test --package supervision --test simulation

# With it, `make test` tests the alert rules too.
promtool:
	scripts/needs promtool

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets $(FEATURES) -- -D warnings
	$(CARGO) check --quiet --package state-tracker
	$(MODELLED) check --quiet --package supervision --lib --profile test
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --quiet --workspace --no-deps --document-private-items $(FEATURES)

# The interleavings of the actor kit's locks, explored by a model checker in small cases. A flag of the compiler, and not a feature,
# gives the kit other locks, so that no other build can have them; all crates are built anew for it, in a folder of their own.
# LOOM_MAX_PREEMPTIONS=2 is a quick run.
MODELLED = RUSTFLAGS="$$RUSTFLAGS --cfg kit_loom" CARGO_TARGET_DIR=$${CARGO_TARGET_DIR:-target}/loom $(CARGO)
loom:
	$(MODELLED) test --package supervision --lib models:: -- --nocapture

# Mutation tests of the actor kit: each small change of its code must make a quick test fail. SHARD=k/n runs a part;
# a run that was interrupted continues, and mutants that were caught before are skipped. Survivors: mutants.out/missed.txt
# More threads than cores, since many tests wait.
mutants:
	RUST_TEST_THREADS=8 SUPERVISION_SEEDS=40 PROPTEST_CASES=100 $(CARGO) mutants --package supervision --iterate \
		--profile mutants --timeout 30 --no-shuffle --jobs 3 --cargo-arg=--lib --cargo-arg=--test=quick $(if $(SHARD),--shard $(SHARD))

# Brings the libraries of pages from npm: pinned versions, checked by their hashes.
assets:
	scripts/assets

# Puts known faults into a copy of the actor kit, one by one, and shows that its simulation catches each.
faults:
	scripts/faults

# Fuzzes every reader of what comes from outside, for as long as FUZZ_INPUTS say; a run that fails prints its seed, and where its
# input is. "make test" replays the kept corpus and has some seconds of it.
fuzz:
	scripts/needs redis-server
	FUZZ_INPUTS=$${FUZZ_INPUTS:-1000000} $(CARGO) test --release --package fuzz -- --ignored
	FUZZ_INPUTS=$${FUZZ_INPUTS:-1000000} $(CARGO) test --package evm --lib -- --ignored no_answer
	FUZZ_INPUTS=$${FUZZ_INPUTS:-1000000} $(CARGO) test --package store-tracker --package store-collector -- --ignored spoilt no_answer

# Benchmarks; their figures are comparable within a run only.
bench:
	scripts/needs redis-server anvil postgres socket.io-client
	$(CARGO) bench --package campaign-gateway --bench feed
	$(CARGO) bench --package supervision --bench kit
	$(CARGO) bench --package actors --bench collector
	$(CARGO) bench --package evm --bench backfill
	$(CARGO) bench --package peer-snapshots --bench read
	$(CARGO) bench --package store-peers --bench history
	$(CARGO) bench --package store-campaigns --bench full
	$(CARGO) bench --package store-campaigns --bench jobs
	$(CARGO) bench --package store-campaigns --bench counts
	$(CARGO) bench --package store-campaigns --bench writers
	$(CARGO) bench --package state-tracker --bench passes $(FEATURES)
	$(CARGO) bench --package state-tracker --bench operation $(FEATURES)
	$(CARGO) bench --package state-tracker --bench burst $(FEATURES)
	$(CARGO) bench --package state-tracker --bench neighbour $(FEATURES)
	$(CARGO) bench --package state-tracker --bench markets $(FEATURES)
	$(CARGO) bench --package state-tracker --bench relayer $(FEATURES)
	$(CARGO) bench --package state-tracker --bench api $(FEATURES)
	$(CARGO) bench --package state-tracker --bench peers $(FEATURES)
	$(CARGO) bench --package state-tracker --bench campaigns $(FEATURES)

# The service itself, without failure points, as bin/state-tracker.
state-tracker:
	$(CARGO) build --release --package state-tracker
	mkdir -p bin
	cp target/release/state-tracker bin/state-tracker

# The image, by docker, podman or buildah, whichever is there. ENGINE=podman chooses, IMAGE=name names it.
image:
	IMAGE=$(IMAGE) ENGINE=$(ENGINE) scripts/image

# Builds the image and runs it as an orchestrator would, with a chain behind TLS: as root, without a daemon or a registry.
# BINARY=bin/state-tracker copies a built service into the image, instead of building it there.
image-check:
	scripts/needs redis-server debootstrap podman runc anvil curl openssl socat
	BINARY=$(BINARY) scripts/image-check

# Runs the composition of docker-compose.monitoring.yml as a whole, by podman-compose: as root, without a daemon or a registry of images.
compose-check:
	scripts/needs debootstrap podman netavark aardvark-dns iptables runc curl python3
	BINARY=$${BINARY:-bin/state-tracker} scripts/compose-check

# Licences, bans and sources of the dependencies, as deny.toml has them; advisories where their database can be fetched.
deny:
	@command -v cargo-deny >/dev/null || { echo "install it with: cargo install --locked cargo-deny" >&2; exit 1; }
	$(CARGO) deny --locked check licenses bans sources
	@if $(CARGO) deny fetch db >/dev/null 2>&1; then $(CARGO) deny --locked check --disable-fetch advisories; \
		else echo "the database of advisories can't be fetched: they are left out"; fi

clean:
	$(CARGO) clean
	rm -rf bin
