"""Shows the predictions of a model on a web page, with Gradio.

    mmvit serve CHECKPOINT
    mmvit serve model.onnx

Only this machine can open the page, unless --host is given.
"""
from argparse import ArgumentParser, Namespace

from ..utils.limits import Limits
from .arguments import add_runtime_arguments, given_to, new_parser
from .docstrings import with_help


def get_parser() -> ArgumentParser:
    parser = new_parser(__doc__)
    parser.add_argument('model', metavar='MODEL')
    parser.add_argument('--config')
    parser.add_argument('--host', default='127.0.0.1')
    parser.add_argument('--port', type=Limits(1, 65535), default=7860)
    parser.add_argument('--device')
    add_runtime_arguments(parser)
    return with_help(parser, 'inference.serving.serve')


def run(args: Namespace) -> None:
    from ..inference.serving import serve
    serve(**given_to(serve, args))
