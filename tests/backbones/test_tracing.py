"""Tracing of networks with ``torch.jit.trace``; ``tests/test_contract_compile.py`` traces all networks."""
import warnings

import pytest
import torch
from helpers import images, largest_error, trained_model

pytestmark = pytest.mark.filterwarnings('ignore:`torch.jit.trace:DeprecationWarning')


@torch.no_grad()
def test_graph_accepts_all_batch_sizes_and_only_one_image_size():
    model, x = trained_model('ReSwin').eval(), images(40, 90, batch=1)
    with pytest.warns(UserWarning, match='traced at 40 x 90 pixels.*only images of this size.*dynamo=True'):
        graph = torch.jit.trace(model, x, check_trace=False)
    with warnings.catch_warnings():
        warnings.filterwarnings('error', 'traced at')
        torch.jit.trace(model, x, check_trace=False)  # warns only once per size
    several = images(40, 90, batch=3)
    assert largest_error(graph(several), model(several)) < 1e-5
    for shape in [(3, 90, 40), (3, 40, 96), (3, 48, 90), (3, 1, 90), (3, 40, 1), (1, 40, 90)]:
        with pytest.raises(RuntimeError, match="tensor's size at dimension"):
            graph(torch.rand(1, *shape))


@pytest.mark.filterwarnings('ignore::torch.jit.TracerWarning')
@torch.no_grad()
def test_graph_of_rest_accepts_all_sizes():
    model = trained_model('ResT').eval()
    with warnings.catch_warnings():
        warnings.filterwarnings('error', 'traced at')
        graph = torch.jit.trace(model, images(40, 90, batch=1), check_trace=False)
    x = images(70, 50, batch=2)
    assert largest_error(graph(x), model(x)) < 1e-5
