"""Operators of mmcv in Python are those of compiled mmcv, and a command writes them into mmcv's folder."""
import importlib
import os
import shutil
import subprocess
import sys
from contextlib import suppress
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import ROOT
from mmcv_cases import CASES
from torch.nn.functional import logsigmoid

pytest.importorskip('torchvision')
from mmvit_backbones.integrations import mmcv_ops  # needs torchvision
from mmvit_backbones.version import __version__


def assert_equal(actual: torch.Tensor, expected: torch.Tensor) -> None:
    """Compares results but for rounding: orders of sums, and contracted products on other processors."""
    scale = expected.nan_to_num(0, 0, 0).abs().max().item() if expected.numel() else 0
    atol = 16 * torch.finfo(expected.dtype).eps * scale
    torch.testing.assert_close(actual, expected, rtol=0, atol=atol, equal_nan=True)


@pytest.fixture(scope='module')
def numbers():
    with np.load(ROOT / 'tests' / 'data' / 'mmcv_ops.npz') as file:
        return dict(file)


@pytest.fixture(scope='module')
def compiled():
    """Returns the compiled functions of the installed mmcv, or None."""
    with suppress(ImportError):
        module = importlib.import_module('mmcv._ext')
        return None if str(module.__file__).endswith('.py') else module


@pytest.mark.parametrize('name, dtype', [(name, each) for name, case in CASES.items() for each in case.dtypes], ids=str)
def test_results_are_those_of_compiled_mmcv(name, dtype, numbers, compiled):
    """Also where tensors have other strides, and under autocast, which compiled functions do not know."""
    case, expected = CASES[name], torch.from_numpy(numbers[f'{name}, {dtype}'])
    assert_equal(case.run(mmcv_ops, dtype), expected)
    assert_equal(case.run(mmcv_ops, dtype, is_strided=True), expected)
    with torch.autocast('cpu', torch.bfloat16):
        assert_equal(case.run(mmcv_ops, dtype), expected)
    for seed in range(1, 4) if compiled else ():
        assert_equal(case.run(mmcv_ops, dtype, seed=seed), case.run(compiled, dtype, seed=seed))


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64], ids=str)
def test_attention_is_that_of_mmcv_in_pytorch(dtype):
    attention = pytest.importorskip('mmcv.ops.multi_scale_deform_attn')
    shapes = torch.tensor([[5, 7], [3, 2]])
    value, places, weights = (torch.rand(*size, dtype=dtype, requires_grad=True) for size in (
        (2, 41, 3, 4), (2, 6, 3, 2, 5, 2), (2, 6, 3, 2, 5)))
    moved = places * 1.4 - 0.2  # some of them are outside
    expected = attention.multi_scale_deformable_attn_pytorch(value, shapes, moved, weights)
    gradient = torch.rand_like(expected)
    arguments = [x.detach() for x in (value, shapes, torch.tensor([0, 35]), moved, weights)]
    actual = mmcv_ops.ms_deform_attn_forward(*arguments, im2col_step=64)
    gradients = [torch.zeros_like(x) for x in (value, moved, weights)]
    mmcv_ops.ms_deform_attn_backward(*arguments, gradient, *gradients, im2col_step=64)
    expected_gradients = torch.autograd.grad(expected, (value, moved, weights), gradient)
    for x, y in zip([actual, *gradients], [expected.detach(), *expected_gradients]):
        assert_equal(x, y)


def test_the_focal_loss_is_its_formula():
    """Compiled mmcv has it on GPUs alone. Targets outside of the columns are background."""
    logits = (8 * torch.rand(40, 5, dtype=torch.float64) - 4).requires_grad_()
    weight, target = torch.rand(5, dtype=torch.float64), torch.arange(40) % 6
    is_target = target[:, None] == torch.arange(5)
    factors = torch.cat([weight, torch.ones(1, dtype=torch.float64)])[target]
    signed = torch.where(is_target, logits, -logits)
    loss = -torch.where(is_target, 0.3, 0.7) * (1 - signed.sigmoid()) ** 1.5 * logsigmoid(signed) * factors[:, None]
    expected, = torch.autograd.grad(loss.sum(), logits)
    found, gradient = torch.zeros_like(loss), torch.zeros_like(logits)
    mmcv_ops.sigmoid_focal_loss_forward(logits.detach(), target, weight, found, gamma=1.5, alpha=0.3)
    mmcv_ops.sigmoid_focal_loss_backward(logits.detach(), target, weight, gradient, gamma=1.5, alpha=0.3)
    torch.testing.assert_close((found, gradient), (loss.detach(), expected))


def test_what_cannot_be_computed_raises():
    with pytest.raises(NotImplementedError, match='sync_bn_forward_mean'):
        mmcv_ops.sync_bn_forward_mean(torch.zeros(1))
    x, rois = torch.zeros(1, 1, 4, 4), torch.tensor([[0., 3, 3, 1, 1]])
    settings = dict(aligned_height=1, aligned_width=1, spatial_scale=1., sampling_ratio=0, aligned=True)
    for mode, message in (0, 'max'), (1, 'negative'):
        with pytest.raises(RuntimeError, match=message):
            mmcv_ops.roi_align_forward(x, rois, torch.zeros(1, 1, 1, 1), x, x, pool_mode=mode, **settings)
    with pytest.raises(RuntimeError, match='float64'):  # as compiled mmcv; torchvision has a kernel
        mmcv_ops.nms(torch.rand(2, 4).double(), torch.rand(2), iou_threshold=0.5, offset=0)


