# demo: set up and run the embedded experiment. setup: the virtual environment alone. report: of what was run. test: set up and test.
# check: lint. fuzz: damaged files. audit: dependencies. bench: speed. faults: inject them. slurm: Debian's SLURM. clean: delete results.
PYTHON ?= python3
VENV ?= .venv
CORES ?= $(shell nproc 2>/dev/null || sysctl -n hw.ncpu)
CONFIG ?=
BIN := $(VENV)/bin
# A stamp named by the requirements' hash: a second run installs nothing, a changed requirement always does.
hash = $(shell cat $(1) | $(PYTHON) -c "import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest()[:16])")
STAMP := $(VENV)/.requirements-$(call hash,requirements.txt)
STAMP_DEV := $(VENV)/.requirements-dev-$(call hash,requirements.txt requirements-dev.txt)
SNAKEMAKE := PATH="$(abspath $(BIN)):$$PATH" $(BIN)/snakemake --cores $(CORES) $(if $(CONFIG),--configfile $(CONFIG))

.PHONY: help setup demo report test check fuzz audit bench faults slurm clean
help:
	@grep -E '^# [a-z]+:' Makefile | sed 's/^# //'

setup: $(STAMP)

$(STAMP): requirements.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	rm -f $(VENV)/.requirements-[0-9a-f]*
	touch $@

$(STAMP_DEV): requirements-dev.txt $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	rm -f $(VENV)/.requirements-dev-*
	touch $@

demo: $(STAMP)
	$(SNAKEMAKE)
	@$(MAKE) --no-print-directory report

# rebuilt only when a figure, a table or a caption is newer
report: results/report.html
results/report.html: $(wildcard results/figures/*/*.png results/figures/*/*/*.png results/figures/*/*/*/*.png results/tables/*.csv results/methods.html workflow/report/*)
	$(SNAKEMAKE) --report $@ --report-stylesheet workflow/report/style.css

test: $(STAMP_DEV)
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python -m pytest -n 2 --dist loadfile $(PYTEST_ARGS)

check: $(STAMP_DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile rules
	$(SNAKEMAKE) --lint
	$(BIN)/codespell

# what it finds is kept in .hypothesis/ and tried first the next time
fuzz: $(STAMP_DEV)
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python -m pytest -n 2 --hypothesis-profile=long $(PYTEST_ARGS) tests/unit/test_fuzz_*.py

audit: $(STAMP_DEV)
	$(BIN)/python .ci/audit.py $(AUDIT_ARGS)

bench: $(STAMP_DEV)
	PYTHONPATH=. $(BIN)/python benchmarks/probes.py
	PYTHONPATH=. $(BIN)/python benchmarks/extraction.py
	PYTHONPATH=. $(BIN)/python benchmarks/planning.py
	PYTHONPATH=. $(BIN)/python benchmarks/downloading.py
	PYTHONPATH=. $(BIN)/python benchmarks/figures.py
	PYTHONPATH=. $(BIN)/python benchmarks/dag.py

faults: $(STAMP_DEV)
	PATH="$(abspath $(BIN)):$$PATH" PYTHONPATH=. $(BIN)/python -m tests.faults.campaign results/faults --table docs/faults.md

# for the tests on a cluster, as root; the tests start it and end it
slurm:
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends slurm-wlm munge

clean:
	rm -rf results .snakemake
