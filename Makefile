# Tidemill's tasks. `make` alone lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.ONESHELL:
.PHONY: help setup check test test-fast test-e2e test-peers demo images cluster-up cluster-down bench bench-peers bench-scale lock

BIN := .venv/bin
PYTEST := $(BIN)/pytest
# tests that need no cluster; those of the images' packages run as they are on this machine
FAST := $(filter-out tests/e2e/ tests/faults/ tests/bench/ tests/__pycache__/,$(wildcard tests/*/))
PACKAGES := operator/tidemill images/worker/tidemill_worker images/serving/tidemill_agent cli/tidemill_cli hack/imagebuild hack/cluster_kind.py hack/torch_cpu_stubs.py

help: ## list the tasks
	@echo "Tidemill: make TASK"
	awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-13s %s\n", $$1, $$2}' Makefile
	echo "Caches are in $${TIDEMILL_CACHE:-~/.cache/tidemill}; TIDEMILL_KUBECONFIG names a cluster of yours to use instead."

setup: ## make .venv with all tools and libraries (a few seconds when up to date)
	@hack/setup

check: setup ## style, types, layers, generated files, shell scripts, charts
	@$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy $(PACKAGES)
	$(BIN)/lint-imports
	PATH="$$PWD/$(BIN):$$PATH" hack/gen-crds --check
	hack/check-shell
	helm=$$(hack/cluster build helm)/helm
	for chart in charts/*/; do "$$helm" lint --strict "$$chart"; done

test-fast: setup ## all tests that need no cluster
	@$(PYTEST) -n 2 --dist loadfile -m "not e2e and not slow" $(FAST)

test-e2e: setup cluster-up ## the tests on a real cluster
	@eval "$$(hack/cluster env)"
	$(PYTEST) -m "e2e and not peers" tests/e2e tests/agent tests/glue tests/faults tests/cli

test-peers: setup cluster-up ## tests beside the real controllers of Kueue, JobSet and KubeRay, which it builds once (10 minutes)
	@eval "$$(hack/cluster env)"
	$(PYTEST) -m peers tests/e2e tests/glue

test: check ## everything but test-peers: check, unit, property, golden, glue and end-to-end tests
	@$(PYTEST) -n 2 --dist loadfile -m "not e2e" $(FAST)
	$(MAKE) --no-print-directory test-e2e

demo: setup ## the whole loop on real flights, on a cluster that it starts
	@hack/demo

images: ## build the container images
	@hack/images build
	hack/images list

cluster-up: images ## start a cluster and load the images into it
	@hack/cluster up
	hack/cluster load

cluster-down: ## end the cluster; caches stay
	@hack/cluster down

bench: setup ## measure Tidemill, beside its peers where there are any
	@hack/bench

bench-peers: setup ## measure Tidemill beside JobSet, Trainer, Kueue and KServe, 1,000 objects each (over an hour)
	@hack/bench peers.run

bench-scale: setup ## measure the engine at 100 to 10,000 resources (40 minutes and more; ARGS=--quick tests the bench)
	@hack/bench scale.run $(ARGS)

lock: ## resolve the requirements anew
	@hack/lock --upgrade
