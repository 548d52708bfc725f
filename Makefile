# `make demo` or `make test` on a fresh checkout sets up .venv first.
#   PYTHON=...    the interpreter that makes .venv (3.11 or newer)
#   PIP_ARGS=...  further arguments for pip, such as another index or a folder of wheels
#   WORKERS=...   processes that share the tests

.DEFAULT_GOAL := help

OLD_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for python in python3.11 python3; do \
	$$python -c '$(OLD_ENOUGH)' 2>/dev/null && break; done; echo $$python)
PIP_ARGS ?=
WORKERS ?= 2

RUN := .venv/bin/python
INSTALLED := .venv/.installed
UNFINISHED := .venv/.unfinished

# Where conf/experiment/demo_evaluation.yaml leaves its page.
DEMO_PAGE := outputs/demo/report.html

# A checkout moved or copied together with its .venv would run the code of the old place.
ifneq ($(shell cat $(INSTALLED) 2>/dev/null),$(CURDIR))
.PHONY: $(INSTALLED)
endif

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: setup
setup: $(INSTALLED) ## Make .venv and install everything into it (the other targets do so by themselves)

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c '$(OLD_ENOUGH)' 2>/dev/null || { \
		echo "Python 3.11 or newer is needed; '$(PYTHON)' is $$($(PYTHON) --version 2>&1)." >&2; \
		echo "Name another one: make setup PYTHON=/path/to/python3.11" >&2; exit 1; }
	@if [ -e .venv ] && { [ -e $(UNFINISHED) ] \
		|| { [ -e $(INSTALLED) ] && [ "$$(cat $(INSTALLED))" != "$(CURDIR)" ]; } \
		|| ! $(RUN) -c '$(OLD_ENOUGH)' 2>/dev/null; }; then \
		echo "== .venv is unfinished, moved or broken: making it anew"; rm -rf .venv; fi
	@echo "== Setting up .venv with $$($(PYTHON) --version) ($(PYTHON))"
	@mkdir -p .venv && touch $(UNFINISHED) && rm -f $(INSTALLED)
	@# Some distributions ship Python without ensurepip: then this Python's own pip installs.
	@if $(PYTHON) -c 'import ensurepip' 2>/dev/null; then $(PYTHON) -m venv .venv; \
		else $(PYTHON) -m venv --without-pip .venv; fi
	@echo "== Installing PyTorch and the rest into .venv: PyTorch's default wheels are about 3 GB"
	@echo "== to download, so the first time takes some minutes. pip reports each step below;"
	@echo "== its last one, \"Installing collected packages\", is silent for a minute or two."
	@if $(RUN) -m pip --version >/dev/null 2>&1; then set -- $(RUN) -m pip; \
		else set -- $(PYTHON) -m pip --python $(RUN); fi; \
		"$$@" install --disable-pip-version-check -c constraints.txt $(PIP_ARGS) -e '.[dev]'
	@rm -f $(UNFINISHED) && echo "$(CURDIR)" > $(INSTALLED)
	@echo "== .venv is ready"

.PHONY: demo
demo: $(INSTALLED) ## Run the main job on drawn images: pretrain, evaluate, write a page (no GPU)
	@echo "== Pretraining the projector on drawn images"
	$(RUN) -m adpt.train +experiment=demo
	@echo "== Evaluating plain and pretrained features"
	$(RUN) -m adpt.evaluate +experiment=demo_evaluation
	@echo "== The results: $(CURDIR)/$(DEMO_PAGE)"

# One thread a process: the workers would otherwise compete for the same cores. Bytecode is kept,
# also where the environment says otherwise: each process would compile all tests anew.
PYTEST := OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(RUN) -m pytest -n $(WORKERS) --dist worksteal

.PHONY: test
test: $(INSTALLED) ## Run the quick tests
	$(PYTEST)

.PHONY: test-all
test-all: $(INSTALLED) ## Run all tests, those that take minutes too
	$(PYTEST) -m 'slow or not slow'

.PHONY: options
options: $(INSTALLED) ## Write the tables and comments of all options from where they are declared
	$(RUN) tests/option_tables.py

.PHONY: lint
lint: $(INSTALLED) ## Check style and format
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .

.PHONY: types
types: $(INSTALLED) ## Check types
	$(RUN) -m mypy

.PHONY: bench
bench: $(INSTALLED) ## Measure speed against plain literal versions; takes about half an hour
	$(RUN) experiments/speed/bench.py

.PHONY: wheel
wheel: $(INSTALLED) ## Build the wheel into dist
	$(RUN) -m build --wheel --no-isolation --outdir dist

.PHONY: clean
clean: ## Remove wheels and caches (not .venv, not results)
	rm -rf dist build .mypy_cache .ruff_cache .pytest_cache
	find . -path ./.venv -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +
