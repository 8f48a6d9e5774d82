PYTHON ?= python3
# Threads that wait give their core away: spinning doubles the time of a training on a busy machine.
export OMP_WAIT_POLICY ?= PASSIVE
# Containers often set it; each process would then compile anew what it imports, which takes seconds.
export PYTHONDONTWRITEBYTECODE =

# Two processes of one thread each are quicker than one of two: most tests are too small to be shared.
WORKERS = 2
PYTEST_IN = OMP_NUM_THREADS=1 $(1)/bin/python -m pytest --numprocesses $(or $(JOBS),$(WORKERS)) --dist worksteal
PYTEST = $(call PYTEST_IN,.venv) tests

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-compilers test-quick test-one test-upstream test-transformers test-neighbors test-matrix test-oldest \
	test-exports docker-test chaos fuzz mutants lint docs tutorials clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup:  ## create .venv with everything in it; the first time takes long
	@$(PYTHON) tools/dev/setup_env.py

demo: setup  ## show what the package does
	.venv/bin/python tools/demo.py

# Trainings wait for their processes, so a third one uses two cores better.
test: WORKERS = 3
test: setup  ## run the tests, but for those of compilers and exporters that take long
	$(PYTEST) -m 'not compiler'

test-compilers: setup  ## run the others: torch.compile, Triton's interpreter, CUDA, ONNX, torch.export and AOTInductor
	$(PYTEST) -m compiler

test-quick: setup  ## run the tests that take seconds, of the library alone: not of scripts, pages and other libraries
	$(PYTEST) -m 'not slow and not training and not compiler' --ignore tests/integrations --ignore tests/tools \
		--ignore tests/test_contract_modules.py --ignore tests/test_accelerate.py --ignore tests/test_docs.py

test-one: setup  ## run the tests that hold FILE=mmvit_backbones/layers/attention.py, by the table in CONTRIBUTING.md
	@tests=$$(.venv/bin/python tools/dev/tests_of.py $(FILE)) && $(call PYTEST_IN,.venv) -m 'not compiler' $$tests

test-upstream:  ## run contract and goldens on the original OpenMMLab packages, in .venv-upstream
	@MMVIT_OPENMMLAB=upstream $(PYTHON) tools/dev/setup_env.py
	$(call PYTEST_IN,.venv-upstream) tests/test_contract*.py tests/test_goldens.py

test-transformers: setup .venv-transformers5/stamp  ## run the tests of the adapter with Transformers 5; make test has 4
	$(call PYTEST_IN,.venv-transformers5) tests/integrations/test_huggingface.py tests/integrations/test_adapters.py

# Come before .venv in the path.
.venv-transformers5/stamp .venv-mutants/stamp: .venv-%/stamp: requirements/%.txt
	.venv/bin/python -m venv --clear --without-pip .venv-$*
	realpath .venv/lib/python3*/site-packages > $$(echo .venv-$*/lib/python3*/site-packages)/venv.pth
	.venv/bin/python -m pip --python .venv-$*/bin/python --disable-pip-version-check install --quiet \
		--no-deps --no-compile --requirement $<
	touch $@

test-neighbors: setup .neighbors/stamp  ## run timm's and Transformers' own tests on the networks
	$(call PYTEST_IN,.venv) tests/integrations/test_neighbors.py

# Wheels have no tests.
.neighbors/stamp: requirements/adapters.txt
	.venv/bin/python -m pip --disable-pip-version-check download --quiet --no-deps --no-binary timm,transformers \
		--dest .neighbors $$(grep -E '^(timm|transformers)==' $<)
	for archive in .neighbors/*.tar.gz; do tar -xzf $$archive -C .neighbors; done
	touch $@

test-matrix:  ## test in the oldest, a middle and the newest environment, each in its own .venv-*; ENVIRONMENTS, WITH_MMDET=1
	$(PYTHON) tools/dev/test_matrix.py --write $(ENVIRONMENTS)

test-oldest:  ## of these the oldest alone, where there is a Python 3.10
	$(PYTHON) tools/dev/test_matrix.py oldest

test-exports: setup  ## export every tiny network to ONNX and compare at eight sizes; in test-compilers, one of each kind
	EXPORT_ALL=1 $(call PYTEST_IN,.venv) tests/export/test_networks.py -k one_file

docker-test:  ## build docker/Dockerfile.cpu, test and train in it; BASE_IMAGE, OPTIONS
	docker/test.sh

chaos: setup  ## kill trainings 100 times at random moments and resume them; CHAOS_KILLS, CHAOS_SEED
	OMP_NUM_THREADS=1 .venv/bin/python -m pytest -s tests/training/chaos.py

fuzz: setup  ## 50 times as much random input as in the tests; FUZZ_FACTOR, FUZZ_SEED
	FUZZ_FACTOR=$(or $(FUZZ_FACTOR),50) $(call PYTEST_IN,.venv) tests/test_fuzz.py tests/cli/test_wrong_values.py \
		tests/ops/test_triton.py tests/ops/test_varied_size_window_triton.py

mutants: setup .venv-mutants/stamp  ## change the package in N places, and show what no test finds; SEED, ROOM, COMMIT
	.venv-mutants/bin/python tools/dev/mutants.py --number $(or $(N),100) $(if $(SEED),--seed $(SEED)) \
		--commit $(or $(COMMIT),HEAD) --rooms $(ROOM)

# pyright would ask PyPI for a newer version of itself.
lint: setup  ## check the style and the types
	.venv/bin/ruff check .
	PYRIGHT_PYTHON_IGNORE_WARNINGS=1 .venv/bin/pyright
	.venv/bin/hadolint docker/Dockerfile docker/Dockerfile.cpu

# Not --quiet, which silences --strict.
docs: .venv-docs/stamp  ## build the documentation into site/ and check its links
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --strict

tutorials: setup .venv-docs/stamp  ## run the notebooks that the documentation shows
	PYTHONPATH="$$(echo .venv-docs/lib/python3*/site-packages)" .venv/bin/python tools/dev/run_tutorials.py $(TUTORIALS)

# Needs neither torch nor `make setup`; where that has been called, its Python is known to make environments.
.venv-docs/stamp: requirements/docs.txt
	$(firstword $(wildcard .venv/bin/python) $(PYTHON)) -m venv --clear .venv-docs
	.venv-docs/bin/pip install --quiet --disable-pip-version-check --no-compile --no-deps --requirement $<
	touch $@

clean:  ## remove environments, the site and build folders; compiled wheels stay in the user's cache
	rm -rf .venv .venv-* .neighbors .mutants site build dist *.egg-info .pytest_cache .ruff_cache
