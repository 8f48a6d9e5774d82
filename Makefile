PYTHON ?= python3
# Waiting threads release their core; on a busy machine, spinning would double the time of a training.
export OMP_WAIT_POLICY ?= PASSIVE
# Containers often set this variable, but without byte code, each process takes seconds to compile its imports.
export PYTHONDONTWRITEBYTECODE =

# Two processes with one thread each are faster than one process with two threads, because most tests are small.
WORKERS = 2
PYTEST_IN = OMP_NUM_THREADS=1 $(1)/bin/python -m pytest --numprocesses $(or $(JOBS),$(WORKERS)) --dist worksteal
PYTEST = $(call PYTEST_IN,.venv) tests

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-compilers test-quick test-upstream test-transformers test-matrix test-oldest test-exports \
	docker-test fuzz lint docs tutorials clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-17s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup:  ## create .venv with all packages; slow on the first call
	@$(PYTHON) tools/dev/setup_env.py

demo: setup  ## train three small models and draw their predictions
	.venv/bin/python tools/demo.py

# Tests of training often wait for the processes they start, so three workers use two cores better.
test: WORKERS = 3
test: setup  ## run the tests, except slow ones of compilers and exporters
	$(PYTEST) -m 'not compiler'

test-compilers: setup  ## run the slow tests of compilers and exporters: torch.compile, Triton, CUDA, ONNX
	$(PYTEST) -m compiler

test-quick: setup  ## run the fast tests of the library, without those of scripts, pages and other libraries
	$(PYTEST) -m 'not slow and not training and not compiler' --ignore tests/integrations --ignore tests/tools \
		--ignore tests/test_contract_modules.py --ignore tests/test_docs.py

test-upstream:  ## run contract tests and goldens with the original OpenMMLab packages, in .venv-upstream
	@MMVIT_OPENMMLAB=upstream $(PYTHON) tools/dev/setup_env.py
	$(call PYTEST_IN,.venv-upstream) tests/test_contract*.py tests/test_goldens.py

test-transformers: setup .venv-transformers5/stamp  ## run the tests of the adapter with Transformers 5; make test uses 4
	$(call PYTEST_IN,.venv-transformers5) tests/integrations/test_huggingface.py tests/integrations/test_adapters.py

# Packages of this environment take precedence over those of .venv.
.venv-transformers5/stamp: requirements/transformers5.txt
	.venv/bin/python -m venv --clear --without-pip .venv-transformers5
	realpath .venv/lib/python3*/site-packages > $$(echo .venv-transformers5/lib/python3*/site-packages)/venv.pth
	.venv/bin/python -m pip --python .venv-transformers5/bin/python --disable-pip-version-check install --quiet \
		--no-deps --no-compile --requirement $<
	touch $@

test-matrix:  ## test in the oldest, a middle and the newest environment, .venv-*; variables: ENVIRONMENTS, WITH_MMDET=1
	$(PYTHON) tools/dev/test_matrix.py --write $(ENVIRONMENTS)

test-oldest:  ## test only in the oldest environment, if Python 3.10 is installed
	$(PYTHON) tools/dev/test_matrix.py oldest

test-exports: setup  ## export all tiny networks to ONNX and compare outputs for eight image sizes; test-compilers exports only three
	EXPORT_ALL=1 $(call PYTEST_IN,.venv) tests/export/test_networks.py -k one_file

docker-test:  ## build docker/Dockerfile.cpu, and train and test in the image; variables: BASE_IMAGE, OPTIONS
	docker/test.sh

fuzz: setup  ## run the tests with random inputs on 50 times as many inputs; variables: FUZZ_FACTOR, FUZZ_SEED
	FUZZ_FACTOR=$(or $(FUZZ_FACTOR),50) $(call PYTEST_IN,.venv) tests/test_fuzz.py \
		tests/ops/test_triton.py tests/ops/test_varied_size_window_triton.py tests/ops/test_varied_size_window.py::test_random_shapes

# Without the variable, pyright would ask PyPI whether there is a newer version.
lint: setup  ## check style and types
	.venv/bin/ruff check .
	PYRIGHT_PYTHON_IGNORE_WARNINGS=1 .venv/bin/pyright
	.venv/bin/hadolint docker/Dockerfile docker/Dockerfile.cpu

# With --quiet, --strict would ignore warnings.
docs: .venv-docs/stamp  ## build the documentation into site/ and check its links
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --strict

tutorials: setup .venv-docs/stamp  ## run the notebooks of the documentation; variable: TUTORIALS
	PYTHONPATH="$$(echo .venv-docs/lib/python3*/site-packages)" .venv/bin/python tools/dev/run_tutorials.py $(TUTORIALS)

# The documentation requires neither torch nor `make setup`. If .venv exists, its Python is used, because it has
# the venv module.
.venv-docs/stamp: requirements/docs.txt
	$(firstword $(wildcard .venv/bin/python) $(PYTHON)) -m venv --clear .venv-docs
	.venv-docs/bin/pip install --quiet --disable-pip-version-check --no-compile --no-deps --requirement $<
	touch $@

clean:  ## remove environments, site and build folders; compiled wheels stay in the user's cache
	rm -rf .venv .venv-* site build dist *.egg-info .pytest_cache .ruff_cache
