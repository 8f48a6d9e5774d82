"""Whole models as files: ONNX, ``torch.export`` and AOTInductor."""
import json
import operator
from os import PathLike
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import Dim
from torchvision.ops import box_iou

from ..cli.config import UsageError
from ..export import MAX_PROTOBUF_BYTES, OPSET, ignore_deprecations, translations
from .load import DETAILS, as_tuple
from .parts import Parts

FORMATS = 'onnx', 'pt2', 'aoti'
# Weights become constants, which oneDNN packs: on one thread half the time.
INDUCTOR_OPTIONS = dict(freezing=True)
EXAMPLE_SIZE = 375, 500  # of no special ratio


@torch.no_grad()
def export_model(parts: Parts, path: str | PathLike, file_format: str, task: str, classes: list[str],
                 example: np.ndarray | None = None) -> None:
    """Writes a model.

    Args:
        parts (Parts): Of :func:`~mmvit_backbones.deploy.parts.split`.
        path (str | PathLike): ``.onnx`` for ONNX, ``.pt2`` for the others.
        file_format (str): ``onnx``, ``pt2`` or ``aoti``.
        task (str): ``classification``, ``detection`` or ``segmentation``.
        classes (list[str]): Names of the classes.
        example (np.ndarray | None): An image ``(height, width, 3)`` in which something is found; by default noise.

    Raises:
        UsageError: If the suffix is another than the format's, preprocessing is missing where it must be inside, or
            AOTInductor cannot compile the model.
    """
    check_path(path, file_format)
    if file_format != 'onnx' and parts.preprocess is None:
        raise UsageError(f'--preprocessing outside is for onnx; {file_format} has it as a part of its own')
    image = torch.from_numpy(example) if example is not None else \
        torch.randint(256, (*EXAMPLE_SIZE, 3), dtype=torch.uint8)
    if parts.preprocess is None:
        image = torch.rand(1, 3, *EXAMPLE_SIZE)
    details = json.dumps(dict(task=task, classes=classes, outputs=parts.outputs))
    with ignore_deprecations():
        write(examples_of(parts, image), parts.outputs, path, file_format, details)


def write(examples: dict, outputs: list[str], path: str | PathLike, file_format: str, details: str) -> None:
    if file_format == 'onnx':
        write_onnx(examples, outputs, path, details)
        return
    programs = {name: torch.export.export(module, inputs, dynamic_shapes=shapes, strict=False)
                for name, (module, inputs, shapes) in examples.items()}
    from torch.export.pt2_archive._package import package_pt2
    if file_format == 'pt2':
        package_pt2(str(path), exported_programs=programs, extra_files={DETAILS: details})
        return
    from torch._inductor.exc import InductorError
    try:
        files = {name: torch._inductor.aot_compile(
            program.module(check_guards=False), program.example_inputs[0],
            options={'aot_inductor.package': True, **INDUCTOR_OPTIONS})
            for name, program in programs.items()}
    except InductorError as error:
        raise UsageError(f'AOTInductor cannot compile this model: {error}') from error
    package_pt2(str(path), aoti_files=files, extra_files={DETAILS: details})


def check_path(path: str | PathLike, file_format: str) -> None:
    suffix = '.onnx' if file_format == 'onnx' else '.pt2'
    if Path(path).suffix != suffix:
        raise UsageError(f'the name of a file in format {file_format} ends in {suffix}, got {path}')
    if not Path(path).absolute().parent.is_dir():
        raise UsageError(f'folder {Path(path).absolute().parent} does not exist')


def examples_of(parts: Parts, image: Tensor) -> dict[str, tuple[nn.Module, tuple[Tensor, ...], tuple]]:
    """By part: the module, example inputs, and which of their dimensions are free."""
    free = {2: Dim.DYNAMIC, 3: Dim.DYNAMIC}
    image_free = {0: Dim.DYNAMIC, 1: Dim.DYNAMIC} if parts.preprocess else free
    result, images = {}, image
    if parts.preprocess is not None:
        result['preprocess'] = parts.preprocess, (image, ), (image_free, )
        images = parts.preprocess(image)
    result['network'] = parts.network, (images, ), (None if parts.is_static else free, )
    maps = as_tuple(parts.network(images))
    is_map = [value.ndim == 4 and not parts.is_static for value in maps]
    result['postprocess'] = AnyNumber(parts.postprocess), (image, *maps), (
        (image_free, *(free if is_free else None for is_free in is_map)), )
    return result


