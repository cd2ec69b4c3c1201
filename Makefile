# The things there are to run. Each makes what it needs.

PYTHON ?= python3
export PATH := $(CURDIR)/.venv/bin:$(PATH)

demo: .venv/installed
	.venv/bin/python examples/demo.py

test: .venv/developed
	.venv/bin/nox --no-venv -s check && .venv/bin/nox -s units

bench: .venv/developed
	.venv/bin/python -m benchmarks

fuzz: .venv/developed
	.venv/bin/python -m pip install -q -e '.[fuzz]' && .venv/bin/python -m tests.fuzz

.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv && .venv/bin/python -m pip install -q -e . && touch $@

.venv/developed: .venv/installed
	.venv/bin/python -m pip install -q -e '.[dev]' && touch $@

.PHONY: demo test bench fuzz
