"""The precisions of trainings. Imports neither torch nor MMEngine."""
from typing import Any

# Precision -> what an optimizer wrapper has for it. bfloat16 needs no loss scaling.
PRECISIONS: dict[str, dict[str, Any]] = dict(
    float32=dict(type='OptimWrapper'), float16=dict(type='AmpOptimWrapper', dtype='float16', loss_scale='dynamic'),
    bfloat16=dict(type='AmpOptimWrapper', dtype='bfloat16', loss_scale=1.))
