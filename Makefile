# Everything that a fresh clone needs. No root, no Docker: a Linux machine with Python 3.11 or newer.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEVICE ?=

.PHONY: demo test test-device bench-figures lint format docs clean

$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("boardbench needs Python 3.11 or newer; this is " + sys.version.split()[0] + ": make PYTHON=python3.11" if sys.version_info < (3, 11) else 0)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: $(VENV)/.ready
	$(BIN)/bench sweep --profile x86-emulated

test: $(VENV)/.ready
	$(BIN)/python -m pytest

test-device: $(VENV)/.ready
	@test -n "$(DEVICE)" || { echo "say which: make test-device DEVICE=pi4 (see: bench devices list)"; exit 2; }
	DEVICE=$(DEVICE) $(BIN)/python -m pytest tests/test_device_end_to_end.py

# Figures that are promised; run it after `make demo`, on a machine that does nothing else.
bench-figures: $(VENV)/.ready
	@missed=0; for name in speedup commands ledger deciding report deploying fleet fidelity overhead startup energy coverage honesty repeatability; do \
		$(BIN)/python benchmarks/$$name.py || missed=1; \
	done; exit $$missed

lint: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The site below build/site; the reference of profiles is made of the specs. Nothing is asked of the network.
docs: $(VENV)/.ready
	$(BIN)/bench profiles schema --format markdown > docs/profile-reference.md
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

clean:
	-test ! -x $(BIN)/bench || $(BIN)/bench devices emulate x86-emulated down
	rm -rf $(VENV) .boardbench .mypy_cache .ruff_cache .pytest_cache
