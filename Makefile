# One environment serves every target: .venv, made on first use from pyproject.toml and
# constraints.txt. Needs python3 (3.11 or newer) and make, nothing else.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PIP := $(BIN)/python -m pip --disable-pip-version-check -qq
CONSTRAINTS ?= constraints.txt
DIST ?= dist
ARGS ?=
QUICK ?=
LAUNCHER ?=
FIGURES := fig1 fig2 fig3 fig4 fig5 fig6 fig7 fig8 fig9 fig10 fig11 ising double_well muller_brown

.DEFAULT_GOAL := help
.PHONY: help run smoke test test-all test-oldest faults lint format type docs bench figures $(FIGURES) build clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z0-9_-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "  ARGS='...' is handed on, for example: make run ARGS='target.rho=0.01'"

run: $(STAMP) ## Favour fours: tune the MNIST GAN that ships with the package
	$(BIN)/btgm run model=gan_mnist criterion=log_class4 $(ARGS)

smoke: $(STAMP) ## See in seconds whether anything works: imports, a tiny run, its report
	$(BIN)/python -m pytest -q -n 0 tests/test_smoke.py tests/test_architecture.py

test: $(STAMP) ## Run the default tests
	$(BIN)/python -m pytest -n auto --dist loadscope $(ARGS)

test-all: $(STAMP) ## Run every test, the slow statistical ones too
	$(BIN)/python -m pytest -n auto --dist loadscope -m '' $(ARGS)

faults: $(STAMP) ## Run every test of faults from outside: real processes, damage, odd names (minutes)
	$(BIN)/python -m pytest -n auto --dist worksteal -m '' tests/test_run_processes.py \
		tests/test_run_directory.py tests/test_streams.py tests/test_own_code.py tests/test_options.py \
		tests/test_damage.py tests/test_disk.py tests/test_kills.py tests/test_sample_parts.py \
		tests/test_overwriting.py tests/test_wrong_calls.py tests/test_own_folder.py

test-oldest: ## Run the default tests on the oldest versions that pyproject.toml allows
	$(MAKE) test VENV=.venv-oldest CONSTRAINTS=constraints-oldest.txt

lint: $(STAMP) ## Check style and formatting with ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(STAMP) ## Mend style and formatting with ruff
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

type: $(STAMP) ## Check types with mypy
	$(BIN)/mypy

docs: $(STAMP) ## Build the documentation site into build/docs/; a broken link fails
	$(BIN)/sphinx-build -q -E -W --keep-going -c docs -d build/doctrees -b html . build/docs
	@echo "open build/docs/index.html"

bench: $(STAMP) ## Steps, rivals and standard targets (an hour or more; ARGS='parts=steps')
	$(BIN)/python -m experiments.bench $(ARGS)

fig1: ## Fig. 1: how steep log h and h are, class by class (2 minutes; QUICK=1: seconds)
fig2: ## Fig. 2: weeks of load with high peaks, and with high Wednesdays (10 minutes)
fig3: ## Fig. 3: tuning by h(4 | x), the paper's way and the default
fig4: ## Fig. 4: the same by log h(4 | x)
fig5: ## Fig. 5: towards fours, front and samples
fig6: ## Fig. 6: towards white pixels
fig7: ## Fig. 7: towards black pixels
fig8: ## Fig. 8: the top 1e-4 of Wednesdays
fig9: ## Fig. 9: uneven and flat weeks
fig10: ## Fig. 10: a VAE refined by its discriminator (14 minutes)
fig11: ## Fig. 11: how steep that discriminator is in z
double_well: ## The lecture's double well: draws, latents, energies (1 minute of processor time)
muller_brown: ## The lecture's Müller–Brown surface, likewise
ising: ## The Ising model on a 4 x 4 torus across its critical point (10 minutes of processor time)
figures: $(STAMP) ## All of these as one sweep, and outputs/figures/index.html; again to go on (2 hours; QUICK=1: minutes)
	$(BIN)/btgm figure all $(if $(filter 1,$(QUICK)),quick=true) $(LAUNCHER) $(ARGS)

$(FIGURES): $(STAMP)
	$(BIN)/btgm figure $@ $(if $(filter 1,$(QUICK)),quick=true) $(LAUNCHER)

# Those of several runs make them side by side, a core each; LAUNCHER= makes one after the other.
fig2 fig3 fig4 fig8 fig9 fig10 ising figures: LAUNCHER := hydra/launcher=btgm_joblib

build: $(STAMP) ## Build the wheel into dist/
	$(BIN)/python -m build --wheel --no-isolation --outdir $(DIST)

clean: ## Remove .venv, caches and build products; outputs/ stays
	rm -rf $(VENV) .venv-oldest build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find src tests experiments -name __pycache__ -prune -exec rm -rf {} +

# The build tools come first and from the same constraints, so that the editable install needs no
# second, unpinned environment. The stamp is the last step: an install cut short is taken up again.
$(STAMP): pyproject.toml $(CONSTRAINTS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "btgm needs Python 3.11 or newer, and '$(PYTHON)' is not. Try: make PYTHON=python3.11 ..." >&2; \
		exit 1; }
	@echo "Installing into $(VENV) (a few minutes the first time)"
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) install -c $(CONSTRAINTS) torch hatchling editables
	@$(PIP) install -c $(CONSTRAINTS) --no-build-isolation -e '.[dev]'
	@touch $@
