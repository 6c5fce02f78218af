# All commands of the project. `make` alone lists them.
# Without uv, or with `make UV= ...`, Python's own venv and pip are used.

SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.rtpd-setup
UV ?= $(shell command -v uv)
NEW_ENOUGH := -c 'import sys; sys.exit(sys.version_info < (3, 12))'
# The first Python that is new enough. A pyenv shim may be there and not work, so each is run.
PYTHON ?= $(shell for p in python3.12 python3.13 python3.14 python3; do \
	$$p $(NEW_ENOUGH) 2>/dev/null && echo $$p && break; done)

.DEFAULT_GOAL := help
.PHONY: help setup demo test check format docs lock clean

help:  ## list the targets
	@sed -n 's/^\([a-z]*\):.*  ## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 14

setup: $(STAMP)  ## create .venv with the pinned packages and rtpd itself (editable)

# Where there is no such Python, uv fetches one (hence `true`); without uv that is the end.
$(STAMP): pyproject.toml constraints.txt
	@$(or $(PYTHON),$(if $(UV),true,false)) $(NEW_ENOUGH) 2>/dev/null || { echo "error: rtpd needs" \
		"Python >= 3.12, found $$($(or $(PYTHON),python3) --version 2>&1 | head -n 1);" \
		"name one with: make PYTHON=/path/to/python3.12" >&2; exit 1; }
ifneq ($(UV),)
	@$(BIN)/python $(NEW_ENOUGH) 2>/dev/null || \
		$(UV) venv --quiet --clear --python $(or $(PYTHON),3.12) $(VENV)
	$(UV) pip install --quiet --python $(BIN)/python --require-hashes -r constraints.txt
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
else
	@$(BIN)/python $(NEW_ENOUGH) 2>/dev/null || $(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(BIN)/python -m ensurepip
	$(BIN)/python -m pip install --quiet --require-hashes -r constraints.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
endif
	@touch $@

demo: setup  ## train a Pong agent and its students with the preset 'demo'
	$(BIN)/rtpd train pong --preset demo --out runs/demo-$$(date +%Y%m%d-%H%M%S)

test: setup  ## run the tests, slow ones last
	$(BIN)/python -m pytest -n auto --dist loadgroup

check: setup  ## check format, lint, types and import floors
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/ty check --python $(VENV)
	$(BIN)/python -m pytest -q tests/test_floors.py

format: setup  ## format the code and mend what the linter can
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

docs: setup  ## build the documentation as site/ (fetches the extra `docs` once)
	@$(BIN)/python -c "import material, mkdocstrings_handlers.python" 2>/dev/null || \
		$(if $(UV),$(UV) pip install --python $(BIN)/python,$(BIN)/python -m pip install) \
		--quiet --no-build-isolation -e '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet --clean
	@! grep -rEl '<(script|link|img)[^>]* (src|href)="?(https?:)?//' --include=*.html site || \
		{ echo "error: these pages fetch something from elsewhere" >&2; exit 1; }
	@echo "wrote site/index.html; with search: $(BIN)/python -m http.server -d site --bind 127.0.0.1"

lock:  ## resolve constraints.txt anew from pyproject.toml (needs uv)
	@test -n "$(UV)" || { echo "error: make lock needs uv" >&2; exit 1; }
	$(UV) pip compile pyproject.toml --extra dev --universal --python-version 3.12 --upgrade \
		--generate-hashes --no-emit-index-url --custom-compile-command "make lock" \
		--quiet --output-file constraints.txt
	@! grep -nE '^torch|://' constraints.txt || { echo "error: torch or an address in constraints.txt" >&2; exit 1; }

clean:  ## remove the environment and caches; keeps runs/
	rm -rf $(VENV) dist build site .pytest_cache .ruff_cache .hypothesis
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
