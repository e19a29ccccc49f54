# The same targets for people and CI. `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# Warnings in our own tests are errors.
TEST_OPTIONS := -n 2 --dist loadfile -W error
BENCHMARKS := unused startup latency ahead cases faults resume metrics overhead scale databricks_run spark_scale dashboard

.DEFAULT_GOAL := help
.PHONY: help evals test stress check typing docs build bench demo clean

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "  make %-8s %s\n", $$1, $$2 }'

$(INSTALLED): pyproject.toml
	@echo "== installing into $(VENV); MLflow is large, this takes a minute or two"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check --editable ".[dev]"
	@touch $@

evals: $(INSTALLED) ## evaluate the embedded model on the suites in evals/
	@$(BIN)/llmeval model pull smollm2
	$(BIN)/python -m pytest evals/

test: $(INSTALLED) ## run the tests, with lint, contracts and types among them
	@$(BIN)/llmeval model pull smollm2
	$(BIN)/python -m pytest $(TEST_OPTIONS) tests/

stress: $(INSTALLED) ## kill runs, deployments and jobs at random; fifteen minutes
	$(BIN)/python -m tests.stress.kill_runs
	$(BIN)/python -m tests.stress.deployments
	$(BIN)/python -m tests.stress.jobs

check: $(INSTALLED) ## check style and import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports

typing: $(INSTALLED) ## check types
	$(BIN)/mypy

docs: $(INSTALLED) ## update the generated parts of docs/ and test the pages
	@for page in reference history bi; do $(BIN)/python -m docs.generate_$$page || exit 1; done
	$(BIN)/python -m docs.figures.draw
	$(BIN)/python -m docs.figures.draw_drift
	$(BIN)/python -m pytest tests/test_docs.py tests/test_statistics_page.py tests/test_monitoring_page.py

build: $(INSTALLED) ## build wheel and sdist into dist/
	$(BIN)/python -m build

bench: $(INSTALLED) ## run the benchmarks, on a machine that does nothing else
	@for name in $(BENCHMARKS); do echo; $(BIN)/python -m benchmarks.$$name || exit 1; done
	@echo; $(BIN)/python -m benchmarks.scale --mlflow

demo: $(INSTALLED) ## show one model version go live and a worse one refused
	@$(BIN)/llmeval model pull smollm2
	$(BIN)/python examples/demo/run.py

clean: ## remove the virtual environment and what runs left behind
	rm -rf $(VENV) .llmeval mlflow.db mlartifacts spark-warehouse dist
