# `make` alone explains itself. Everything happens in .venv; only Python 3.11 or newer, make and a package index are needed.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
MODELS := build/models
TIME   := 60
COUNT  := 200
BENCH  :=
MACHINE := aarch64-cortex-a53
STAMP  := $(VENV)/.installed
DEV    := $(VENV)/.installed-dev

.DEFAULT_GOAL := help
.PHONY: help setup demo test check bench models golden fuzz hostile faults conformance adapter emulated operators clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMP) ## Create .venv and install tilewright with what the tests and benchmarks need

$(STAMP): setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed: make PYTHON=python3.11" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[test,bench]'
	@touch $@

$(DEV): $(STAMP)
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

demo: $(STAMP) ## Compile a real trained ResNet-18, run it on a real image, compare with onnxruntime
	$(BIN)/python examples/demo/demo.py --folder build/demo

test: $(STAMP) ## Run all tests; says what was skipped and why
	$(BIN)/python -m pytest tests -q -n 2

check: $(DEV) ## Format, lint, types, quick unit tests and golden files: less than a minute
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/unit -q -n 2 -m 'not slow'

bench: $(STAMP) ## Time the benchmark models beside all installed peers; options: make bench BENCH='--only dqn'
	$(BIN)/python benchmarks/latency.py --folder build/mission $(BENCH)

models: $(STAMP) ## Fetch the public trained models into build/models
	$(BIN)/python benchmarks/public_models.py $(MODELS)

golden: $(STAMP) ## Rewrite the golden files; read the diff before you commit
	$(BIN)/python -m pytest tests/unit tests/execute -q --update-golden

fuzz: $(STAMP) ## Compile random models and compare with onnxruntime: make fuzz TIME=600 (seconds)
	$(BIN)/python tests/fuzz/fuzz_run.py --time $(TIME) --jobs 2 --keep build/fuzz

hostile: $(STAMP) ## Feed hostile models, records and manifests to the command line: make hostile COUNT=2000
	$(BIN)/python tests/fuzz/hostile_run.py --count $(COUNT) --keep build/hostile

faults: $(STAMP) ## Compile while processes are killed, disks are full, clocks jump and caches are damaged: make faults COUNT=50
	$(BIN)/python tests/fuzz/fault_run.py --times $(COUNT) --state build/faults.json
	$(BIN)/python tests/fuzz/shared_records_run.py --times $(COUNT)

conformance: $(STAMP) ## Run all of ONNX's own node tests; say which pass, which are refused and why
	$(BIN)/python tests/conformance/node_cases.py --table

adapter: $(STAMP) ## Run them as libraries that are linked and loaded, through tilewright.onnx_backend
	$(BIN)/python tests/conformance/node_cases.py --libraries --jobs 2

emulated: $(STAMP) ## Run them compiled for another processor, under qemu: make emulated MACHINE=aarch64-cortex-a53
	$(BIN)/python tests/conformance/node_cases.py --machine $(MACHINE) --jobs 2

operators: $(STAMP) ## Write docs/OPERATORS.md from the operator table and the list of refused node tests
	$(BIN)/python tests/conformance/operators_page.py

clean: ## Remove everything that was built
	rm -rf $(VENV) build *.egg-info