class AnyNumber(nn.Module):
    """A module with ``*inputs``, whatever it calls them."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        return self.module(*inputs)


# ---- ONNX


def write_onnx(examples: dict, outputs: list[str], path: str | PathLike, details: str) -> None:
    import onnx
    names = dict(preprocess=(['image'], ['images']), network=(['images'], None), postprocess=(None, outputs))
    if 'preprocess' not in examples:
        names['postprocess'] = None, outputs
    source = 'image' if 'preprocess' in examples else 'images'
    whole = None
    for part, (module, inputs, shapes) in examples.items():
        takes, gives = names[part]
        if part == 'network':
            gives = [f'map{index}' for index in range(len(examples['postprocess'][1]) - 1)]
        elif part == 'postprocess':
            takes = [source, *(f'map{index}' for index in range(len(inputs) - 1))]
        proto = export_part(module, inputs, shapes, takes, gives)
        prefix_names(proto.graph, part, {*takes, *gives})
        if whole is None:
            whole = proto
            continue
        whole.graph.node.extend(proto.graph.node)
        whole.graph.initializer.extend(proto.graph.initializer)
        known = {opset.domain for opset in whole.opset_import}
        whole.opset_import.extend(opset for opset in proto.opset_import if opset.domain not in known)
        whole.functions.extend(proto.functions)
        del whole.graph.output[:]
        whole.graph.output.extend(proto.graph.output)
    del whole.graph.value_info[:]  # sizes that were equal for the example would share memory
    name_dimensions(whole.graph)
    onnx.helper.set_model_props(whole, {DETAILS: details})
    Path(f'{path}.data').unlink(missing_ok=True)  # of an earlier export
    onnx.save(whole, str(path), save_as_external_data=whole.ByteSize() > MAX_PROTOBUF_BYTES,
              location=f'{Path(path).name}.data')
    onnx.checker.check_model(str(path))


def export_part(module: nn.Module, inputs: tuple, shapes: tuple, takes: list[str], gives: list[str]):
    with ignore_deprecations():
        program = torch.onnx.export(
            module.eval(), inputs, dynamo=True, verbose=False, opset_version=OPSET, input_names=takes,
            output_names=gives, dynamic_shapes=shapes,
            custom_translation_table={**translations(), operator.le: at_most})
    return program.model_proto


def at_most(a, b):
    """``a <= b`` of sizes, whose upper bounds may exceed what ONNX's integers hold."""
    from onnxscript import opset18 as op
    return op.LessOrEqual(a, min(b, 2**63 - 1) if isinstance(b, int) else b)


def prefix_names(graph, part: str, kept: set[str]) -> None:
    """Values within a part get its name; those between parts keep theirs."""
    def renamed(name: str) -> str:
        return name if not name or name in kept else f'{part}/{name}'

    for initializer in graph.initializer:
        initializer.name = renamed(initializer.name)
    for node in graph.node:
        node.name = f'{part}/{node.name}'
        for values in (node.input, node.output):
            values[:] = [renamed(name) for name in values]
        for attribute in node.attribute:
            if attribute.HasField('g'):
                prefix_names(attribute.g, part, kept)


def name_dimensions(graph) -> None:
    names = dict(image=['height', 'width'], images=[None, None, 'height', 'width'], labels=['instances'],
                 scores=['instances'], boxes=['instances'], masks=['instances', 'height', 'width'],
                 segmentation=['height', 'width'])
    for value in (*graph.input, *graph.output):
        for dim, name in zip(value.type.tensor_type.shape.dim, names[value.name]):
            if name and not dim.HasField('dim_value'):
                dim.dim_param = name


# ---- agreement


def compare(expected: dict[str, np.ndarray], actual: dict[str, np.ndarray]) -> dict[str, float]:
    """How well two predictions of one image agree.

    Returns:
        dict[str, float]: Of a classifier the largest difference of ``scores``; of a segmenter the share of equal
        ``pixels``; of a detector, over pairs of instances with the same class and the boxes that overlap most, the
        share that has a pair with IoU from 0.99 on (``matched``), the largest difference of ``scores``, and the
        smallest IoU of ``boxes`` and ``masks``.
    """
    if 'segmentation' in expected:
        return dict(pixels=float((expected['segmentation'] == actual['segmentation']).mean()))
    if 'boxes' not in expected:
        order = [np.argsort(prediction['labels']) for prediction in (expected, actual)]
        return dict(scores=float(np.abs(expected['scores'][order[0]] - actual['scores'][order[1]]).max()))
    if len(expected['labels']) == 0 or len(actual['labels']) == 0:
        return dict(matched=float(len(expected['labels']) == len(actual['labels'])), scores=0., boxes=1., masks=1.)
    ious = box_iou(*(torch.from_numpy(found['boxes']) for found in (expected, actual))).nan_to_num().numpy()
    ious[expected['labels'][:, None] != actual['labels']] = 0
    ious -= 1e-2 * np.abs(expected['scores'][:, None] - actual['scores'])  # of boxes alike, the one with that score
    pairs = ious.argmax(1)
    found = ious.max(1) > 0.98
    result = dict(matched=float(found.mean()) * min(1., len(expected['labels']) / len(actual['labels'])),
                  scores=float(np.abs(expected['scores'] - actual['scores'][pairs])[found].max(initial=0)),
                  boxes=float(ious.max(1)[found].min(initial=1)))
    if 'masks' in expected:
        ours, theirs = expected['masks'][found], actual['masks'][pairs][found]
        union = (ours | theirs).sum((1, 2))
        result['masks'] = float(((ours & theirs).sum((1, 2)) / union.clip(1))[union > 0].min(initial=1))
    return result


def check_agreement(figures: dict[str, float]) -> bool:
    """Whether figures of :func:`compare` are those of the same model, but for rounding."""
    at_least = dict(pixels=0.999, matched=0.99, boxes=0.99, masks=0.99)
    return figures.get('scores', 0) <= 1e-3 and all(figures.get(name, 1) >= least for name, least in at_least.items())
