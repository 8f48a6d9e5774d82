# The Python of new environments, e.g. /usr/bin/python3.12; without it, uv searches for one.
export PYTHON
# Waiting threads release their core; on a busy machine, spinning would double the time of a training.
export OMP_WAIT_POLICY ?= PASSIVE
# glibc keeps freed memory and asks for huge pages, so tests spend less time in the kernel.
export GLIBC_TUNABLES ?= glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold=134217728:glibc.malloc.trim_threshold=268435456
# Containers often set this variable, but without byte code, each process takes seconds to compile its imports.
export PYTHONDONTWRITEBYTECODE =
# Without a GPU, the CUDA operators of this package are compiled only by tests; without a compiler, none.
export MMVIT_BUILD_OPS ?= $(if $(shell command -v nvidia-smi),auto,$(if $(shell command -v $${CXX:-c++}),cpp,0))

# Two processes with one thread each are faster than one process with two threads, because most tests are small.
WORKERS = 2
PYTEST_IN = OMP_NUM_THREADS=1 $(1)/bin/python -m pytest --durations 25 --numprocesses $(or $(JOBS),$(WORKERS)) --dist worksteal
PYTEST = $(call PYTEST_IN,.venv) tests

.DEFAULT_GOAL := help
.PHONY: help setup pins demo test test-workflows test-large test-compilers test-quick test-extras test-matrix test-oldest \
	test-exports docker-test fuzz lint docs dist tutorials clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-17s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/stamp  ## create .venv with all packages, which takes minutes on the first call

# uv keeps what it downloads and compiles in its cache.
UV = tools/dev/uv.sh
VERSION = $(or $(PYTHON),>=3.10,<3.14)
define SYNC
@[ -e $(@D)/bin/python ] || $(UV) venv --quiet --clear --python '$(VERSION)' $(@D)
$(UV) pip sync --python $(@D) --reinstall-package onedl-mmcv $(CONSTRAINTS) $(filter requirements/%,$^)
endef
# An earlier setup compiled the operators of onedl-mmcv, so it is installed anew, with those in Python.
define INSTALL
$(UV) pip install --python $(@D) --no-deps --no-build-isolation --editable .
$(@D)/bin/python mmvit_backbones/integrations/mmcv_ops.py
endef

.venv/stamp: requirements/dev.txt
	$(SYNC)
	$(INSTALL)
	@touch $@
.venv-%/stamp: requirements/%.txt
	$(SYNC)
	$(if $(filter setup.py,$^),$(INSTALL))
	@touch $@
