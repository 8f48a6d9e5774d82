#!/usr/bin/env python3
"""Writes tests/data/mmcv_ops.npz: what the functions of a compiled mmcv compute, for tests of those in Python."""
import sys
from pathlib import Path

import mmcv._ext as compiled
import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / 'tests' / 'support'))
from mmcv_cases import CASES  # noqa: E402  # pyright: ignore[reportMissingImports]  # the path is set above

if __name__ == '__main__':
    if str(compiled.__file__).endswith('.py'):
        sys.exit(f'the operators of mmcv are in Python: {compiled.__file__}')
    np.savez_compressed(ROOT / 'tests' / 'data' / 'mmcv_ops.npz', **{
        f'{name}, {dtype}': case.run(compiled, dtype).numpy() for name, case in CASES.items() for dtype in case.dtypes})
