# Set-up, demo and tests. `make` without a target lists them.
#
# The environment in .venv is made once for each version of requirements.lock: the stamp's name has its hash.
# Nothing is resolved at set-up; every package is a pinned, hashed line of a lock.

.DEFAULT_GOAL := help
.ONESHELL:
.DELETE_ON_ERROR:
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c

VENV := .venv
PYTHON := $(VENV)/bin/python
# Processes that run tests. Each loads its own TensorFlow, with up to a few GB of memory.
WORKERS := 2
PYTEST_ARGS :=
PYTEST := $(PYTHON) -m pytest -n $(WORKERS) --dist loadfile
# Parts of the tests that run one after the other, in separate processes: a process keeps the memory of everything it
# has compiled.
TRAINING_TESTS := tests/training tests/accelerators
STAGE_TESTS := tests/stages tests/test_train.py tests/models tests/sampling
PIPELINE_TESTS := tests/pipelines tests/beam
OTHER_TESTS := $(filter-out $(TRAINING_TESTS) $(STAGE_TESTS) $(PIPELINE_TESTS), \
  $(patsubst %/,%,$(filter-out tests/__pycache__/,$(wildcard tests/*/))) $(wildcard tests/test_*.py))

hash_of = $(shell cat $(1) | sha256sum | cut -c 1-16)
STAMPS := $(VENV)/stamps
LOCK_STAMP := $(STAMPS)/lock-$(call hash_of,requirements.lock requirements/installer.lock)
TEST_STAMP := $(STAMPS)/test-$(call hash_of,requirements/test.lock)
CUDA_STAMP := $(STAMPS)/cuda-$(call hash_of,requirements/cuda.lock)
# The folder's path is part of it: an editable install of a moved checkout would point to the old path.
PROJECT_STAMP := $(STAMPS)/project-$(shell (pwd; cat setup.py pyproject.toml vim_tf/__init__.py) | sha256sum | cut -c 1-16)

# The site's packages have their own environment, so that they don't conflict with ours.
DOCS_VENV := .venv-docs
DOCS_STAMP := $(STAMPS)/docs-$(call hash_of,requirements/docs.lock)

# uv and pip read different settings. pip knows a machine's package index, so it is passed on to uv. If uv fails anyway,
# pip installs the same lock, in minutes instead of seconds. Arguments: the lock, and the environment's Python.
define install_lock
index="$${UV_DEFAULT_INDEX:-$${PIP_INDEX_URL:-$$($(PYTHON) -m pip config get global.index-url 2>/dev/null || true)}}"
if [ -n "$$index" ]; then export UV_DEFAULT_INDEX="$$index"; fi
if ! $(VENV)/bin/uv pip install --python $(2) --no-deps --no-build-isolation --require-hashes --compile-bytecode -r $(1); then
  echo "uv could not install $(1); pip takes over."
  $(2) -m pip install --disable-pip-version-check --no-deps --no-build-isolation --require-hashes -r $(1)
fi
endef

# Argument: the marks. A part without such tests isn't a failure.
define run_tests
status=0
for part in "$(TRAINING_TESTS)" "$(STAGE_TESTS)" "$(PIPELINE_TESTS)" "$(OTHER_TESTS)"; do
  $(PYTEST) -m "$(1)" $(PYTEST_ARGS) $$part || { code=$$?; [ $$code = 5 ] || status=$$code; }
done
exit $$status
endef

.PHONY: help setup setup-test setup-cuda setup-docs demo docs ablation test-fast test test-system lint format clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

demo: setup ## set up what is needed, then the whole chain on the embedded digits; results in runs/digits/
	@$(PYTHON) -m pipelines.local_runner --flagfile=configs/digits/pipeline.flags

ablation: setup ## small trainings that compare quantizers; results in docs/results/
	@$(PYTHON) -m benchmarks.ablation

test-fast: setup-test ## the fast tests, which take less than 3 minutes in all on two cores
	@$(PYTEST) -m "not slow and not system" $(PYTEST_ARGS)

test: setup-test lint ## set up what is needed, then lint and every test that needs no other system
	@$(call run_tests,not system)

test-system: setup-test ## the tests with other systems (browser, Bazel, ...); those whose system is missing are skipped
	@$(PYTEST) -m "system" $(PYTEST_ARGS)

docs: setup-docs ## build the documentation's site into site/
	@NO_MKDOCS_2_WARNING=1 $(DOCS_VENV)/bin/python -m mkdocs build --strict --quiet
	echo "Built: site/index.html"

lint: setup-test ## check style and format
	@$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .

format: setup-test ## format the code and sort its imports
	@$(PYTHON) -m ruff check --fix-only --select I .
	$(PYTHON) -m ruff format .

clean: ## remove caches and the site; the environments and runs/ stay
	@find . \( -path ./.git -o -path ./$(VENV) -o -path ./$(DOCS_VENV) -o -path ./runs \) -prune -o \
	  -type d \( -name __pycache__ -o -name .pytest_cache -o -name .ruff_cache -o -name "*.egg-info" \) -prune \
	  -exec rm -rf {} +
	rm -rf build site

setup: $(PROJECT_STAMP)

setup-test: setup $(TEST_STAMP)

setup-cuda: setup $(CUDA_STAMP) ## also set up TensorFlow for an NVIDIA GPU; downloads gigabytes

$(LOCK_STAMP):
	@python=""
	for candidate in python3.11 python3; do
	  if "$$candidate" -c "import sys; sys.exit(sys.version_info[:2] != (3, 11))" 2>/dev/null; then
	    python="$$candidate"
	    break
	  fi
	done
	if [ -z "$$python" ]; then
	  echo "Error: Python 3.11 is needed, but neither python3.11 nor python3 is that version. Install it and run make again." >&2
	  exit 1
	fi
	if [ -e $(VENV) ] && [ ! -e $(VENV)/pyvenv.cfg ]; then
	  echo "Error: $(VENV) exists but isn't a virtual environment. Move it and run make again." >&2
	  exit 1
	fi
	echo "Set-up 1/4: virtual environment $(VENV) with $$("$$python" --version)"
	"$$python" -m venv --clear $(VENV)
	echo "Set-up 2/4: installer"
	$(PYTHON) -m pip install --disable-pip-version-check --quiet --require-hashes -r requirements/installer.lock
	echo "Set-up 3/4: $$(grep -c == requirements.lock) packages of requirements.lock (download, install, byte-compile; 4 GB on disk)"
	$(call install_lock,requirements.lock,$(PYTHON))
	mkdir -p $(STAMPS)
	touch $@

$(PROJECT_STAMP): $(LOCK_STAMP)
	@echo "Set-up 4/4: vim_tf itself"
	$(PYTHON) -m pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation -e .
	rm -f $(STAMPS)/project-*
	touch $@

$(TEST_STAMP): $(LOCK_STAMP)
	@echo "Set-up of the tests: $$(grep -c == requirements/test.lock) packages of requirements/test.lock"
	$(call install_lock,requirements/test.lock,$(PYTHON))
	rm -f $(STAMPS)/test-*
	touch $@

$(CUDA_STAMP): $(LOCK_STAMP)
	@echo "Set-up for a GPU: $$(grep -c == requirements/cuda.lock) packages of requirements/cuda.lock"
	$(call install_lock,requirements/cuda.lock,$(PYTHON))
	rm -f $(STAMPS)/cuda-*
	touch $@

setup-docs: $(DOCS_STAMP)

$(DOCS_STAMP): $(LOCK_STAMP)
	@echo "Set-up of the documentation: $$(grep -c == requirements/docs.lock) packages of requirements/docs.lock"
	$(PYTHON) -m venv --clear $(DOCS_VENV)
	$(call install_lock,requirements/docs.lock,$(DOCS_VENV)/bin/python)
	rm -f $(STAMPS)/docs-*
	touch $@
