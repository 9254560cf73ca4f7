# make demo: set up, train the embedded suite, sweep it, analyse it.   make test: set up, run the tests.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest -n auto --dist worksteal --timeout=600

.PHONY: demo test test-all test-simulations test-engines durations bench setup lint types docs pictures lock clean

demo: setup
	@$(BIN)/python -m evalrun tiny
	@$(BIN)/python -m evalrun -m experiment=demo

test: setup
	@$(PYTEST) -m 'not release and not simulation and not engines'

# What must pass before anything lands: also the wheel, the docs' commands, the site, the browser, other launchers,
# servers and kills, and more examples of every property.
test-all: setup
	@$(PYTEST) --hypothesis-profile=thorough -m 'not simulation and not engines'

# What each test costs, kept in tests/durations.json; of some files alone: TESTS='tests/e2e tests/test_api.py'.
durations: setup
	@$(PYTEST) -m 'not simulation and not engines' --junitxml=build/tests.xml $(TESTS)
	@$(BIN)/python tests/durations.py build/tests.xml

# Coverage, false positives and confusion matrices of the statistics, by simulation: minutes.
test-simulations: setup
	@$(PYTEST) -m simulation

# Against real engines: installs Ray, SLURM, PostgreSQL where missing (Debian, as root), starts and stops them itself.
test-engines: setup
	@tests/engines/install.sh $(VENV)
	@$(BIN)/python -m pytest -m engines tests/engines

# How much faster it scores than lm-eval, at the same answers: other models and workloads with ARGS='--models 410m'.
bench: setup
	@$(BIN)/python benchmarks/scoring.py $(ARGS)

# The pictures in docs/images, from a finished `make demo` (and the published study: STUDY=folder). Needs Chromium.
pictures: setup
	@$(BIN)/python tests/browser/pictures.py . $(STUDY)

setup: $(VENV)/.ready

$(VENV)/.ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "evalrun needs Python 3.11 or newer; $(PYTHON) is older: make PYTHON=python3.12 ..."; exit 1; }
	@echo "setting up $(VENV) (some minutes, once)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-compile --requirement requirements.lock
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@$(BIN)/python -m compileall -qq -j 0 $(VENV)/lib src || true # on all cores, where pip uses one; some ship templates
	@touch $@

lint: setup
	@$(BIN)/ruff check src tests benchmarks examples docs
	@$(BIN)/ruff format --check src tests benchmarks examples docs

types: setup
	@$(BIN)/mypy

# The documentation site, in build/site: broken links and anchors fail.
docs: setup
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "docs: build/site/index.html"

# Resolve the newest versions that fit pyproject.toml, and pin them.
lock:
	@rm -rf .lock-venv && $(PYTHON) -m venv .lock-venv
	@.lock-venv/bin/python -m pip install --quiet torch==2.13.0 '.[dev,docs]' hatchling editables
	@.lock-venv/bin/python -m pip freeze --exclude evalrun-checkpoints --exclude pip | sed 's/+cpu$$//' > requirements.lock
	@rm -rf .lock-venv

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache build dist
