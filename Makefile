# make help     what there is to run
# make lab      JupyterLab on the first notebook
# make check    the quick part of what is checked, in under a minute
# make test     everything that is checked before a change is kept
#
# The environment is made in .venv by the first command that needs it, and is brought up to date only when
# pyproject.toml or constraints.txt change. Another interpreter: make lab PYTHON=/path/to/python3.12

VENV ?= .venv
PYTHON ?=
LAB_ARGS ?=
STEPS ?=
ONLY ?= solutions/*.ipynb
SEEDS ?= 0 1 2 3 4
ONLY_CHAPTERS ?=

BIN := $(VENV)/bin
RUN := $(BIN)/python
INSTALL := $(RUN) -m pip install --disable-pip-version-check -c constraints.txt

# Nothing but pip opens a connection, unless the learner asked for it with COURSE_ONLINE=1.
ifneq ($(COURSE_ONLINE),1)
export HF_HUB_OFFLINE := 1
export HF_DATASETS_OFFLINE := 1
endif
export HF_HUB_DISABLE_TELEMETRY := 1
export DO_NOT_TRACK := 1
export PATH := $(if $(filter /%,$(BIN)),$(BIN),$(CURDIR)/$(BIN)):$(PATH)

.DEFAULT_GOAL := help
.PHONY: help lab course check test again browser lint format coverage notebooks solutions seeds book bake lock hooks clean

help:
	@echo "make lab         open JupyterLab on the first notebook"
	@echo "make check       lint, generated files, quick tests: under a minute"
	@echo "make test        run every check; make test STEPS='lint unit' runs some of them"
	@echo "make again       the learners' notebooks once more, by a second runner (pytest-notebook)"
	@echo "make browser     every chapter in JupyterLab in a real browser (Chromium): half an hour or more"
	@echo "make lint        ruff (code and notebooks) and the import contracts"
	@echo "make format      let ruff mend what it can"
	@echo "make notebooks   write notebooks/ anew from solutions/"
	@echo "make solutions   execute the author's notebooks in place; ONLY=solutions/03_pretraining.ipynb for one"
	@echo "make seeds       run them for five seeds, and record every claim; SEEDS='3 4' ONLY_CHAPTERS='06 12' for some"
	@echo "make coverage    which lines of the package the tests run"
	@echo "make lock        write uv.lock anew from constraints.txt"
	@echo "make course      run all chapters without a browser, ending in one page of claims and pictures"
	@echo "make book        a static site and an EPUB of the executed solutions, in build/book/"
	@echo "make bake        train the shipped checkpoints again"
	@echo "make hooks       check each commit before it is made"
	@echo "make clean       remove the environment and all caches"

lab: $(VENV)/.installed-lab
	$(BIN)/jupyter lab --config jupyter/jupyter_lab_config.py $(if $(filter 0,$(shell id -u)),--allow-root) \
		$(LAB_ARGS) notebooks/00_start_here.ipynb

test: $(VENV)/.installed-dev
	$(RUN) tests/suite.py $(STEPS)

check: $(VENV)/.installed-dev
	$(RUN) tests/suite.py quick

# Chromium is installed where it is missing and may be installed; without it the tests are skipped and say so.
browser: $(VENV)/.installed-dev
	@command -v chromium >/dev/null || command -v google-chrome >/dev/null || [ "$$(id -u)" != 0 ] \
		|| ! command -v apt-get >/dev/null || apt-get install -y --no-install-recommends chromium
	$(RUN) -m pytest -p no:nbval --browser -m browser tests

lint: $(VENV)/.installed-dev
	$(RUN) tests/suite.py lint

again: $(VENV)/.installed-dev
	$(RUN) tests/suite.py again

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

coverage: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 $(RUN) -m coverage run -m pytest -q tests
	$(RUN) -m coverage report

seeds: $(VENV)/.installed-dev
	$(RUN) tests/seeds.py --seeds $(SEEDS) -- $(ONLY_CHAPTERS)

book: $(VENV)/.installed-dev
	$(RUN) -m course_utils.workshop.book

# The pins of constraints.txt, and what other systems need besides. uv is no part of the environment.
lock:
	uv lock $(addprefix -P ,$(shell cat constraints.txt))

notebooks: $(VENV)/.installed-dev
	$(RUN) -m course_utils.workshop.notebooks

solutions: $(VENV)/.installed-dev
	@for notebook in $(ONLY); do \
		home=$$(mktemp -d) && COURSE_HOME="$$home" $(BIN)/jupyter nbconvert --to notebook --execute --inplace \
			--ExecutePreprocessor.record_timing=False --ExecutePreprocessor.store_widget_state=False \
			--ExecutePreprocessor.timeout=600 "$$notebook" || exit 1; \
		rm -rf "$$home"; \
	done

course: $(VENV)/.installed-lab
	$(BIN)/course run

bake: $(VENV)/.installed-lab
	$(RUN) -m course_utils.recipes

hooks: $(VENV)/.installed-dev
	$(BIN)/pre-commit install

clean:
	rm -rf $(VENV) build *.egg-info .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache

# The learner's environment, and the one that has the tools for testing and authoring as well.
$(VENV)/.installed-lab: $(RUN) pyproject.toml constraints.txt
	$(INSTALL) -e ".[chapters]"
	@touch $@

$(VENV)/.installed-dev: $(RUN) pyproject.toml constraints.txt
	$(INSTALL) -e ".[dev]"
	@$(RUN) tests/browser.py
	@touch $@ $(VENV)/.installed-lab

# The first Python from 3.11 on that can make an environment; 3.11 to 3.13 are the ones that are tested.
$(RUN):
	@for python in $(or $(PYTHON),python3.11 python3.12 python3.13 python3.14 python3 python); do \
		"$$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
		echo "making $(VENV) with $$("$$python" --version)"; \
		exec "$$python" -m venv --clear "$(VENV)"; \
	done; \
	echo "No Python 3.11 or later with the venv module was found$(if $(PYTHON), as PYTHON=$(PYTHON))." >&2; \
	echo "Install one (on Debian or Ubuntu: python3 and python3-venv), or name it: make lab PYTHON=/path/to/python3" >&2; \
	exit 1
