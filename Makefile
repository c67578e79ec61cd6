# make setup | test | test-faults | test-slurm | demo | lint | docs | dist. Each does its own set-up: a virtual environment in
# .venv, with pinned versions.

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
CORES ?= 2
SLURM_TESTS ?= 8
PYTEST_SLURM = $(BIN)/python -m pytest $(PYTEST_ARGS) --durations=0 --durations-min=1 tests/slurm
DEMO ?= demo
PYTEST_ARGS ?=
BENCH_ARGS ?=
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: setup test test-triton test-slurm test-faults test-bids test-containers demo lint format hooks docs dist bench bench-memory bench-truth bench-open bench-lesions bench-soft bench-noise bench-visits bench-template bench-growth bench-gpu bench-plan bench-identity bench-peers bench-statistics
.DELETE_ON_ERROR:

# Also lets "snakemake --profile slurm" find the project's profile; what is in its place already stays.
setup: $(VENV)/.installed
	@$(BIN)/longimorph profiles || true

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "longimorph needs Python 3.11 or newer; say which with: make PYTHON=/path/to/python3" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP_INSTALL) -e '.[demo,queues,slurm,stats,test]'
	@touch $@

$(VENV)/.installed-lint: $(VENV)/.installed
	$(PIP_INSTALL) -e '.[lint]'
	@touch $@

$(VENV)/.installed-triton: $(VENV)/.installed
	$(PIP_INSTALL) -e '.[triton]'
	@touch $@

$(VENV)/.installed-bids: $(VENV)/.installed
	$(PIP_INSTALL) -e '.[bids]'
	@touch $@

$(VENV)/.installed-docs: $(VENV)/.installed
	$(PIP_INSTALL) -e '.[docs]'
	@touch $@

$(VENV)/.installed-release: $(VENV)/.installed
	$(PIP_INSTALL) -e '.[release]'
	@touch $@

# One numerical thread per worker; the tests of one file share a worker, since they share what is slow to make.
test: $(VENV)/.installed
	OMP_NUM_THREADS=1 PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest -n $(CORES) --dist loadfile $(PYTEST_ARGS)

# The kernels for a GPU, by Triton's interpreter and compiler: no GPU is needed, 200 MB are downloaded.
test-triton: $(VENV)/.installed-triton
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(PYTEST_ARGS) tests/property/test_triton.py

# The exported BIDS data set as its validator and nitransforms read it: 65 MB are downloaded.
test-bids: $(VENV)/.installed-bids
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(PYTEST_ARGS) tests/unit/test_bids_export.py tests/unit/test_bids_transforms.py

# A SLURM cluster is started on this machine for it, where that can be done: root, Debian or Ubuntu.
test-slurm: $(VENV)/.installed
	OMP_NUM_THREADS=1 PATH="$(CURDIR)/$(BIN):$$PATH" tests/slurm/cluster.sh run sh -c \
	  'status=0; $(PYTEST_SLURM) -n $(SLURM_TESTS) -m "not alone" || status=$$?; $(PYTEST_SLURM) -m alone && exit $$status'

# Kills, full disks and two runs at once, installations, and the tutorial where its data are; some minutes. Those that mount a
# disk need root, that of the containers mmdebstrap too; they skip themselves without.
test-faults: $(VENV)/.installed
	LONGIMORPH_TEST_FAULTS=1 OMP_NUM_THREADS=1 PATH="$(CURDIR)/$(BIN):$$PATH" \
	  $(BIN)/python -m pytest -n $(CORES) -m long $(PYTEST_ARGS) tests/faults tests/install \
	  tests/workflow/test_tutorial.py tests/workflow/test_queues.py

# Minutes, root, mmdebstrap and a mirror of Debian: the steps of the containers' recipes in a bare Debian.
test-containers: $(VENV)/.installed
	LONGIMORPH_TEST_FAULTS=1 LONGIMORPH_TEST_CONTAINERS=1 OMP_NUM_THREADS=1 PATH="$(CURDIR)/$(BIN):$$PATH" \
	  $(BIN)/python -m pytest -m long $(PYTEST_ARGS) tests/install/test_containers.py

