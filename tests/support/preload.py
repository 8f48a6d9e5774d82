"""Imports modules and reads files that runs need; the fork server of `runs.py` runs this before it forks."""
# ruff: noqa: F401
import gc

import mmdet.datasets
import mmdet.models
import mmpretrain.datasets
import mmpretrain.engine
import mmpretrain.evaluation
import mmpretrain.models
import mmpretrain.visualization
import mmseg.datasets
import mmseg.models
import runs
from mmengine.config import Config

import mmvit.inference
import mmvit.recipes
import mmvit.running

Config.fromfile(runs.TINY).pretty_text  # noqa: B018  caches the metafiles and the formatter's grammar
gc.freeze()  # saves time, because MMEngine runs the garbage collector for every data set
