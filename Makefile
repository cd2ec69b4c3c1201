# The things there are to run. Each makes what it needs.

PYTHON ?= python3
BIN := .venv/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
export PATH := $(CURDIR)/$(BIN):$(PATH)

demo: .venv/installed
	$(BIN)/python examples/demo.py

quick: .venv/developed
	$(BIN)/nox --no-venv -s quick

# The site and the tests on other Pythons run beside those on this one; what they print is shown when they are done.
test: .venv/developed
	+$(MAKE) --jobs=2 check others
	+$(MAKE) measures

check: .venv/developed
	$(BIN)/nox --no-venv -s check

measures: .venv/developed
	$(BIN)/nox --no-venv -s measures

others: .venv/developed
	mkdir -p .nox
	($(BIN)/nox -s docs units && $(BIN)/nox --no-venv -s forced) > .nox/others.log 2>&1; status=$$?; cat .nox/others.log; exit $$status

test-long: .venv/developed
	$(BIN)/python -m pip install -q -e '.[fuzz]'
	$(BIN)/nox --no-venv -s long -- $(if $(PART),--part=$(PART))

# Installs Wine and a compiler, and keeps CPython for Windows in .windows.
test-windows: .venv/developed
	$(BIN)/nox --no-venv -s windows

bench: .venv/developed
	$(BIN)/python -m benchmarks

# The Pythons of docs/benchmarks.md: programs or paths.
PYTHONS ?= python3.11 python3.13

figures: .venv/developed
	.venv/bin/python -m benchmarks $(PYTHONS:%=--python %) --markdown docs/benchmarks.md
	.venv/bin/python -m benchmarks.plot docs/benchmarks.md docs/offload.svg

docs: .venv/developed
	$(BIN)/nox --reuse-existing-virtualenvs -s docs

fuzz: .venv/developed
	$(BIN)/python -m pip install -q -e '.[fuzz]'
	$(BIN)/python -m tests.fuzz ingress
	$(BIN)/python -m tests.fuzz wireguard

# See "A release" in CONTRIBUTING.md.
release-check: .venv/developed
	$(BIN)/python release.py check

release: .venv/developed
	$(BIN)/python release.py make

# An editable install copies the plugin.
.venv/installed: pyproject.toml twisted/plugins/txtuntap_plugin.py
	$(PYTHON) -m venv .venv && $(BIN)/python -m pip install -q -e . && touch $@

.venv/developed: .venv/installed
	$(BIN)/python -m pip install -q -e '.[dev]' && touch $@

.PHONY: docs demo quick test check measures others test-long test-windows bench figures fuzz release-check release
