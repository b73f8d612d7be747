# One word per habit. Each installs the Debian packages it needs first (packages.txt) and says which.
.DEFAULT_GOAL := help
.PHONY: help setup build quick test check sim soak fuzz golden bench demo docs fmt lint deb install clean

SWIFT ?= swift
DEBUG := .build/debug
RELEASE := -c release --static-swift-stdlib
# The same for demo and test, so that one does not undo the other's build.
STRICT := -Xswiftc -warnings-as-errors
FORMATTED := Sources Tests Lab Benchmarks Package.swift
# Tests of one process share two threads, so what computes for long, or measures time, runs in a process of its own.
# Every other target is in the first run, whatever is added.
COMPUTING := SimulationTests|LeasesTests|MembershipTests|NodeTests|ReplicationTests|ServicesTests|StorageTests|FuzzTests|CryptoTests
APART := $(COMPUTING)|BrowserTests|LabTests|TakeoverTests
# So many tests of a process run at once. Without a bound all of them begin together, and on a busy machine each waits so
# long for its turn that what it tests gives up first.
export SWT_EXPERIMENTAL_MAXIMUM_PARALLELIZATION_WIDTH := 8
# The lab makes network namespaces, which takes root; everything else runs as whoever calls.
AS_ROOT := $(shell [ "$$(id -u)" = 0 ] || echo sudo --preserve-env=PATH)

help: ## List these words
	@awk -F':.*## ' '/^[a-z]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' Makefile

setup: ## Install every Debian package that any word needs
	@deploy/setup.sh packages.txt

build: ## Build bin/bramble and bin/bramble-sim
	@deploy/setup.sh packages.txt build
	$(SWIFT) build $(RELEASE) --product bramble
	$(SWIFT) build $(RELEASE) --product bramble-sim
	@mkdir -p bin
	@for tool in bramble bramble-sim; do strip -o bin/$$tool $$($(SWIFT) build $(RELEASE) --show-bin-path)/$$tool; done
	@echo "built bin/bramble and bin/bramble-sim"

demo: ## Three nodes on this machine run a web service; its node loses power, and a client counts
	@deploy/setup.sh packages.txt build lab
	$(SWIFT) build $(STRICT) --product bramble
	$(SWIFT) build $(STRICT) --product bramble-demo
	@$(AS_ROOT) $(DEBUG)/bramble-demo $(DEBUG)/bramble

test: ## Build and run every test, those with real nodes too
	@deploy/setup.sh packages.txt build lab deb test
	$(SWIFT) build $(STRICT) --build-tests
	Tests/run.sh rest 15 --skip '^($(APART))\.'
	Tests/run.sh computing 20 --filter '^($(COMPUTING))\.'
	Tests/run.sh browser 10 --filter '^BrowserTests\.'
	@[ -z "$(AS_ROOT)" ] || echo "The lab needs root: its tests run with sudo."
	@# A browser waits for a page: beside seven other labs that would be for minutes.
	$(AS_ROOT) Tests/run.sh dashboard 5 --filter '^LabTests\.DashboardTests'
	$(AS_ROOT) Tests/run.sh lab 30 --filter '^(LabTests|TakeoverTests)\.' --skip '^LabTests\.DashboardTests'

quick: ## Build and test one target alone: T=MachineTests (or several, with commas)
	BRAMBLE_ONLY=$(T) $(SWIFT) test $(STRICT) --scratch-path .build/quick-$(T) $(if $(FILTER),--filter $(FILTER))

sim: ## One simulation: SCENARIO= NODES= SEED= SECONDS= BUG= (a fresh seed without)
	$(SWIFT) build $(RELEASE) --product bramble-sim
	.build/release/bramble-sim run $(if $(SCENARIO),--scenario $(SCENARIO)) $(if $(NODES),--nodes $(NODES)) \
		$(if $(SEED),--seed $(SEED)) $(if $(SECONDS),--seconds $(SECONDS)) $(if $(BUG),--bug $(BUG))

soak: ## Fresh simulations one after the other: MINUTES= (default 10) SCENARIO= NODES=
	$(SWIFT) build $(RELEASE) --product bramble-sim
	.build/release/bramble-sim soak --for $$(( $(or $(MINUTES),10) * 60 )) \
		$(if $(SCENARIO),--scenario $(SCENARIO)) $(if $(NODES),--nodes $(NODES))

fuzz: ## Fuzz every parser of bytes from outside: SECONDS= for each (default 60) TARGET=
	@deploy/setup.sh packages.txt build
	Tests/Fuzz/run.sh $(or $(SECONDS),60) $(TARGET)

golden: ## Write what commands print anew; read the difference
	@deploy/setup.sh packages.txt build
	BRAMBLE_GOLDEN_UPDATE=1 $(SWIFT) test $(STRICT) --filter GoldenTests
	@git --no-pager diff --stat -- Tests

check: lint test ## Everything the gate runs

bench: build ## Measure beside serf, etcd, Mnesia, keepalived, pacemaker, nginx; write docs/benchmarks.md: BENCH=membership, database, failover, mirrors, engines
	@deploy/setup.sh packages.txt build lab test bench
	$(SWIFT) build $(RELEASE) --product bramble-bench
	@$(AS_ROOT) .build/release/bramble-bench --bramble bin/bramble --simulator bin/bramble-sim --write docs/benchmarks.md $(BENCH)

deb: build ## Pack dist/bramble_VERSION_ARCH.deb
	@deploy/setup.sh packages.txt deb
	@deploy/make-deb.sh bin/bramble dist

install: ## Put Bramble on this machine as a service
	@$(AS_ROOT) deploy/install.sh

docs: build ## Write the manual page into dist/docs, as man and browsers read it
	@deploy/setup.sh packages.txt docs
	@mkdir -p dist/docs
	bin/bramble man >dist/docs/bramble.1
	mandoc -T html dist/docs/bramble.1 >dist/docs/bramble.html

fmt: ## Format the code
	$(SWIFT) format -i -r $(FORMATTED)

lint: ## Check the format
	$(SWIFT) format lint -r --strict $(FORMATTED)

clean: ## Remove what was built
	rm -rf .build bin dist
