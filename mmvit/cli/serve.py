"""Shows the predictions of models on a web page, with Gradio.

    mmvit serve CHECKPOINT
    mmvit serve model.onnx
    mmvit serve FIRST SECOND --name Large Small    # side by side

Only this machine can open the page, unless --host is given.
"""
from argparse import ArgumentParser, Namespace

from .arguments import add_runtime_arguments, new_parser, whole


def get_parser() -> ArgumentParser:
    parser = new_parser(__doc__)
    parser.add_argument('models', nargs='+', metavar='MODEL',
                        help='training checkpoint, or a file written by mmvit export')
    parser.add_argument('--config', nargs='+', default=[],
                        help='one config file or name per model, in the same order (default: the configs in their work '
                             'dirs)')
    parser.add_argument('--name', nargs='+', default=[],
                        help='one name per model, in the same order (default: work dir and file, e.g. cats/a.pth)')
    parser.add_argument('--examples', metavar='FOLDER',
                        help='folder of example images for the page (default: a folder in data/ for the task)')
    parser.add_argument('--host', default='127.0.0.1',
                        help='address to listen on; 0.0.0.0 accepts clients from all machines, without a password '
                             '(default: %(default)s)')
    parser.add_argument('--port', type=whole(1, 65535), default=7860, help='port to listen on (default: %(default)s)')
    parser.add_argument('--device', help='e.g. cpu or cuda:1 (default: a GPU if there is one)')
    add_runtime_arguments(parser)
    return parser


def run(args: Namespace) -> None:
    from ..analysis import serve
    serve(args.models, host=args.host, port=args.port, configs=args.config, names=args.name, examples=args.examples,
          device=args.device, runtime=args.runtime, precision=args.precision)
