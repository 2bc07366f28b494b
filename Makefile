.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
LOWEST := .venv-lowest
BIN := $(VENV)/bin
STUDY ?=
PORT ?= 5000
export PATH := $(CURDIR)/$(BIN):$(PATH)
export MLFLOW_DISABLE_TELEMETRY := true
export DVC_NO_ANALYTICS := 1

.PHONY: help install study test test-long fuzz soak test-lowest check docs ui tune report clean

help:  ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

$(VENV)/.installed: requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@

install: $(VENV)/.installed  ## Create .venv with the pinned dependencies

study: install  ## Run the active study (params.yaml), or STUDY=studies/NAME.yaml; print the answer
	@$(BIN)/python -m ecgscale repro $(if $(STUDY),--study $(STUDY))

tune: install  ## Search hyper-parameters of the objectives named in params.yaml
	@$(BIN)/python -m ecgscale tune

report: install  ## Compute the report again from the tracking store
	@$(BIN)/python -m ecgscale report

ui: install  ## Open the study's MLflow store at http://127.0.0.1:5000 (PORT=...)
	$(BIN)/python -m ecgscale ui --port $(PORT)

test: install  ## Run the tests (at most six minutes on two cores)
	@OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 \
	  $(BIN)/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder -m "not long"

test-long: install  ## Run the tests that take minutes (real recordings, the whole suite, what re-runs)
	@OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 \
	  $(BIN)/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder -m long

CASES ?= 100000
fuzz: install  ## Damage files of every source at random (CASES=100000) and say what the readers did
	@PYTHONPATH=tests OMP_NUM_THREADS=1 $(BIN)/python -m support.fuzz --cases $(CASES)

MINUTES ?= 20
soak: install  ## Disturb a small study at random (MINUTES=20); what comes of it must equal a quiet run's
	@PYTHONPATH=tests OMP_NUM_THREADS=1 $(BIN)/python -m support.soak --minutes $(MINUTES)

$(LOWEST)/.installed: requirements-lowest.txt pyproject.toml
	$(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python -m pip install --quiet --disable-pip-version-check -c requirements-lowest.txt -e ".[test]"
	@touch $@

test-lowest: $(LOWEST)/.installed  ## Run the tests with the lowest versions that pyproject.toml allows (Python 3.11)
	@PATH="$(CURDIR)/$(LOWEST)/bin:$$PATH" OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 \
	  $(LOWEST)/bin/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder -m "not long and not browser"

check: install  ## Lint and type-check
	@$(BIN)/ruff format --check src tests benchmarks docs/gallery docs/hooks
	@$(BIN)/ruff check src tests benchmarks docs/gallery docs/hooks
	@$(BIN)/mypy

docs: install  ## Build the site into build/site: the examples run, every warning is an error
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-docs.lock
	@OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

clean:  ## Remove what a study made (keeps .venv and DVC's cache)
	find data models -mindepth 1 -maxdepth 1 ! -name README.md -exec rm -rf {} +
	rm -rf results reports mlartifacts mlruns mlflow.db optuna.db .ecgscale dvc.lock
