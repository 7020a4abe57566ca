# The commands people type. Needed: Rust, Python 3.11 or newer with venv, and
# this make.

VENV := .local/venv
PEERS := .local/peers
CHECKS := .local/checks
SAM := .local/sam
# Programs of the workspace are here.
BIN := $(or $(CARGO_TARGET_DIR),target)/debug

# The stand-ins and whatever else runs the tools find them by this variable.
export COURSEHOOK_VENV := $(CURDIR)/$(VENV)
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export SAM_CLI_TELEMETRY := 0

# What the functions are built for: x86_64 or arm64.
ARCHITECTURE := x86_64
# On Linux of the same kind the compiler that is there will do, and elsewhere zig is to be
# installed (docs/deploying.md).
ifeq ($(shell uname -sm),Linux $(ARCHITECTURE:arm64=aarch64))
export CARGO_LAMBDA_COMPILER ?= cargo
endif
# The binaries of the functions, each of which is a Lambda function.
FUNCTIONS := $(patsubst functions/%/src/main.rs,%,$(wildcard functions/*/src/main.rs)) \
	$(notdir $(basename $(wildcard functions/*/src/bin/*.rs)))
# Which stack is meant.
STACK = coursehook-$(ENV)

.DEFAULT_GOAL := help
.PHONY: help tools run replay check test storm peers build deploy deployable secrets e2e e2e-build e2e-drive

help: ## This list.
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

tools: $(VENV)/.done ## Install the tools that are Python packages, into .local/venv.

# Each tool has an environment of its own, since they want other versions of the same.
$(VENV)/.done: tools/local/requirements.txt
$(PEERS)/.done: tools/peers/requirements.txt
$(CHECKS)/.done: infra/checks/requirements.txt
$(SAM)/.done: infra/requirements.txt
# Two packages of the LMS ask for Python 3.12, and run on 3.11.
$(PEERS)/.done: export PIP_IGNORE_REQUIRES_PYTHON := 1
# The last step makes the file: an install that was interrupted begins again.
# Without dependencies, since requirements.txt names them all.
%/.done:
	python3 -m venv --clear $*
	$*/bin/pip install --quiet --no-deps --requirement $<
	touch $@

run: $(VENV)/.done ## Run the whole product on this machine, until Ctrl-C.
	cargo build --workspace --exclude coursehook-storm --bins --locked
	exec $(BIN)/coursehook-local

replay: ## Send the sample deliveries in events/ to what `make run` runs.
	@if [ ! -f .local/env ]; then \
		echo 'There is no .local/env: start `make run` in another terminal first.' >&2; exit 1; fi
	@set -a; . ./.local/env; set +a; exec $(BIN)/coursehook replay events

check: $(CHECKS)/.done ## Formatting, lints, one TLS stack, documentation, retired words, the template.
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- --deny warnings
	@# A second TLS stack comes in by a dependency's default features, and with it ring.
	@crates=$$(cargo tree --workspace --edges normal --locked --prefix none) || exit 1; \
	if echo "$$crates" | grep '^ring '; then \
		echo 'is among the dependencies; one TLS stack, rustls on aws-lc-rs, is enough' >&2; exit 1; fi
	RUSTDOCFLAGS='--deny warnings' cargo doc --workspace --no-deps --locked --quiet
	python3 -B .ci/check_words.py --self-test
	python3 -B .ci/check_words.py
	$(CHECKS)/bin/python -B infra/checks
	$(CHECKS)/bin/python -B -m pytest --quiet infra/checks

test: $(VENV)/.done check ## Everything that is checked before a change lands.
	cargo test --workspace --locked
	$(MAKE) --no-print-directory storm
	@# The peers mostly wait, and the build for the emulator does not.
	$(MAKE) --no-print-directory --jobs=2 --output-sync=target peers e2e-build
	$(MAKE) --no-print-directory e2e-drive

storm: ## Random events, faults and deaths, compared with a model. STEPS, SEED, PROFILE: tools/storm.
	cargo run --quiet --package coursehook-storm --locked $(if $(PROFILE),--profile $(PROFILE)) -- \
		$(if $(STEPS),--steps $(STEPS)) $(if $(SEED),--seed $(SEED)) \
		$(if $(WRITE),--write docs/reliability.md)

peers: $(VENV)/.done $(PEERS)/.done ## Hold Coursehook against the LMS's own plugin and client (tools/peers).
	MAKEFLAGS= cargo build --workspace --bins --examples --locked
	MAKEFLAGS= $(PEERS)/bin/python tools/peers $(BIN)/coursehook-local

build: export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
build: $(VENV)/.done $(SAM)/.done ## Build what is deployed, into .aws-sam.
	@# All at once, and by Cargo.lock. SAM then asks for each of them, and it is there. Without
	@# MAKEFLAGS, since cargo would share the jobs of `make --jobs=2`.
	MAKEFLAGS= cargo lambda build --release --locked $(if $(filter arm64,$(ARCHITECTURE)),--arm64) \
		$(FUNCTIONS:%=--bin %)
	$(SAM)/bin/sam build --template infra/template.yaml \
		--parameter-overrides Architecture=$(ARCHITECTURE)
	infra/check-glibc.sh .aws-sam/build/*/bootstrap
	infra/check-entropy.py .aws-sam/build/*/bootstrap

deploy deployable: export STACK := $(STACK)
deploy deployable: export ARCHITECTURE := $(ARCHITECTURE)
deploy: deployable build ## Build and deploy: make deploy ENV=dev LMS_URL=https://lms.example.org
	@SAM=$(SAM)/bin/sam infra/deploy.sh

# Before minutes are spent on building.
deployable:
	@infra/deploy.sh check

secrets: ## Store the credential for the LMS, which is asked for: make secrets ENV=dev
	@if [ -z "$(ENV)" ]; then echo 'Which environment? For instance: make secrets ENV=dev' >&2; exit 2; fi
	cargo build --package coursehook-cli --locked
	@exec $(BIN)/coursehook --stack $(STACK) credential set

# Optimizing takes most of the time of a build, and shows nothing more here. What `make e2e` and
# `make test` leave in .aws-sam is not to be deployed; `make deploy` builds again.
e2e-build: export CARGO_PROFILE_RELEASE_OPT_LEVEL := 0
e2e-build: export CARGO_PROFILE_RELEASE_LTO := off
e2e-build: export CARGO_PROFILE_RELEASE_CODEGEN_UNITS := 16
e2e-build: build

e2e: e2e-build ## Deploy an unoptimized build to an emulator of AWS, and test it. KEEP=1 leaves it running.
	$(MAKE) --no-print-directory e2e-drive

e2e-drive: export ARCHITECTURE := $(ARCHITECTURE)
e2e-drive: $(VENV)/.done $(SAM)/.done
	cargo build --workspace --bins --locked
	exec $(BIN)/coursehook-e2e $(if $(KEEP),--keep) $(if $(WRITE),--write)
