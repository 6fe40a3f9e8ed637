# make demo: set everything up and run the whole job on the embedded photographs.
# make test: set everything up and run the tests.
.DEFAULT_GOAL := help
.PHONY: help setup demo test test-fast golden reference docs lint format lock audit

export PATH := $(CURDIR)/.venv/bin:$(PATH)
PYTHON ?= python3

help:  ## List what make can do
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:[^#]*##/\t/' | expand -t 12

.venv/installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "reiqa needs Python 3.11 or newer")'
	test -x .venv/bin/python && .venv/bin/python -m pip --version >/dev/null || $(PYTHON) -m venv --clear .venv
	.venv/bin/python -m pip install --quiet "$$(grep '^uv==' requirements.lock)"
	.venv/bin/uv pip install --quiet --python .venv/bin/python --compile-bytecode -r requirements.lock
	.venv/bin/uv pip install --quiet --python .venv/bin/python --no-deps --editable .
	.venv/bin/python -m compileall -q reiqa
	touch $@

setup: .venv/installed  ## Make the environment in .venv from requirements.lock

demo: setup  ## Run the main job on the embedded demo and print its table
	@cmp -s params.yaml reiqa/presets/demo.yaml || \
		{ echo "params.yaml is not the demo's; first: reiqa preset demo --force" >&2; exit 2; }
	snakemake results/all_srcc.csv
	@reiqa report

test: setup  ## Run the tests
	pytest -n 2 --dist loadgroup

# Parameters, decoding, catalog, geometry, loss and metrics: no engine, no training, no scoring.
FAST := tests/test_params.py tests/test_imports.py tests/test_seeds.py tests/test_identity.py \
	tests/test_images.py tests/test_image_metadata.py tests/data/test_catalog.py \
	tests/data/test_entry.py tests/data/test_index.py tests/chunks/test_recipe.py \
	tests/encoders/test_pooling.py tests/pretrain/test_moco.py tests/regression/test_metrics.py \
	tests/regression/test_statistics.py tests/regression/test_splits.py

test-fast: setup  ## Run the tests that take under two minutes in all
	pytest -n 2 -m "not slow and not engine" $(FAST)

golden: setup  ## Pin the numbers that every stage computes (after a raised format number)
	PYTHONPATH=tests python -m support.golden

reference: setup  ## Write docs/reference from the code
	python docs/generate.py

docs: setup  ## Build the documentation site in build/site
	mkdocs build --strict

lint: setup  ## Check style, types and workflow
	ruff check .
	ruff format --check .
	mypy
	snakefmt --check Snakefile workflow
	snakemake --lint

format: setup  ## Format the code
	ruff check --fix .
	ruff format .
	snakefmt Snakefile workflow

lock:  ## Resolve requirements.lock again
	uv pip compile --universal --python-version 3.11 --all-extras --no-annotate --no-header \
		pyproject.toml -o requirements.lock

audit: setup  ## Check requirements.lock for known advisories (needs the network)
	uv tool run pip-audit -r requirements.lock --no-deps --disable-pip
