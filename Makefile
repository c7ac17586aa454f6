# Two commands are enough: `make demo` shows the main job, `make test` runs the tests.
# Everything is set up on the way, in .tools/ and .venv/ here and in a cache outside the checkout
# (${FAIRSTOW_CACHE}, by default ~/.cache/fairstow). Nothing of the system is touched, but by
# `make setup-system`.

SHELL := /bin/sh
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON := .venv/bin/python
PHASE := sh tools/phase.sh
SYNCED := .venv/.synced

.PHONY: help
help: ## Show this list.
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-20s %s\n", $$1, $$2 }' Makefile

.PHONY: demo
demo: $(SYNCED) ## Show the main job on a real Kubernetes on this machine.
	@$(PYTHON) -m tools.demo

.PHONY: demo-serving
demo-serving: $(SYNCED) ## Drain an LLM engine under running requests (half a minute, no GPU).
	@$(PYTHON) -m tools.demo_serving

.PHONY: demo-spark
demo-spark: $(SYNCED) ## Put a flood and small jobs into one real Spark (a minute; needs a JDK).
	@$(PYTHON) -m tools.demo_spark

.PHONY: demo-cache
demo-cache: $(SYNCED) ## Answer repeated questions from memory, and not a trap (half a minute, no GPU).
	@$(PYTHON) -m tools.demo_cache

.PHONY: test
test: test-fast test-e2e ## Run all tests of the short suite.
	@sh tools/phase.sh --summary

.PHONY: test-fast
test-fast: $(SYNCED) ## Run the tests that need no cluster.
	@$(PHASE) unit-tests $(PYTHON) -m pytest tests -n auto --dist loadfile

.PHONY: test-e2e
test-e2e: $(SYNCED) ## Run the tests on a real Kubernetes (builds it first, once).
	@if [ "$$CI" = true ]; then $(PHASE) setup-system sh tools/setup_system.sh; fi
	@$(PHASE) build-kubernetes $(PYTHON) -m tools.need_go
	@$(PHASE) e2e-tests $(PYTHON) -m pytest e2e -n 2 --dist loadscope

.PHONY: e2e-full
e2e-full: $(SYNCED) ## Run the long tests, most on a real Kubernetes; docs/testing.md tells.
	@$(PHASE) build-kubernetes $(PYTHON) -m tools.need_go
	@$(PHASE) e2e-full $(PYTHON) -m pytest e2e tests -m full -n 2 --dist loadscope \
	  --junitxml=.tools/e2e-full.xml; code=$$?; \
	  $(PYTHON) -m tools.full_results .tools/e2e-full.xml; exit $$code

.PHONY: verify
verify: $(SYNCED) ## Check style, types, layers and generated files.
	@$(PHASE) ruff .venv/bin/ruff check .
	@$(PHASE) ruff-format .venv/bin/ruff format --check --quiet .
	@$(PHASE) mypy .venv/bin/mypy
	@$(PHASE) layers .venv/bin/lint-imports
	@$(PHASE) generated $(PYTHON) -m tools.generate --check
	@$(PHASE) example $(PYTHON) -m tools.example --check
	@$(PHASE) lock sh tools/uv.sh lock --check --quiet

.PHONY: generate
generate: $(SYNCED) ## Write crds/, docs/reference/ and the example dump anew.
	$(PYTHON) -m tools.generate
	$(PYTHON) -m tools.example

.PHONY: format
format: $(SYNCED) ## Format the code.
	.venv/bin/ruff check --fix --quiet .
	.venv/bin/ruff format --quiet .

.PHONY: benchmark-packing
benchmark-packing: $(SYNCED) ## Run the packing benchmarks, the short way (five minutes).
	@$(PHASE) paper-grid $(PYTHON) -m benchmarks.paper_grid --seeds 3 --priorities 4
	@$(PHASE) scale $(PYTHON) -m benchmarks.scale
	@$(PHASE) load-dump $(PYTHON) -m benchmarks.load_dump
	@if [ -n "$$FAIRSTOW_DATA" ]; then \
	  $(PHASE) fragmentation $(PYTHON) -m benchmarks.fragmentation --quick; \
	else echo "== fragmentation: skipped, FAIRSTOW_DATA names no folder with the openb trace"; fi

