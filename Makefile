# The three things there are to run. Each makes what it needs.

PYTHON ?= python3

demo: .venv
	.venv/bin/python examples/demo.py

test: .venv
	.venv/bin/nox --no-venv -s check && .venv/bin/nox -s units

bench: .venv
	.venv/bin/python -m benchmarks

.venv: pyproject.toml
	$(PYTHON) -m venv .venv && .venv/bin/python -m pip install -q -e '.[dev]' && touch .venv

.PHONY: demo test bench
