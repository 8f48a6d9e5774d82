"""Exporters of other packages: each writes a model for one example, and returns the results of the file."""
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn


def run_in_executorch(model: nn.Module, x: Tensor, path: Path, **options) -> list[Tensor]:
    """Lowers a model with XNNPACK, and runs it."""
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower
    from executorch.runtime import Runtime
    partitioner = XnnpackPartitioner(**options)
    lowered = to_edge_transform_and_lower(torch.export.export(model, (x, )), partitioner=[partitioner])
    path.write_bytes(lowered.to_executorch().buffer)
    method = Runtime.get().load_program(path).load_method('forward')
    assert method is not None
    return [result.clone() for result in method.execute((x, ))]


def convert_to_core_ml(model: nn.Module, x: Tensor, path: Path) -> list[Tensor]:
    """Returns what PyTorch computes, because files run on Apple's devices only."""
    import coremltools
    program = torch.export.export(model, (x, )).run_decompositions({})
    coremltools.convert(program, minimum_deployment_target=coremltools.target.iOS17, skip_model_load=True)
    return as_list(model(x))


def run_in_litert(model: nn.Module, x: Tensor, path: Path) -> list[Tensor]:
    import litert_torch
    found = litert_torch.convert(model, (x, ))(x.numpy())
    return [torch.from_numpy(part) for part in (found if isinstance(found, (list, tuple)) else [found])]


def run_in_onnxruntime(model: nn.Module, x: Tensor, path: Path) -> list[Tensor]:
    """Leaves all sizes free where the model allows it."""
    import onnxruntime
    free = dict.fromkeys(range(x.ndim), torch.export.Dim.AUTO)
    torch.onnx.export(model, (x, ), path, dynamo=True, verbose=False, input_names=['x'], dynamic_shapes=(free, ))
    return list(map(torch.from_numpy, onnxruntime.InferenceSession(path).run(None, dict(x=x.numpy()))))


def as_list(result: Tensor | tuple[Tensor, ...]) -> list[Tensor]:
    return [result] if torch.is_tensor(result) else list(result)


Exporter = Callable[..., list[Tensor]]
EXPORTERS: dict[str, Exporter] = dict(executorch=run_in_executorch, coremltools=convert_to_core_ml,
                                      litert_torch=run_in_litert, onnxruntime=run_in_onnxruntime)  # by package
