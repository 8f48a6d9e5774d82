#!/usr/bin/env bash
# Builds the sdist and the wheel in dist/ and checks their metadata. Then installs each in an empty environment, with the
# pinned PyTorch and MMEngine, and lists and runs networks there: `make dist`.
set -euo pipefail
cd "$(dirname "$0")/../.."
uv=$PWD/tools/dev/uv.sh
tools=$PWD/.venv-docs/bin
unset MMVIT_BUILD_OPS  # set by the Makefile, not by users
rm -rf dist
"$uv" build --quiet --python "$tools/python" --out-dir dist
"$tools/twine" check --strict dist/*.tar.gz dist/*.whl
for file in "$PWD"/dist/*.tar.gz "$PWD"/dist/*.whl; do
    folder=$(mktemp --directory)
    trap 'rm -rf "$folder"' EXIT
    "$uv" venv --quiet --python "$tools/python" "$folder/env"
    "$uv" pip install --quiet --python "$folder/env" --constraints requirements/dev.txt \
        "$file" onedl-mmengine opencv-python-headless
    cd "$folder"  # where Python does not import the checkout
    env/bin/mmvit models 'rest_*'
    env/bin/python - << 'CODE'
import torch
from mmvit_backbones import get_model

maps = get_model('rest_lite', task='backbone').eval()(torch.rand(1, 3, 65, 97))
assert [tuple(x.shape[1:]) for x in maps] == [(64, 17, 25), (128, 9, 13), (256, 5, 7), (512, 3, 4)]
CODE
    cd - > /dev/null
    rm -rf "$folder"
    echo "dist: ${file##*/} works in an empty environment"
done
