# Every target sets up what it needs: Python >= 3.11 and make are enough on a fresh machine.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.PHONY: help demo test check docs bench bench-full bench-peers microbench soak coverage plots clean
help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

$(STAMP): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("rudp needs Python 3.11 or newer; set PYTHON=...") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,docs]'
	@touch $@

demo: $(STAMP)  ## a chat and a 20 MB file over a bad link, separate processes
	$(BIN)/python -m rudp demo

test: $(STAMP)  ## the test suite (virtual time, and real processes on loopback)
	$(BIN)/python -m pytest -q -n 2 -m 'not soak'

check: $(STAMP)  ## format, lint, strict types, import directions, tests with branch coverage
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(MAKE) coverage

# The contract suite, the seeds and the process tests run in `make test`; here is what the
# branches of the rooms are measured by.
COVERED := tests/core tests/wire tests/buffers tests/recovery tests/congestion tests/telemetry \
           tests/sim tests/aio tests/plot tests/test_config.py tests/test_errors.py tests/test_paths.py

coverage: $(STAMP)  ## tests under coverage; the core rooms must keep 95 % of their branches
	rm -f .coverage .coverage.*
	$(BIN)/coverage run -m pytest -q -n 2 -m 'not soak and not processes' $(COVERED)
	$(BIN)/coverage combine -q
	$(BIN)/coverage report --fail-under=95 --include='rudp/core/*,rudp/wire/*,rudp/buffers/*,rudp/recovery/*,rudp/congestion/*,rudp/config.py,rudp/errors.py'
	$(BIN)/coverage report --include='rudp/aio/*,rudp/sim/*,rudp/telemetry/*'

docs: $(STAMP)  ## the documentation site, in site/; a broken link or name is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

bench: $(STAMP)  ## rudp beside kernel TCP, in under three minutes: loopback, links (these as root)
	$(BIN)/python -m benchmarks loopback
	$(BIN)/python -m benchmarks links

bench-full: $(STAMP) bench-peers  ## every transport, test, link and loop, repeated; about an hour
	$(BIN)/python -m benchmarks loopback --full
	$(BIN)/python -m benchmarks links --full

# Each by itself, and none has to: what does not install is skipped, and the benchmarks say so.
bench-peers: $(STAMP)  ## aioquic and pyenet to compare with (kcptun comes from the system's packages)
	-$(BIN)/python -m pip install --quiet --disable-pip-version-check aioquic trustme
	-$(BIN)/python -m pip install --quiet --disable-pip-version-check pyenet

microbench: $(STAMP)  ## single operations of the core, by pytest-benchmark
	$(BIN)/python -m pytest benchmarks/micro -q --benchmark-columns=median,iqr,min,rounds $(MICROBENCH)

soak: $(STAMP)  ## all 2,000 seeds, 1 GB with SHA-256, 1,000 connections
	$(BIN)/python -m pytest -q -n 2 -m soak

# The links of the benchmarks, at a fifth of their rate: the periods of the controllers, which grow
# with it, fit into the time drawn. Simulated: every machine draws the same.
PLOTTED := --rate-mbit 20 --rtt-ms 40 --queue-kb 100 --seconds 16 --interval-ms 20 --seed 1

plots: $(STAMP)  ## the plots of docs/congestion.md: each controller, on a clean link and with 1 % loss
	mkdir -p docs/plots
	set -e; for name in $$($(BIN)/python -c 'from rudp.congestion import CONTROLLERS; print(*CONTROLLERS)'); do \
	  $(BIN)/python -m rudp.plot simulate --congestion $$name $(PLOTTED) -o docs/plots/$$name-clean.svg; \
	  $(BIN)/python -m rudp.plot simulate --congestion $$name $(PLOTTED) --loss 0.01 -o docs/plots/$$name-loss1.svg; \
	done

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage .coverage.* .import_linter_cache dist site
