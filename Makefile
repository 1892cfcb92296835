# Needs Python 3.11 or newer, a C++ compiler, make, and PyPI; everything else goes into .venv.

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check

.PHONY: demo test lint formal mutate fuzz synth clean

demo: .venv/runtime
	$(BIN)/penstock demo --output build/demo

test: .venv/test lint
	$(BIN)/pytest -n 2 --dist worksteal --durations 10

lint: .venv/test
	$(BIN)/ruff check
	$(BIN)/ruff format --check

formal: .venv/test
	$(BIN)/python -m penstock.sim.formal --markdown docs/formal.md

# Hours: every planted fault against the tests that should catch it.
mutate: .venv/test
	$(BIN)/python tests/mutate.py --markdown docs/mutation.md

# Seconds of fuzzing, and the seed of its first round.
TIME ?= 600
SEED ?= 0

fuzz: .venv/test
	$(BIN)/python tests/fuzz.py --time $(TIME) --seed $(SEED) --jobs 2 --json docs/fuzzing.json
	$(BIN)/python tests/fuzz.py --table docs/fuzzing.md --json docs/fuzzing.json

# Hours: every board's bitstream, of the best of some seeds, and the digits on the simulated board.
# A missed clock fails at the end.
SEEDS ?= 4
BOARDS ?= ulx3s-85f ulx3s-25f icebreaker tang-nano-9k

synth: .venv/test
	mkdir -p build/boards
	code=0; for board in $(BOARDS); do \
	  run=build/boards/$$board; \
	  $(BIN)/python -m penstock.sim.board_run --board $$board --json $$run.json && \
	  $(BIN)/penstock synth --board $$board --seeds $(SEEDS) --run $$run.json \
	    --json docs/boards.json || code=1; \
	done; $(BIN)/python -m penstock.documentation; exit $$code

clean:
	rm -rf build

# Stamps: what is installed is as new as pyproject.toml.
.venv/runtime: pyproject.toml | $(BIN)/python
	$(PIP) -e .
	touch $@

.venv/test: pyproject.toml | $(BIN)/python
	$(PIP) -e '.[test,train]'
	touch $@ .venv/runtime

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
