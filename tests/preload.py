"""Imports modules and reads files that runs need; the fork server of `runs.py` runs this before it forks."""
import gc

import mmdet.models  # noqa: F401
import mmpretrain.datasets  # noqa: F401
import mmpretrain.engine  # noqa: F401
import mmpretrain.evaluation  # noqa: F401
import mmpretrain.models  # noqa: F401
import mmpretrain.visualization  # noqa: F401
import runs
from mmengine.config import Config

import mmvit_backbones.inference  # noqa: F401
import mmvit_backbones.recipes  # noqa: F401
import mmvit_backbones.training  # noqa: F401

Config.fromfile(runs.TINY).pretty_text  # noqa: B018  caches the metafiles and the formatter's grammar
gc.freeze()  # saves time, because MMEngine runs the garbage collector for every data set
