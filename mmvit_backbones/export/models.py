"""Exports whole models: ONNX, ``torch.export`` and AOTInductor."""
import json
from os import PathLike
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch._inductor.exc import InductorError
from torch.export import Dim
from torch.export.pt2_archive._package import package_pt2
from torchvision.ops import box_iou

from ..errors import UsageError
from ..inference.load import DETAILS, as_tuple
from .networks import EXAMPLE_SIZE, ignore_deprecations, save, to_onnx
from .parts import Parts

FORMATS = 'onnx', 'pt2', 'aoti'
# Weights become constants, which oneDNN packs: on one thread half the time.
INDUCTOR_OPTIONS = dict(freezing=True)


@torch.no_grad()
def export_model(parts: Parts, path: str | PathLike, file_format: str, task: str, classes: list[str],
                 example: np.ndarray | None = None) -> None:
    """Exports a model with its task and class names.

    Args:
        path (str | PathLike): ``.onnx`` for ONNX, ``.pt2`` for the others.
        file_format (str): One of ``FORMATS``.
        example (np.ndarray | None): Image ``(height, width, 3)`` with detections. Defaults to None: noise.

    Raises:
        UsageError: If the suffix does not match the format, the format needs preprocessing inside, or
            AOTInductor cannot compile the model.
    """
    check_path(path, file_format)
    if file_format != 'onnx' and parts.preprocess is None:
        raise UsageError(f'parts.preprocess may be missing for onnx alone; {file_format} has it as a part of its own')
    if example is None:
        example = np.random.randint(256, size=(*EXAMPLE_SIZE, 3), dtype=np.uint8)
    image = torch.from_numpy(example) if parts.preprocess else torch.rand(1, 3, *EXAMPLE_SIZE)
    details = json.dumps(dict(task=task, classes=classes, outputs=parts.outputs))
    examples = examples_of(parts, image)
    if file_format == 'onnx':
        program = join({name: to_onnx(*example) for name, example in examples.items()})
        program.model.metadata_props[DETAILS] = details
        save(program, path)
        return
    with ignore_deprecations():
        programs = {name: torch.export.export(module, inputs, dynamic_shapes=shapes, strict=False)
                    for name, (module, inputs, shapes, *_) in examples.items()}
        if file_format == 'pt2':
            package_pt2(str(path), exported_programs=programs, extra_files={DETAILS: details})
            return
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


def examples_of(parts: Parts, image: Tensor) -> dict[str, tuple]:
    """Returns for each part: module, example inputs, their dynamic shapes, and names of inputs and outputs."""
    free = {2: Dim.DYNAMIC, 3: Dim.DYNAMIC}
    image_name, image_free = ('image', {0: Dim.DYNAMIC, 1: Dim.DYNAMIC}) if parts.preprocess else ('images', free)
    result, images = {}, image
    if parts.preprocess:
        result['preprocess'] = parts.preprocess, (image, ), (image_free, ), ['image'], ['images']
        images = parts.preprocess(image)
    maps = as_tuple(parts.network(images))
    names = [f'map{index}' for index in range(len(maps))]
    result['network'] = parts.network, (images, ), (None if parts.is_static else free, ), ['images'], names
    shapes = image_free, tuple(free if value.ndim == 4 and not parts.is_static else None for value in maps)
    result['postprocess'] = parts.postprocess, (image, *maps), shapes, [image_name, *names], parts.outputs
    return result


def join(programs: dict[str, torch.onnx.ONNXProgram]) -> torch.onnx.ONNXProgram:
    """Joins parts to one graph. Inputs take the values of that name in earlier parts. Nodes are named ``PART/NAME``."""
    first, *others = programs.values()
    for part, program in programs.items():
        graph = program.model.graph
        inner = [value for node in graph.all_nodes() for value in node.outputs if not value.is_graph_output()]
        for named in *graph.all_nodes(), *inner, *graph.initializers.values():
            named.name = f'{part}/{named.name}'
    whole = first.model.graph
    known = {value.name: value for value in (*whole.inputs, *whole.outputs)}
    for program in others:
        graph = program.model.graph
        for value in graph.inputs:
            value.replace_all_uses_with(known[value.name])
        outputs, nodes, weights = list(graph.outputs), list(graph), list(graph.initializers.values())
        graph.outputs.clear(), graph.initializers.clear(), graph.remove(nodes)
        whole.extend(nodes)
        for value in weights:
            whole.register_initializer(value)
        whole.outputs[:] = outputs
        known.update({value.name: value for value in outputs})
    return first


def compare(expected: dict[str, np.ndarray], actual: dict[str, np.ndarray]) -> dict[str, float]:
    """Compares two predictions of one image.

    For a classifier, the largest difference of ``scores``; for a segmenter, the fraction of equal ``pixels``; for a
    detector, over pairs of instances of a class whose boxes overlap most, the fraction with a pair with IoU from
    0.99 on (``matched``), the largest difference of ``scores``, and the smallest IoU of ``boxes`` and ``masks``.
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
    """Returns whether figures of :func:`compare` show the same model up to rounding."""
    at_least = dict(pixels=0.999, matched=0.99, boxes=0.99, masks=0.99)
    return figures.get('scores', 0) <= 1e-3 and all(figures.get(name, 1) >= least for name, least in at_least.items())
