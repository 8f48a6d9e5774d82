"""Operators of mmcv in Python are those of compiled mmcv, and a command writes them into mmcv's folder."""
import importlib
import json
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import ROOT
from mmcv_cases import CASES
from torch.nn.functional import logsigmoid

pytest.importorskip('torchvision')
from mmvit_backbones.integrations import mmcv_ops  # needs torchvision


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
    inputs, starts = (value, places, weights), torch.tensor([0, 35])
    moved = places * 1.4 - 0.2  # some of them are outside
    expected = attention.multi_scale_deformable_attn_pytorch(value, shapes, moved, weights)
    gradient = torch.rand_like(expected)
    arguments = [x.detach() for x in (value, shapes, starts, moved, weights)]
    actual = mmcv_ops.ms_deform_attn_forward(*arguments, im2col_step=64)
    gradients = [torch.zeros_like(x) for x in inputs]
    mmcv_ops.ms_deform_attn_backward(*arguments, gradient, *gradients, im2col_step=64)
    expected_gradients = torch.autograd.grad(expected, (value, moved, weights), gradient)
    for x, y in zip([actual, *gradients], [expected.detach(), *expected_gradients]):
        assert_equal(x, y)


@pytest.mark.parametrize('gamma, is_weighted', [(2., False), (1.5, True)])
def test_focal_losses_are_their_formulas(gamma, is_weighted):
    """Compiled mmcv has them on GPUs alone. Targets outside of the columns are background, or ignored."""
    logits = (8 * torch.rand(40, 5, dtype=torch.float64) - 4).requires_grad_()
    weight = torch.rand(5, dtype=torch.float64) if is_weighted else logits.new_empty(0)
    factors = weight if is_weighted else torch.ones(5, dtype=torch.float64)
    target = torch.arange(40) % 6  # 5 is background
    positive = torch.nn.functional.one_hot(target, 6)[:, :5] > 0
    signed = torch.where(positive, logits, -logits)
    loss = -torch.where(positive, 0.3, 0.7) * (1 - signed.sigmoid()) ** gamma * logsigmoid(signed)
    loss = loss * torch.cat([factors, torch.ones(1)])[target][:, None]
    check_loss(mmcv_ops.sigmoid_focal_loss_forward, mmcv_ops.sigmoid_focal_loss_backward, logits, logits.detach(),
               (target, weight), loss, gamma)
    target = target % 5
    ignored = torch.where(torch.arange(40) % 7 == 0, -1, target)
    p = logits.softmax(1).gather(1, target[:, None])[:, 0]
    loss = (-0.3 * (1 - p) ** gamma * p.log() * factors[target]).masked_fill(ignored < 0, 0)
    check_loss(mmcv_ops.softmax_focal_loss_forward, mmcv_ops.softmax_focal_loss_backward, logits,
               logits.detach().softmax(1), (ignored, weight), loss, gamma)


def check_loss(forward, backward, logits, inputs, targets, loss, gamma) -> None:
    output, gradient = torch.zeros_like(loss), torch.zeros_like(logits)
    forward(inputs, *targets, output, gamma=gamma, alpha=0.3)
    buffers = [torch.zeros(len(logits), dtype=logits.dtype)] if loss.dim() == 1 else []
    backward(inputs, *targets, *buffers, gradient, gamma=gamma, alpha=0.3)
    torch.testing.assert_close(output, loss.detach(), check_dtype=False)
    torch.testing.assert_close(gradient, torch.autograd.grad(loss.sum(), logits)[0])


def test_what_cannot_be_computed_raises():
    with pytest.raises(NotImplementedError, match='sync_bn_forward_mean'):
        mmcv_ops.sync_bn_forward_mean(torch.zeros(1))
    x, rois = torch.zeros(1, 1, 4, 4), torch.tensor([[0., 3, 3, 1, 1]])
    settings = dict(aligned_height=1, aligned_width=1, spatial_scale=1., sampling_ratio=0, aligned=True)
    for mode, message in (0, 'max'), (1, 'negative'):
        with pytest.raises(RuntimeError, match=message):
            mmcv_ops.roi_align_forward(x, rois, torch.zeros(1, 1, 1, 1), x, x, pool_mode=mode, **settings)
    with pytest.raises(RuntimeError, match='Half'):  # as compiled mmcv, also under autocast
        mmcv_ops.nms(torch.rand(2, 4).half(), torch.rand(2).half(), iou_threshold=0.5, offset=0)