def test_offsets_that_are_too_small_raise():
    """Compiled mmcv would read what lies behind them."""
    x, offset, mask, empty = torch.zeros(1, 1, 5, 5), torch.zeros(1, 2, 5, 5), torch.zeros(1, 1, 4, 5), torch.zeros(0)
    places = dict.fromkeys('stride_h stride_w dilation_h dilation_w group deformable_group'.split(), 1)
    with pytest.raises(RuntimeError, match=r'\(1, 1, 4, 5\) .*\(1, 1, 5, 5\)'):
        mmcv_ops.modulated_deform_conv_forward(x, x[..., :1, :1], empty, empty, offset, mask, x.clone(), empty,
                                               kernel_h=1, kernel_w=1, pad_h=0, pad_w=0, with_bias=False, **places)


@pytest.mark.slow
def test_memory_of_suppression_is_not_that_of_all_pairs():
    """Of 8000 boxes, the overlaps of all pairs would take 256 MB, several times; freed blocks must be used again."""
    pytest.importorskip('resource')
    assert int(python('-c', f"""
import resource, torch
from mmvit_backbones.integrations import mmcv_ops
boxes, scores = 1000 * torch.rand(8000, 4), torch.rand(8000)
boxes[:, 2:] = boxes[:, :2] + 0.1 * boxes[:, 2:] + 1
mmcv_ops.nms(boxes[:99], scores[:99], 0.5, 1)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
mmcv_ops.nms(boxes, scores, 0.5, 1)
mmcv_ops.nms_match(torch.cat([boxes, scores[:, None]], 1), 0.5)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * {1 if sys.platform == 'darwin' else 1024})
""")) < 60e6


@pytest.fixture
def site(tmp_path, monkeypatch):
    """Returns a folder of site-packages with the installed mmcv, but without its operators."""
    package = Path(str(pytest.importorskip('mmcv').__file__)).parent
    shutil.copytree(package, tmp_path / 'mmcv', ignore=shutil.ignore_patterns('_ext*', '__pycache__'))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv('PYTHONPATH', str(tmp_path))
    monkeypatch.delitem(sys.modules, 'mmcv')
    return tmp_path


def python(*arguments: str) -> str:
    """Returns what a program prints."""
    return subprocess.run([sys.executable, '-W', 'ignore', *arguments], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, encoding='utf-8', cwd=ROOT).stdout


@pytest.mark.workflow
def test_the_command_makes_mmcv_work(site, monkeypatch):
    """Trainings and mmvit doctor name it; it and mmcv run without this package, and it writes one file alone."""
    command = 'mmvit_backbones.integrations.mmcv_ops'
    state = '-c', 'from mmvit_backbones.utils.installation import describe_operators; print(*describe_operators())'
    end = python('tools/train.py', 'reswin_tiny', '--coco-folder', 'data/coco_mini', '--work-dir', str(site), '--check')
    assert end.splitlines()[-1].startswith('error: ') and 'operators of mmcv: missing' in end and command in end
    before = {path for path in site.rglob('*') if '__pycache__' not in path.parts}
    assert str(site / 'mmcv' / '_ext.py') in python('-m', command)
    (site / 'others').mkdir()
    for path in Path(torch.__file__).parents[1].iterdir():
        if 'mmvit' not in path.name:
            (site / 'others' / path.name).symlink_to(path)
    with monkeypatch.context() as without:
        without.setenv('PYTHONPATH', os.pathsep.join([str(site), str(site / 'others')]))
        assert str(site / 'mmcv' / '_ext.py') in python('-S', str(mmcv_ops.__file__))  # -S: none of the environment
    shutil.rmtree(site / 'others')
    assert f'in Python, by mmvit_backbones {__version__}' in python(*state)
    assert python('-c', f"""
import sys
sys.modules['mmvit_backbones'] = None
import pickle, torch, mmcv, mmcv.ops
assert mmcv.__file__.startswith({str(site)!r})
layer = pickle.loads(pickle.dumps(mmcv.ops.DeformConv2dPack(2, 2, 3)))
layer(torch.rand(1, 2, 8, 8)).sum().backward()
assert pickle.loads(pickle.dumps(mmcv._ext.nms)) is mmcv._ext.nms
print(len(mmcv.ops.nms(torch.tensor([[0., 0, 4, 4], [0, 0, 4, 4]]), torch.ones(2), 0.5)[1]))
""") == '1\n'
    assert {path for path in site.rglob('*') if '__pycache__' not in path.parts} - before == {site / 'mmcv' / '_ext.py'}
    mmcv_ops.main(['--remove'])
    assert not [*site.rglob('_ext*')]


@pytest.mark.parametrize('change, words', [
    (lambda site: (site / 'mmcv' / f'_ext{EXTENSION_SUFFIXES[0]}').touch(), ['compiled']),
    (lambda site: (site / 'mmcv' / '_ext.py').write_text('nms = None'), ['_ext.py', 'delete']),
    (lambda site: (site / 'mmcv' / '_ext.py').mkdir(), ['_ext.py'])])  # as where a folder cannot be written
def test_operators_are_not_written_where_they_do_not_belong(change, words, site):
    change(site)
    importlib.invalidate_caches()
    before = sorted(site.rglob('*'))
    with pytest.raises(SystemExit) as ended:
        mmcv_ops.main([])
    assert all(word in str(ended.value) for word in words) and '\n' not in str(ended.value)
    assert [path for path in sorted(site.rglob('*')) if '__pycache__' not in path.parts] == before
