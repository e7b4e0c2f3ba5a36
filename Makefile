# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON := .venv/bin/python
PYTEST := $(PYTHON) -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile
# Containers often forbid Python to write bytecode, which makes importing TFX three times slower.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup demo test test-long test-fast test-flink test-kafka soak bench-check lint hooks lock docs site clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

setup:  ## make .venv (nothing is done if it is up to date)
	@bash scripts/setup_environment.sh

demo: setup  ## run the whole pipeline on JapaneseVowels and ask the published model
	@$(PYTHON) -m examples.demo

test: lint  ## ruff, pyright and the test suite
	@$(PYTEST) -m "not long"

test-long: setup  ## the tests that `make test` leaves out: whole pipelines and further forms of others
	@$(PYTEST) -m long

test-fast: setup  ## the tests that need neither TFX nor much time
	@$(PYTEST) -m "not slow"

test-flink: setup  ## the Beam steps on a Flink cluster of this machine (fetches 400 MB with pip and Maven, once; 10 minutes)
	@bash scripts/fetch_flink.sh
	@$(PYTHON) -m pytest -m long tests/pipeline/flink

test-kafka: setup  ## a stream over a Kafka broker of this machine (fetches 46 MB with Maven, once; 10 minutes)
	@bash scripts/fetch_kafka.sh
	@$(PYTHON) -m pytest -m long tests/pipeline/streaming

soak: setup  ## a year of nightly retrainings, simulated with all their faults (half an hour)
	@$(PYTHON) -m pytest tests/soak --year -s

bench-check: setup  ## compare CPU, memory and disk of the steps with recorded ratios (a few minutes on a quiet machine)
	@$(PYTHON) -m benchmarks.growth_check

lint: setup  ## ruff and pyright
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/pyright --pythonpath $(PYTHON)

hooks: setup  ## let git run what `make lint` runs before each commit (pre-commit, fetched by uv)
	@.venv/bin/uvx pre-commit@4.7.0 install

lock: setup  ## lock the packages anew after editing requirements/*.in (FLAGS=--upgrade: newer versions)
	@.venv/bin/uv pip compile --quiet $(FLAGS) --universal --python-version 3.11 --no-emit-index-url --generate-hashes \
	  --custom-compile-command "make lock" requirements/bootstrap.in -o requirements/bootstrap.txt
	@.venv/bin/uv pip compile --quiet $(FLAGS) --universal --python-version 3.11 --no-emit-index-url --generate-hashes \
	  --custom-compile-command "make lock" requirements/dev.in -o requirements/dev.txt
	@# The image's: the same versions, without what checks and tests.
	@for name in requirements gpu; do .venv/bin/uv pip compile --quiet --universal --python-version 3.11 --no-emit-index-url \
	  --generate-hashes --no-annotate --custom-compile-command "make lock" --constraints requirements/dev.txt \
	  requirements/$$name.in -o requirements/$$name.txt || exit; done
	@# Tools with environments of their own: the site's, and those that look through the lock.
	@for name in docs audit; do .venv/bin/uv pip compile --quiet $(FLAGS) --universal --python-version 3.11 --no-emit-index-url \
	  --generate-hashes --no-annotate --custom-compile-command "make lock" \
	  requirements/$$name.in -o requirements/$$name.txt || exit; done

docs: setup  ## write docs/config-reference.md from the configuration models
	@$(PYTHON) -m noisy_gru.pipeline.config.config_reference

site: .venv-docs/.requirements  ## build the documentation site into site/, every link checked
	@NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --strict --quiet

# An environment of its own: the site's tools and the product's packages need not agree.
.venv-docs/.requirements: requirements/docs.txt | setup
	@$(PYTHON) -m venv --clear .venv-docs
	@.venv-docs/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/docs.txt
	@touch $@

clean:  ## remove the environment and what was built (runs stay)
	rm -rf .venv .venv-docs .build build dist site *.egg-info
