# One word per habit. Everything below installs what it needs first, from packages.txt, and says so.
.DEFAULT_GOAL := help
.PHONY: help setup build test check sim soak fuzz golden bench demo docs fmt lint deb clean

SWIFT ?= swift
RELEASE := -c release -static-stdlib

help: ## List these words
	@awk -F':.*## ' '/^[a-z]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' Makefile

setup: ## Install missing Debian packages
	@deploy/setup.sh packages.txt

build: setup ## Build bin/bramble and bin/bramble-sim
	$(SWIFT) build $(RELEASE) --product bramble
	$(SWIFT) build $(RELEASE) --product bramble-sim
	@mkdir -p bin
	@for tool in bramble bramble-sim; do strip -o bin/$$tool $$($(SWIFT) build $(RELEASE) --show-bin-path)/$$tool; done
	@echo "built bin/bramble and bin/bramble-sim"

test: setup ## Build and run every test
	$(SWIFT) build --build-tests -Xswiftc -warnings-as-errors
	$(SWIFT) test --skip-build

fmt: ## Format the code
	$(SWIFT) format -i -r Sources Tests Lab Package.swift

lint: ## Check the format
	$(SWIFT) format lint -r --strict Sources Tests Lab Package.swift

check: lint test ## Everything the gate runs

clean: ## Remove what was built
	rm -rf .build bin dist
