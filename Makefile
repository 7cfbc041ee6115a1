# Two commands for a fresh machine: `make demo` shows what gendef does, `make test` runs the whole test suite.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test lint docs clean

$(VENV)/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[train,eval,fit,app,style,vfx,diffusion,docs,dev]'
	touch $@

demo: $(VENV)/.installed
	$(BIN)/python scripts/demo.py --out demo

test: $(VENV)/.installed lint
	$(BIN)/python -m pytest --cov=gendef --cov-report=term:skip-covered

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/.installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

clean:
	rm -rf $(VENV) demo site
