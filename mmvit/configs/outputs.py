"""Compares what a run writes with what it reads."""
import os.path as osp
from pathlib import Path

from mmengine.config import Config

from mmvit_backbones.engine.atomic import PREFIX
from mmvit_backbones.utils.file_access import check_outputs
from mmvit_backbones.zoo.reading import LAST

from .. import frameworks
from ..utils.config_parts import datasets_of, metrics_of, paths_of

# Arguments of metrics that name a file, a folder, or the beginning of the names of files.
OUTPUTS = 'out_file_path', 'outfile_path', 'outfile_prefix', 'output_dir', 'save_dir', 'csv_dir', 'file_path'


def check_copy(cfg: Config) -> None:
    """Raises UsageError if the copy of its config that a run writes to the work dir would replace the config itself.

    The config of an earlier run in the work dir is such a copy, and may be replaced.
    """
    if cfg.filename and not osp.exists(osp.join(cfg.work_dir, LAST)):
        check_outputs('work_dir (--work-dir)', [osp.join(cfg.work_dir, osp.basename(cfg.filename))], [cfg.filename])


def check_test_outputs(cfg: Config) -> None:
    """Raises UsageError if a test would write over a file that it reads, or into a folder of its data.

    OpenMMLab writes label images and drawings into files that exist.
    """
    metrics = metrics_of(cfg, 'test')
    read = [cfg.filename, cfg.get('load_from'), *(path for part in datasets_of(cfg, 'test') for path in paths_of(part))]
    written = {'out (--out)': [str(metric[key]).removeprefix(PREFIX) for metric in metrics for key in OUTPUTS
                               if metric.get(key)],
               'show_dir (--show-dir)': [path for path in [frameworks.of(cfg).folder_of_drawings(cfg)] if path]}
    for name, paths in written.items():
        check_outputs(name, [place for path in paths for place in (path, *Path(path).absolute().parents)], read)
