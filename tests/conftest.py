"""What several tests need: one thread pool size, goldens and one built model per variant."""
import os
import sys
from functools import cache
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent / 'goldens'))
os.environ.setdefault('MPLBACKEND', 'Agg')

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def root() -> Path:
    """Root of the checkout."""
    return ROOT


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)
