# `make demo` and `make test` set up everything that they need, on a fresh machine with Debian 12,
# Ubuntu 24.04 or newer.
SHELL := /bin/bash
VENV ?= .venv
PY := $(VENV)/bin/python
COV ?= --cov --cov-report=
.DEFAULT_GOAL := help

.PHONY: help demo test test-long test-faults test-gpu test-lowest unit lint format setup lab-up lab-down bench clean

help:  ## List the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: setup lab-packages  ## Three nodes in VMs: bootstrap, launch, verify-rdma, a chat, teardown (KEEP=1 leaves them up)
	$(PY) -m spark_cluster.lab.demo

test: test-lab  ## Unit, contract, faults, and the lab end to end, but for the long ones
	@$(PY) -m tests.total
	$(if $(COV),$(VENV)/bin/coverage combine -q && $(VENV)/bin/coverage report)

# The parts of `test`, for make -j2.
.PHONY: test-unit test-contract test-few-faults test-lab
part = COVERAGE_FILE=.coverage.$(1) $(PY) -m pytest -m "not long" --junitxml=.reports/$(1).xml $(COV)

test-unit: setup lab-packages lint
	$(call part,unit) -n 2 tests/unit

test-contract: setup lab-packages engines
	$(call part,contract) tests/contract

test-few-faults: lab-image
	$(call part,faults) tests/lab/faults

# Last: the virtual machines take the CPU of everything else.
test-lab: lab-image test-unit test-contract test-few-faults
	$(call part,lab) tests/lab --ignore=tests/lab/faults

# What is timed runs alone; then two labs at a time, each with whole files.
test-long: lab-image engines  ## The long tests: reboots, dead controllers, every verdict, what is timed; WORKERS=3 labs at once
	@mkdir -p .reports/long && rm -f .reports/long/*.xml
	$(call long,timed) -m "long and not faults and not lab and not gpu"
	$(call long,lab) -m "long and lab" -n $(or $(WORKERS),3) --dist loadfile tests/lab
	@$(PY) -m tests.total .reports/long
long = $(PY) -m pytest --junitxml=.reports/long/$(1).xml

test-faults: lab-image  ## The fault suite: every boundary, every fault, RUNS=100 random ones (SEED=n), WORKERS=4 at once
	SPARK_CLUSTER_FAULT_RUNS=$(or $(RUNS),100) SPARK_CLUSTER_FAULT_SEED=$(or $(SEED),2026) \
	  $(PY) -m pytest -m faults tests/lab/faults -n $(or $(WORKERS),4) --maxschedchunk 1

# SPARK_CLUSTER_GPU_SITE=DIR names a folder with vLLM's packages; tests/gpu/settings.py has the rest.
test-gpu: setup  ## A real vLLM on this machine's GPUs (WORKERS=2 pairs of hosts at once); skipped without one
	$(PY) -m pytest -m gpu tests/gpu -n $(or $(WORKERS),1)

unit: setup  ## The fast tests only
	$(PY) -m pytest tests/unit -n 2

test-lowest:  ## The fast tests with the lowest versions that pyproject.toml allows, under every Python 3.11 to 3.13
	@for python in python3.11 python3.12 python3.13; do \
	  $$python -c '' 2>/dev/null || { echo "no $$python here: skipped"; continue; }; \
	  bash .ci/lowest $$python -q || exit 1; \
	done

lint: setup  ## ruff, the rooms' imports, and mypy --strict
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/lint-imports --no-cache
	$(VENV)/bin/mypy

format: setup
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

setup: $(VENV)/.installed  ## The virtual environment

$(VENV)/.installed: pyproject.toml .ci/setup
	@bash .ci/setup $(VENV)
	@touch $@

.PHONY: engines
engines: setup  ## Ray and vLLM for the contract tests, where the machine can (SPARK_CLUSTER_ENGINES=0: not)
	@$(PY) -m tests.contract.engines_venv

.PHONY: lab-packages
lab-packages: setup  # one apt at a time
	@bash .ci/packages

.PHONY: lab-image
lab-image: setup lab-packages
	-@$(PY) -m spark_cluster lab build

lab-up: setup lab-packages  ## Start the lab and leave it up
	$(VENV)/bin/spark-cluster lab up

lab-down: setup  ## Stop the lab
	$(VENV)/bin/spark-cluster lab down

bench: setup  ## A warm bootstrap against one raw ssh per host, as a ratio (needs a running lab)
	$(PY) bench/warm_bootstrap.py

clean:  ## Remove what `make` made here
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .coverage* .reports dist build
