"""Converts modules to ONNX graphs."""
import math
import operator
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from os import PathLike
from typing import Any

import torch
from torch import Tensor, nn

from ..utils.file_access import replaced_when_complete

OPSET = 18
COMPANIONS = ('.data', )  # suffixes, after that of a file, of the files beside it
EXAMPLE_SIZE = 474, 698  # height and width in pixels; all networks pad such images, and all stages have several windows
CHANNELS_LAST, CHANNELS_FIRST = [0, 2, 3, 1], [0, 3, 1, 2]  # permutations to and from (B, H, W, C)
AXES = dict(images=['batch', 'height', 'width'], image=['height', 'width'], logits=['batch'],
            segmentation=['batch', 'height', 'width'], labels=['instances'], boxes=['instances', 4],
            masks=['instances', 'height', 'width'])
SCORES = {True: ['batch', 'classes'], False: ['instances']}  # of classifiers, which take batches, and of detectors


def to_onnx(model: nn.Module, inputs: tuple[Tensor, ...], dynamic_shapes: tuple, takes: list[str], gives: list[str],
            opset: int = OPSET) -> torch.onnx.ONNXProgram:
    """Converts a module to an ONNX graph.

    Dynamic axes are named as in ``AXES``; those of other tensors are named ``TENSOR_0``, ``TENSOR_1`` and so on.
    """
    from onnx_ir.passes.common import CommonSubexpressionEliminationPass, RemoveUnusedNodesPass
    from onnxscript.rewriter import rewrite
    with ignore_deprecations():
        program = torch.onnx.export(
            model.eval(), inputs, dynamo=True, verbose=False, opset_version=opset, input_names=takes,
            output_names=gives, dynamic_shapes=dynamic_shapes, custom_translation_table=translations(),
            optimize=False)
    if program is None:
        raise RuntimeError('torch.onnx.export returned no program')
    # The time of the other simplifications grows with the square of the number of nodes. For RegionViT-S, merging equal
    # nodes first takes 18 instead of 52 s.
    CommonSubexpressionEliminationPass()(program.model)
    program.optimize()
    rewrite(program.model, sum_rules())
    RemoveUnusedNodesPass()(program.model)
    graph = program.model.graph
    # The exporter gives the same name to dimensions that are equal in the example. ONNX Runtime would then
    # share memory between values whose sizes differ for other images.
    for node in graph:
        for value in node.outputs:
            if not value.is_graph_output():
                value.shape = None
    for value in (*graph.inputs, *graph.outputs):
        if value.shape is None:
            continue
        names = axes_of(str(value.name), value.shape.rank() > 1)
        free = [axis for axis, length in enumerate(value.shape) if not isinstance(length, int)]
        for axis, name in zip(free, names):
            value.shape[axis] = name
    return program


def axes_of(name: str, is_batch: bool) -> list:
    """Returns the names of a tensor's dynamic axes, in order."""
    if name == 'scores':
        return SCORES[is_batch]
    return AXES.get(name, [f'{name}_{axis}' for axis in range(4)])


def sum_rules() -> list:
    """Returns rewrites of sums, which OpenVINO would compute in the layout of the convolution before."""
    from onnxscript.rewriter.pattern import RewriteRule

    def sum_of_transposed(op: Any, x: Any, y: Any) -> Any:
        return op.Add(op.Transpose(x, perm=CHANNELS_LAST), op.Transpose(y, perm=CHANNELS_LAST))

    def transposed_sum(op: Any, x: Any, y: Any) -> Any:
        return op.Transpose(op.Add(x, y), perm=CHANNELS_LAST)

    def transposed_back(op: Any, x: Any) -> Any:
        return op.Transpose(op.Transpose(x, perm=CHANNELS_LAST), perm=CHANNELS_FIRST)

    def sum_of_tokens(op: Any, x: Any, y: Any) -> Any:
        shape = op.Constant(value_ints=[0, -1, x.shape[3]])
        return op.Reshape(op.Add(op.Reshape(x, shape), op.Reshape(y, shape)), op.Shape(x))

    return [
        # A depthwise convolution whose output is added to its input keeps the layout of its maps. In OpenVINO,
        # ViTAEv2-VSA-S takes 0.89 times as long.
        RewriteRule(sum_of_transposed, transposed_sum, have_equal_shapes, remove_nodes=False),
        RewriteRule(transposed_back, lambda op, x: op.Identity(x), remove_nodes=False),
        # In a sum of four dimensions with the output of a convolution, OpenVINO would transpose the other summand, and
        # the sum back. Tokens (B, H * W, C) take 0.89 to 0.98 times as long in ResT, ResTv2, ViTAEv2 and ViTAEv2-VSA.
        RewriteRule(lambda op, x, y: op.Add(x, y), sum_of_tokens, are_channels_last)]


def have_equal_shapes(context: Any, x: Any, y: Any) -> bool:
    return x.shape is not None and x.shape == y.shape


