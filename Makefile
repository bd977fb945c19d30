# What a person or a machine runs. Each target first makes the environment it needs, in .venv.
#
# The checkout may lie in a path with spaces: targets and recipes name relative paths only, and
# what must be absolute is quoted. Nothing is written outside the checkout but pip's own cache.

# The Python that the environment is made with: make test PYTHON=python3.12
PYTHON ?= python3
# More arguments for the command that a target runs: make test ARGS='-k soap'
ARGS ?=
# Where the larger public data sets lie, for the benchmarks.
DATA ?= ../shared/data

VENV_PYTHON := .venv/bin/python
# pytest does not make the folder that its temporary ones go into.
# One thread a process for BLAS: two processes with two each wait for one another.
TESTS = mkdir -p .cache/pytest && OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 $(RUN) $(VENV_PYTHON) -m pytest

# Caches and droppings of the libraries, kept within the checkout. XDG_CACHE_HOME is set for our
# own commands only, since it would move pip's cache as well.
CACHE := $(CURDIR)/.cache
RUN = XDG_CACHE_HOME="$(CACHE)"
export JAX_COMPILATION_CACHE_DIR := $(CACHE)/jax
export JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS := 0.05
export MPLCONFIGDIR := $(CACHE)/matplotlib
export MPLBACKEND ?= Agg
export NUMBA_CACHE_DIR := $(CACHE)/numba
export IPYTHONDIR := $(CACHE)/ipython
export JUPYTER_CONFIG_DIR := $(CACHE)/jupyter/config
export JUPYTER_DATA_DIR := $(CACHE)/jupyter/data
export JUPYTER_RUNTIME_DIR := $(CACHE)/jupyter/runtime
export PYTEST_DEBUG_TEMPROOT := $(CACHE)/pytest
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help demo test test-slow test-gpu lint bench benchmarks notebooks clean
.DELETE_ON_ERROR:

help:
	@echo 'make demo        fit, test and plot on the embedded data, in about a minute'
	@echo 'make test        lint, import floors, and the tests; what CI runs'
	@echo 'make test-slow   the tests that take minutes'
	@echo 'make test-gpu    the tests that need an accelerator'
	@echo 'make lint        ruff, pyright, import floors'
	@echo 'make bench       ratios to quippy, DScribe and featomic, in turn on one core'
	@echo 'make benchmarks  all benchmarks; DATA=FOLDER names the larger data sets'
	@echo 'make notebooks   run the notebooks; pages in build/notebooks'
	@echo 'make clean       remove the environment, caches and built files'

demo: .venv/installed
	$(RUN) .venv/bin/gpjaxpot demo $(ARGS)

test: lint
	$(TESTS) -n 2 --dist loadfile --no-loadscope-reorder -m 'not slow and not gpu' $(ARGS)

# One process: what is slow measures time and memory.
test-slow: .venv/installed
	$(TESTS) -m 'slow and not gpu' $(ARGS)

test-gpu: .venv/installed-cuda13
	$(TESTS) -m gpu $(ARGS)

lint: .venv/installed
	$(RUN) $(VENV_PYTHON) -m ruff check .
	$(RUN) $(VENV_PYTHON) -m pyright --pythonpath $(VENV_PYTHON)
	$(RUN) .venv/bin/lint-imports --cache-dir .cache/import-linter

benchmarks: .venv/installed-benchmarks
	$(RUN) $(VENV_PYTHON) -m benchmarks --data '$(DATA)' $(ARGS)

# Ratios against other programs, in turn on one core.
bench: ARGS = predict descriptor
bench: benchmarks

notebooks: .venv/installed-notebooks
	mkdir -p build/notebooks
	$(RUN) $(VENV_PYTHON) -m nbconvert --execute --to html \
		--output-dir build/notebooks $(ARGS) notebooks/*.ipynb

clean:
	rm -rf .venv .cache build dist .pytest_cache .ruff_cache .import_linter_cache
	find gpjaxpot tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

# The environment, made again where pyproject.toml has changed. Python files are found in the
# checkout itself (--editable), so a change to them needs no installation.
.venv/installed: pyproject.toml
	@"$(PYTHON)" -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else \
		"gpjaxpot needs Python 3.11 or newer, this is " + sys.version.split()[0] + \
		": name another one, as in  make $(MAKECMDGOALS) PYTHON=python3.12")'
	"$(PYTHON)" -m venv .venv
	$(VENV_PYTHON) -m pip install --quiet --editable '.[test,plot]'
	@touch .venv/installed

# A further extra on top: .venv/installed-benchmarks, .venv/installed-notebooks, ...
.venv/installed-%: .venv/installed
	$(VENV_PYTHON) -m pip install --quiet --editable '.[$*]'
	@touch '$@'
