"""Imported by the server of `runs.py` before it forks: what each training would import and read again."""
import gc

import mmdet.models  # noqa: F401
import mmpretrain.datasets  # noqa: F401
import mmpretrain.engine  # noqa: F401
import mmpretrain.evaluation  # noqa: F401
import mmpretrain.models  # noqa: F401
import mmpretrain.visualization  # noqa: F401
import runs
from mmengine.config import Config

import mmvit_backbones.training  # noqa: F401

Config.fromfile(runs.TINY).pretty_text  # noqa: B018  keeps the metafiles, and the grammar of the formatter
gc.freeze()  # mmengine collects garbage for every data set