def are_channels_last(context: Any, x: Any, y: Any) -> bool:
    """Returns whether equal maps ``(B, H, W, C)`` are added, one of which was transposed, or is of a linear layer."""
    return have_equal_shapes(context, x, y) and x.shape.rank() == 4 and any(map(is_channels_last, (x, y)))


def is_channels_last(value: Any) -> bool:
    node = value.producer()
    if node is None:
        return False
    if node.op_type == 'Transpose':
        return list(node.attributes['perm'].as_ints()) == CHANNELS_LAST
    if node.op_type == 'MatMul':
        return node.inputs[1].is_initializer()
    return node.op_type == 'Add' and any(map(is_channels_last, node.inputs))


def save(program: torch.onnx.ONNXProgram, path: str | PathLike) -> None:
    """Saves a graph; weights of more than 1.5 GB are written to ``PATH.data``. Old files are replaced when it ends.

    The file has the IR version that belongs to its opset, so that every runtime that supports the opset reads it.
    """
    from onnx.helper import find_min_ir_version_for, make_opsetid
    opsets = [make_opsetid(*each) for each in program.model.opset_imports.items()]
    program.model.ir_version = find_min_ir_version_for(opsets, ignore_unknown=True)
    with replaced_when_complete(path, companions=COMPANIONS) as whole:
        program.save(whole)


@contextmanager
def ignore_deprecations() -> Iterator[None]:
    """Ignores deprecation warnings from torch's pytrees and torchvision's non-maximum suppression."""
    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', '.*LeafSpec|.create_unbacked_symint. is deprecated', FutureWarning)
        yield


def translations() -> dict:
    """Returns ONNX translations of operations that are faster than torch's, or mend a fault of a runtime."""
    import onnxscript
    op = getattr(onnxscript, f'opset{OPSET}')

    def gelu(x: Any, approximate: str = 'none') -> Any:
        half, one, root = (op.CastLike(value, x) for value in (0.5, 1., 2**0.5))
        if approximate == 'tanh':
            cubic = op.Mul(op.Mul(op.Mul(x, x), x), op.CastLike(0.044715, x))
            normal = op.Tanh(op.Mul(op.Add(x, cubic), op.CastLike((2 / math.pi)**0.5, x)))
        else:
            normal = op.Erf(op.Div(x, root))
        return op.Mul(op.Mul(x, op.Add(normal, one)), half)

    def layer_norm(x: Any, shape: Sequence[int], weight: Any = None, bias: Any = None, eps: float = 1e-5,
                   cudnn_enable: bool = True) -> Any:
        axis = -len(shape)
        scale = op.Expand(op.CastLike(1., x), op.Shape(x, start=axis)) if weight is None else weight
        is_map = axis == -1 and len(x.shape) > 3
        tokens = op.Reshape(x, [0, -1, shape[0]]) if is_map else x
        tokens, _, _ = op.LayerNormalization(tokens, scale, bias, axis=axis, epsilon=eps)
        return op.Reshape(tokens, op.Shape(x)) if is_map else tokens

    def attention(q: Any, k: Any, v: Any, attn_mask: Any = None, dropout_p: float = 0., is_causal: bool = False,
                  scale: float | None = None, enable_gqa: bool = False) -> Any:
        if is_causal or enable_gqa or attn_mask is not None and attn_mask.dtype != q.dtype:
            raise NotImplementedError('scaled_dot_product_attention: only float masks can be exported')
        is_free = attn_mask is None and len(q.shape) == 4 and not isinstance(k.shape[2], int)
        q = op.Mul(q, op.CastLike(q.shape[-1]**-0.5 if scale is None else scale, q))
        axes = list(range(len(k.shape) + is_free))
        if is_free:
            q, k, v = (op.Unsqueeze(x, [1]) for x in (q, k, v))
        logits = op.MatMul(q, op.Transpose(k, perm=[*axes[:-2], axes[-1], axes[-2]]))
        weights = op.Softmax(logits if attn_mask is None else op.Add(logits, attn_mask), axis=-1)
        return op.Squeeze(op.MatMul(weights, v), [1]) if is_free else op.MatMul(weights, v)

    return {
        # OpenVINO 2026.4 fuses attention with four dimensions, and its results are wrong after an image with a single
        # key. It does not fuse five dimensions, which take the same time.
        torch.ops.aten.scaled_dot_product_attention.default: attention,
        torch.ops.aten.gelu.default: gelu,  # ONNX Runtime fuses GELU only in this form: 0.96 to 0.97 times
        # OpenVINO 2026.4 transposes channels-last maps around a LayerNorm with four dimensions (0.90 to 0.98 times as
        # long without), and does not compile that of ViTAEv2-S with AVX-512.
        torch.ops.aten.layer_norm.default: layer_norm,
        # torch's upper bounds of sizes may exceed int64.
        operator.le: lambda a, b: op.LessOrEqual(a, min(b, 2**63 - 1) if isinstance(b, int) else b),
    }
