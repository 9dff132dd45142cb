# Two commands do everything, set-up included:
#   make demo    the core install (no torch), then queries in many languages over fifty photos
#   make test    the full install, then style, types and tests
#
# And one for many and hostile clients, the worst inputs and kill -9, which take their time:
#   make test-stress
#
# And one for what takes more than this project's own packages:
#   make test-real    real clients of the server, each installed into an environment of its own (.clients), the page
#                     in Chromium and behind nginx, which must be there (apt-get install chromium nginx-light), and what
#                     is fetched for babelclip-base
#
# And one that needs a network (an index for Python packages): babelclip-base, put together in the user's cache
#   make base
#
# And one for another version of Python, in an environment of its own (.venv-python): its unit tests
#   make test-python PYTHON=python3.13
#
# Variables:
#   PYTHON           interpreter that makes the environments (3.11 or newer)
#   PIP_TORCH_ARGS   what pip installs as torch, for instance another build of it
#   PYTEST_ARGS      more arguments for pytest
#   WORKERS          test processes

PYTHON ?= python3
PIP_TORCH_ARGS ?= torch==2.13.0
PYTEST_ARGS ?=
WORKERS ?= 2

CORE := .venv-core
DEV := .venv
ANOTHER := .venv-python/$(notdir $(PYTHON))
LEFT_OUT := not network and not weights and not gpu and not clients and not browser and not proxy and not stress
SETTINGS := pyproject.toml constraints.txt

.PHONY: demo base test test-stress test-real test-python core dev style types tests docs clean

demo: core
	$(CORE)/bin/babelclip demo --html demo.html

base: core
	$(CORE)/bin/babelclip model pull base

test: style types tests

core: $(CORE)/installed
dev: $(DEV)/installed

# Build backends come from the constraints too, hence --no-build-isolation.
$(CORE)/installed: $(SETTINGS)
	$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "babelclip needs Python 3.11 or newer; choose one with: make PYTHON=python3.12 ...")'
	test -x $(CORE)/bin/python || $(PYTHON) -m venv $(CORE)
	$(CORE)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt hatchling
	$(CORE)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-build-isolation -e .
	touch $@

$(DEV)/installed: $(SETTINGS)
	$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "babelclip needs Python 3.11 or newer; choose one with: make PYTHON=python3.12 ...")'
	test -x $(DEV)/bin/python || $(PYTHON) -m venv $(DEV)
	$(DEV)/bin/python -m pip install --quiet --disable-pip-version-check $(PIP_TORCH_ARGS)
	$(DEV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt hatchling
	$(DEV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-build-isolation -e '.[test]'
	touch $@

style: dev
	$(DEV)/bin/ruff check .
	$(DEV)/bin/ruff format --check .

types: dev
	$(DEV)/bin/mypy

# The wheel journey installs into an environment of the core's packages alone: .venv-core lends it those.
tests: dev core
	OMP_NUM_THREADS=1 $(DEV)/bin/pytest -n $(WORKERS) --dist worksteal -m '$(LEFT_OUT)' $(PYTEST_ARGS)

test-stress: dev
	OMP_NUM_THREADS=1 $(DEV)/bin/pytest -n $(WORKERS) --dist worksteal -m stress $(PYTEST_ARGS)

test-real: dev
	$(DEV)/bin/pytest -m 'clients or browser or proxy or network' tests/clients tests/web $(PYTEST_ARGS)

test-python: $(ANOTHER)/installed
	OMP_NUM_THREADS=1 $(ANOTHER)/bin/python -m pytest -n $(WORKERS) --dist worksteal -m '$(LEFT_OUT) and not slow' $(PYTEST_ARGS) \
		tests/unit tests/parity tests/contracts

$(ANOTHER)/installed: $(SETTINGS)
	$(PYTHON) -m venv $(ANOTHER)
	$(ANOTHER)/bin/python -m pip install --quiet --disable-pip-version-check $(PIP_TORCH_ARGS)
	$(ANOTHER)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt hatchling
	$(ANOTHER)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-build-isolation -e '.[test]'
	touch $@

# Regenerates what tests/house checks to be current.
docs: dev
	$(DEV)/bin/python tools/render_reference.py
	$(DEV)/bin/python tools/render_python_reference.py
	$(DEV)/bin/python tools/render_recipe_keys.py
	$(DEV)/bin/python tools/render_tables.py

clean:
	rm -rf $(CORE) $(DEV) .venv-python .clients dist build demo.html .mypy_cache .ruff_cache .pytest_cache .hypothesis