@pytest.fixture
def site(tmp_path, monkeypatch):
    """Returns a folder of site-packages with the installed mmcv, but without its operators."""
    package = Path(str(pytest.importorskip('mmcv').__file__)).parent
    shutil.copytree(package, tmp_path / 'mmcv', ignore=shutil.ignore_patterns('_ext*', '__pycache__'))
    for info in package.parent.glob('*mmcv*.dist-info'):
        if not info.name.startswith('mmvit'):
            shutil.copytree(info, tmp_path / info.name)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv('PYTHONPATH', str(tmp_path))
    monkeypatch.delitem(sys.modules, 'mmcv')
    return tmp_path


def python(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, encoding='utf-8', cwd=ROOT)


@pytest.mark.workflow
def test_the_command_makes_mmcv_work(site):
    """Models of mmcv run and are pickled without this package; pip lists and removes the operators."""
    command = '-m', 'mmvit_backbones.integrations.mmcv_ops'
    for _ in range(2):
        result = python(*command)
        assert result.returncode == 0 and str(site / 'mmcv' / '_ext.py') in result.stdout, result.stderr
    program = f"""
import sys
sys.modules['mmvit_backbones'] = None
import copy, pickle, torch, mmcv, mmcv.ops
assert mmcv.__file__.startswith({str(site)!r}) and mmcv.ops.get_compiling_cuda_version() == 'not available'
layer = pickle.loads(pickle.dumps(mmcv.ops.DeformConv2dPack(2, 2, 3)))
layer(torch.rand(1, 2, 8, 8)).sum().backward()
assert pickle.loads(pickle.dumps(mmcv._ext.nms)) is mmcv._ext.nms
print(len(mmcv.ops.nms(torch.tensor([[0., 0, 4, 4], [0, 0, 4, 4]]), torch.ones(2), 0.5)[1]))
"""
    result = python('-W', 'ignore', '-c', program)
    assert result.stdout == '1\n', result.stderr
    listed = json.loads(python('-m', 'pip', 'list', '--format=json').stdout)
    assert 'mmvit-mmcv-ops' in [each['name'] for each in listed]
    shutil.rmtree(site / 'mmcv' / 'ops')
    (site / 'mmcv' / '__init__.py').unlink()  # a rest without mmcv can be removed, too
    mmcv_ops.main(['--remove'])
    assert not [*site.rglob('_ext*')] and not [*site.glob('mmvit*')]


def add_compiled(site: Path) -> None:
    (site / 'mmcv' / f'_ext{importlib.machinery.EXTENSION_SUFFIXES[0]}').touch()


def add_distribution(site: Path) -> None:
    info = site / 'mmcv_lite-2.1.0.dist-info'
    info.mkdir()
    (info / 'METADATA').write_text('Metadata-Version: 2.1\nName: mmcv-lite\nVersion: 2.1.0\n')
    (info / 'top_level.txt').write_text('mmcv\n')


def take_away_distributions(site: Path) -> None:
    for info in site.glob('*.dist-info'):
        shutil.rmtree(info)


@pytest.mark.parametrize('change, words', [
    (add_compiled, ['compiled']), (add_distribution, ['mmcv-lite', 'pip uninstall']),
    (take_away_distributions, ['checkout', '--force']),
    (lambda site: (site / 'mmcv' / '_ext.py').write_text('nms = None'), ['_ext.py', '--force'])])
def test_operators_are_not_written_where_they_do_not_belong(change, words, site):
    change(site)
    importlib.invalidate_caches()
    before = sorted(site.rglob('*'))
    with pytest.raises(SystemExit) as ended:
        mmcv_ops.main([])
    assert all(word in str(ended.value) for word in words) and '\n' not in str(ended.value)
    assert [path for path in sorted(site.rglob('*')) if '__pycache__' not in path.parts] == before


def test_a_folder_that_cannot_be_written_is_one_line(site):
    (site / 'mmcv' / '_ext.py').mkdir()
    with pytest.raises(SystemExit, match=r'error: .*_ext\.py'):
        mmcv_ops.main(['--force'])
