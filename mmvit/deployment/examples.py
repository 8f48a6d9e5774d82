"""Example inputs of the parts of a model, and their graphs joined into one."""
from typing import Any

import torch
from torch import Tensor
from torch.export import Dim

from mmvit_backbones.export.graphs import EXAMPLE_SIZE
from mmvit_backbones.ops.sizes import to_multiple

from .parts import Parts
from .preprocess import as_tuple

LARGEST_HEIGHT = 2 * EXAMPLE_SIZE[0]  # of example images: the maps of a stride of 512 pixels have two rows


def examples_of(parts: Parts) -> dict[str, dict[str, Any]]:
    """Returns the arguments of :func:`.to_onnx` for ``preprocess``, ``network`` and ``postprocess`` by name."""
    is_batch = parts.takes == 'images'
    batch = {0: Dim.DYNAMIC} if is_batch else {}
    free = batch if parts.size else {**batch, 2: Dim.DYNAMIC, 3: Dim.DYNAMIC}
    image = torch.randint(256, (*[2] * is_batch, *EXAMPLE_SIZE, 3), dtype=torch.uint8)
    image_free = {axis: Dim.DYNAMIC for axis in range(2 + is_batch)}
    pixels = input_of_network(parts)
    maps = as_tuple(parts.network(pixels))
    names = [f'map{index}' for index in range(len(maps))]
    shapes = image_free, tuple((free if value.ndim == 4 else batch) or None for value in maps)
    return dict(
        preprocess=dict(model=parts.preprocess, inputs=(image, ), dynamic_shapes=(image_free, ), takes=[parts.takes],
                        gives=['pixels']),
        network=dict(model=parts.network, inputs=(pixels, ), dynamic_shapes=(free or None, ), takes=['pixels'],
                     gives=names),
        postprocess=dict(model=parts.postprocess, inputs=(image, *maps), dynamic_shapes=shapes,
                         takes=[parts.takes, *names], gives=parts.outputs))


def input_of_network(parts: Parts) -> Tensor:
    """Returns images, of which no size that may vary becomes a constant in the graph of the network or of its maps.

    torch.export takes axes of length 1 as constants, so it is given two images, and maps of several rows and columns.
    """
    batch = 2 if parts.takes == 'images' else 1
    if parts.size:
        return torch.rand(batch, 3, *parts.size)
    height, width = (to_multiple(side, parts.preprocess.geometry.divisor) for side in EXAMPLE_SIZE)
    while True:
        images = torch.rand(batch, 3, height, width)
        shortest = min((side for value in as_tuple(parts.network(images)) for side in value.shape[2:]), default=2)
        if shortest > 1 or height >= LARGEST_HEIGHT:
            return images
        height, width = 2 * height, 2 * width


def join(programs: dict[str, torch.onnx.ONNXProgram]) -> torch.onnx.ONNXProgram:
    """Joins the graphs of parts into one graph, whose nodes are named ``PART/NAME``.

    Each input is connected to the value of the same name: an input of the first part, or an output of an earlier part.
    """
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
        graph.outputs.clear()
        graph.initializers.clear()
        graph.remove(nodes)
        whole.extend(nodes)
        for value in weights:
            whole.register_initializer(value)
        whole.outputs[:] = outputs
        known.update({value.name: value for value in outputs})
    return first