.PHONY: benchmark-packing-live
benchmark-packing-live: $(SYNCED) ## Run the benchmarks on a live cluster, the short way (ten minutes).
	@$(PHASE) build-kubernetes $(PYTHON) -m e2e.controlplane build
	@$(PHASE) extender $(PYTHON) -m benchmarks.extender --rounds 3 --nodes 240 --pods 1200
	@$(PHASE) operator-scale $(PYTHON) -m benchmarks.operator_scale --nodes 500 --seconds 30
	@if [ -n "$$FAIRSTOW_DATA" ]; then \
	  $(PHASE) churn $(PYTHON) -m benchmarks.churn --quick; \
	else echo "== churn: skipped, FAIRSTOW_DATA names no folder with the openb trace"; fi

.PHONY: benchmark-serving
benchmark-serving: $(SYNCED) ## Run the serving benchmarks, the short way (five minutes).
	@if [ -n "$$FAIRSTOW_DATA" ]; then \
	  $(PHASE) serving-simulator $(PYTHON) -m benchmarks.serving_simulator --quick --seeds 2; \
	else echo "== serving-simulator: skipped, FAIRSTOW_DATA names no folder with the traces"; fi
	@$(PHASE) gateway $(PYTHON) -m benchmarks.gateway --rounds 1 --seconds 10
	@$(PHASE) downtime $(PYTHON) -m benchmarks.downtime --quick

.PHONY: benchmark-cache
benchmark-cache: $(SYNCED) ## Run the semantic cache's benchmarks, the short way (ten minutes).
	@if [ -n "$$FAIRSTOW_DATA" ]; then \
	  $(PHASE) cache-safety $(PYTHON) -m benchmarks.cache_safety --quora 1000 && \
	  $(PHASE) cache-load $(PYTHON) -m benchmarks.cache_load --seeds 3; \
	else echo "== cache-safety, cache-load: skipped, FAIRSTOW_DATA names no folder with pairs"; fi
	@$(PHASE) cache-budget $(PYTHON) -m benchmarks.cache_budget --seeds 200
	@$(PHASE) cache-categories $(PYTHON) -m benchmarks.cache_categories --seeds 3
	@$(PHASE) cache-timing $(PYTHON) -m benchmarks.cache_timing --blocks 30
	@$(PHASE) cache-lookup $(PYTHON) -m benchmarks.cache_lookup --entries 5000 --rounds 50

.PHONY: spark-plugin
spark-plugin: $(SYNCED) ## Build the plugin for Spark, dist/fairstow-spark.jar (needs a JDK).
	@$(PHASE) spark-plugin $(PYTHON) -m tools.spark_plugin

.PHONY: benchmark-spark
benchmark-spark: $(SYNCED) ## Run Spark's benchmarks, the short way (six minutes).
	@$(PHASE) spark-simulator $(PYTHON) -m benchmarks.spark_simulator --quick
	@$(PHASE) spark-live $(PYTHON) -m benchmarks.spark_live --quick
	@$(PHASE) build-kubernetes $(PYTHON) -m e2e.controlplane build
	@$(PHASE) spark-held $(PYTHON) -m benchmarks.spark_held --apps 1000

.PHONY: cluster-up
cluster-up: $(SYNCED) ## Start a local Kubernetes and say how to reach it.
	@$(PYTHON) -m e2e.controlplane up

.PHONY: cluster-down
cluster-down: $(SYNCED) ## Stop it and remove its state.
	@$(PYTHON) -m e2e.controlplane down

.PHONY: setup
setup: $(SYNCED) ## Install what is needed into .tools/ and .venv/.

.PHONY: setup-system
setup-system: ## Install Debian packages, for tests on a real node (needs root; says which).
	@$(PHASE) setup-system sh tools/setup_system.sh

$(SYNCED): pyproject.toml uv.lock tools/uv.sh
	@$(PHASE) setup sh tools/uv.sh sync --frozen --all-extras --quiet
	@touch $@

.PHONY: clean
clean: ## Remove .venv/, .tools/ and what the tools cached here.
	rm -rf .venv .tools .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