.venv/stamp .venv-extras/stamp: setup.py pyproject.toml mmvit_backbones/version.py \
	mmvit_backbones/ops/build.py mmvit_backbones/ops/paths.py $(wildcard mmvit_backbones/ops/csrc/*)
.venv-docs/stamp: VERSION = $(or $(wildcard .venv/bin/python),>=3.10,<3.14)
.venv-extras/stamp: VERSION = 3.11
.venv-oldest/stamp: VERSION = 3.10
.venv-oldest/stamp: CONSTRAINTS = --build-constraints requirements/oldest.in
.venv-upstream/stamp: VERSION = 3.11
.venv-middle/stamp: VERSION = 3.12
.venv-newest/stamp: VERSION = 3.13

# Options of `uv pip compile`; the environments of the matrix are for one version of Python. With uv's usual cache,
# reading the metadata of source packages would discard their compiled wheels.
UPGRADE = --upgrade
PIN = --cache-dir .uv/cache --quiet --no-python-downloads --generate-hashes --no-annotate --no-header $(UPGRADE)
ALL = --universal --python-version 3.10 --overrides requirements/overrides.in pyproject.toml --extra onedl
ONE = pyproject.toml requirements/tests.in --python-platform linux
pins:  ## update the pinned versions in requirements/; with UPGRADE= only what requirements/*.in and pyproject.toml change
	$(UV) pip compile $(PIN) --universal requirements/uv.in -o requirements/uv.txt
	$(UV) pip compile $(PIN) $(ALL) --extra weights --extra export requirements/dev.in -o requirements/dev.txt
	$(UV) pip compile $(PIN) --universal --python-version 3.10 requirements/docs.in -o requirements/docs.txt
	$(UV) pip compile $(PIN) $(ONE) --python-version 3.11 --overrides requirements/overrides.in --extra export requirements/extras.in -o requirements/extras.txt
	$(UV) pip compile $(PIN) $(ONE) --python-version 3.10 --extra openmmlab requirements/oldest.in -o requirements/oldest.txt
	$(UV) pip compile $(PIN) $(ONE) --python-version 3.11 --extra openmmlab requirements/upstream.in -o requirements/upstream.txt
	$(UV) pip compile $(PIN) $(ONE) --python-version 3.12 requirements/middle.in -o requirements/middle.txt
	$(UV) pip compile $(PIN) $(ONE) --python-version 3.13 --extra openmmlab-lite requirements/newest.in -o requirements/newest.txt

demo: setup  ## train three small models and draw their predictions
	.venv/bin/python tools/demo.py

# Some tests wait for processes that they start, so three workers use two cores better.
test test-workflows: WORKERS = 3
test: setup  ## run the tests, except workflows, and slow ones of compilers, exporters and large networks
	$(PYTEST) -m 'not workflow and not compiler and not large'

test-workflows: setup  ## run the tests that train, build the package, add a network, or simulate other systems
	$(PYTEST) -m 'workflow and not compiler and not large'

test-large: setup  ## compare large networks with the authors' code in float64, with up to 6 GB; make test compares the others
	$(call PYTEST_IN,.venv) -m large tests/test_goldens.py tests/test_half_precision.py tests/measuring/test_flops.py tests/recipes/test_rates.py

test-compilers: setup  ## run the slow tests of compilers and exporters: torch.compile, Triton, CUDA, ONNX
	$(PYTEST) -m compiler

test-quick: setup  ## run fast tests of the networks and what they are made of, in about a minute
	$(call PYTEST_IN,.venv) -m 'not slow and not workflow and not compiler and not large' tests/backbones tests/layers tests/ops \
		tests/necks tests/evaluation tests/utils tests/test_architecture.py tests/test_promised.py

test-extras: .venv-extras/stamp  ## run the tests of the page with Gradio, of names in timm with Transformers, of PEFT and of torchao
	$(call PYTEST_IN,.venv-extras) tests/inference/test_serve.py tests/integrations/test_adapters.py \
		tests/test_contract_modules.py

test-matrix: $(patsubst %,.venv-%/stamp,oldest middle newest upstream)  ## install and test in four environments of users
	.venv-newest/bin/python tools/dev/test_matrix.py $(patsubst %,.venv-%,oldest middle newest upstream)

test-oldest: .venv-oldest/stamp  ## install and test with Python 3.10, PyTorch 2.1 and mmdet 3.3
	.venv-oldest/bin/python tools/dev/test_matrix.py .venv-oldest

test-exports: setup .venv-extras/stamp  ## export all tiny networks to ONNX, by mmvit and by torch, to ExecuTorch and to LiteRT, and compare outputs for many image sizes; test-compilers exports only three
	EXPORT_ALL=1 $(call PYTEST_IN,.venv) -m compiler tests/export/test_onnx_export.py tests/export/test_own_models.py -k 'one_file or own_models'
	PATH="$(CURDIR)/.venv-extras/bin:$$PATH" $(call PYTEST_IN,.venv-extras) tests/export/test_phones.py

docker-test:  ## build the image, and train and test in the image; variables: BASE_IMAGE, OPTIONS
	docker/test.sh

fuzz: setup  ## run the tests with random inputs on 50 times as many inputs; variables: FUZZ_FACTOR, FUZZ_SEED
	FUZZ_FACTOR=$(or $(FUZZ_FACTOR),50) $(call PYTEST_IN,.venv) tests/test_fuzz.py \
		tests/ops/test_triton.py tests/ops/test_varied_size_window.py::test_random_shapes

# Without the variable, pyright would ask PyPI whether there is a newer version.
lint: setup .venv-docs/stamp  ## check style and types, and that the public API keeps what it promises
	.venv/bin/ruff check .
	PYRIGHT_PYTHON_IGNORE_WARNINGS=1 .venv/bin/pyright
	.venv-docs/bin/python tools/dev/check_api.py
	.venv/bin/hadolint docker/Dockerfile

# With --quiet, --strict would ignore warnings.
docs: .venv-docs/stamp  ## build the documentation into site/ and check its links
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --strict

dist: .venv-docs/stamp  ## build sdist and wheel in dist/, check them, and use each in an empty environment
	tools/dev/make_dist.sh

tutorials: setup .venv-docs/stamp  ## run the notebooks of the documentation; variable: TUTORIALS
	PYTHONPATH="$$(echo .venv-docs/lib/python3*/site-packages)" .venv/bin/python tools/dev/run_tutorials.py $(TUTORIALS)

clean:  ## remove environments, site and build folders; uv's cache stays
	rm -rf .venv .venv-* .uv site build dist *.egg-info .pytest_cache .ruff_cache