demo: $(VENV)/.installed
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/longimorph demo $(DEMO) --cores $(CORES)

# More than an hour on two cores; finished runs are kept, so it can be stopped and started. BENCH_ARGS=--quick for a look in
# minutes, --thorough for every run on every anatomy.
bench-truth: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.truth --jobs $(CORES) $(BENCH_ARGS)

# More than an hour on two cores; finished runs are kept. BENCH_ARGS="--spacing 2" measures on a fine grid (hours).
bench-open: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.open_question --jobs $(CORES) $(BENCH_ARGS)

# Half an hour: phantoms with known events, and a patient from the public data beside the repository.
bench-lesions: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.lesions $(BENCH_ARGS)

# A quarter of an hour: noisy phantoms, with posteriors and with labels of the same simulated segmenter.
bench-soft: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.soft $(BENCH_ARGS)

# Half an hour: noisy phantoms with and without change; the noise floor and the 90 % intervals.
bench-noise: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.noise $(BENCH_ARGS)

# Slopes over five visits with noisy labels, from all pairs and from consecutive ones.
bench-visits: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.visits $(BENCH_ARGS)

# Some minutes, and the public data beside the repository: regions of five adults, each registered to the first.
bench-template: $(VENV)/.installed
	$(BIN)/python -m benchmarks.template $(BENCH_ARGS)

# Two real glioblastomas from the public data beside the repository; some minutes.
bench-growth: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.growth $(BENCH_ARGS)

# A quarter of an hour; after a change of what the numerics keep, first: longimorph memory fit
bench-memory: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.memory $(BENCH_ARGS)

# Less than ten minutes on a CUDA device; without one it says so and writes nothing. Needs no set-up: where there is no
# $(VENV), a Python that has torch, numpy, scipy and pytest is enough. BENCH_OUT=FOLDER: the report also goes there.
bench-gpu:
	@for python in $(BIN)/python python3 python ""; do \
	  $$python -c 'import importlib.util as u, sys; sys.exit(u.find_spec("torch") is None)' 2>/dev/null && break; done; \
	test -n "$$python" || { echo "No Python with torch was found: run make setup first" >&2; exit 1; }; \
	PYTHONPATH="$(CURDIR)/src$${PYTHONPATH:+:$$PYTHONPATH}" exec $$python -m benchmarks.gpu $(BENCH_ARGS)

lint: $(VENV)/.installed-lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/snakemake --lint --snakefile Snakefile
	$(BIN)/codespell *.md .github docs src tests benchmarks workflow config profiles

# Rewrites files into the form that lint asks for.
format: $(VENV)/.installed-lint
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/snakefmt Snakefile workflow

# From now on each commit is checked by what is quick of lint (.pre-commit-config.yaml).
hooks: $(VENV)/.installed-lint
	$(BIN)/pre-commit install

# The documentation site in build/site; a link that leads nowhere is an error.
docs: $(VENV)/.installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo "build/site/index.html"

# The package as it goes to the Python Package Index, in build/dist; docs/releasing.md says how to release.
dist: $(VENV)/.installed-release
	rm -rf build/dist
	$(BIN)/python -m build --outdir build/dist

# Each program that longimorph is compared with gets an environment of its own under .bench.
bench: $(VENV)/.installed
	$(BIN)/python -m benchmarks.speed $(BENCH_ARGS)

# Some minutes; how long 1,000 patients take until the first job could start.
bench-plan: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.plan $(BENCH_ARGS)

# A quarter of an hour on two cores: aligns some forty pairs of real scans, which are kept for the next time.
bench-identity: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.identity --jobs $(CORES) $(BENCH_ARGS)

bench-peers: $(VENV)/.installed
	$(BIN)/python -m benchmarks.peers $(BENCH_ARGS)

# Hours on two cores for the default of 5000 simulated cohorts; finished ones are kept. BENCH_ARGS="--cohorts 500" for a look.
bench-statistics: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.mixed_models --jobs $(CORES) $(BENCH_ARGS)
