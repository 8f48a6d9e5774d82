"""Resolves what a person names: a text has one meaning, the first that fits, whatever command it is passed to.

Imports neither torch nor MMEngine before a text is resolved.
"""
import os.path as osp

# What a text may name, in the order in which it is resolved.
KINDS = dict(
    exported='an exported file', network='a network', config='a config', run='the work dir of a training',
    checkpoint='a checkpoint')
# Command or option -> what it takes.
TAKES = dict(
    train=('network', 'config', 'run'), test=('run', 'checkpoint', 'exported', 'config', 'network'),
    predict=('run', 'checkpoint', 'exported', 'config'), export=('run', 'checkpoint'), config=('config', 'run'),
    benchmark=('network', 'config', 'run'), flops=('network', 'run', 'checkpoint'), draw=('network', 'run'),
    **{'weights convert': ('network', 'run', 'checkpoint')})
OF_PACKAGE = 'test', 'flops', 'draw', 'weights convert'  # commands that take this package's networks alone
ARGUMENTS = {('export', 'config'): 'config'}  # command and kind -> its argument for what it does not take by name
EXPORTED_SUFFIX = '.onnx'
OTHERS = 'resnet50', 'timm:'  # networks of other libraries: a name, and how names begin


def list_kinds(command: str) -> str:
    """Returns what a command or an option takes, for messages and help."""
    *others, last = (KINDS[kind] for kind in TAKES[command])
    return f'{", ".join(others)} or {last}'


def kind_of(text: str) -> str:
    """Returns the kind of what a text names, one of :data:`KINDS`, or ''.

    A name of a network or a config means that, even where a file or a folder has the same name (:func:`path_hint`).
    Paths and URLs that are nothing else are checkpoints, also where there is no such file.
    """
    from mmvit_backbones.zoo.variants import VARIANTS

    from .configs.files import is_config
    if text.lower().endswith(EXPORTED_SUFFIX):
        return 'exported'
    if text in VARIANTS or text == OTHERS[0] or text.startswith(OTHERS[1]):
        return 'network'
    if is_config(text):
        return 'config'
    if osp.isdir(text):
        return 'run'
    return 'checkpoint' if '://' in text or osp.splitext(text)[1] or osp.dirname(text) or osp.isfile(text) else ''


def resolve(text: str, command: str) -> str:
    """Returns the kind of what a text names (:func:`kind_of`).

    Args:
        text (str): Name, path or URL.
        command (str): Command or option that it was passed to, one of :data:`TAKES`.

    Raises:
        UsageError: If the command does not take what the text names.
    """
    from mmvit_backbones.errors import UsageError
    from mmvit_backbones.utils.messages import near_names
    from mmvit_backbones.zoo.variants import VARIANTS

    from .configs.files import named_configs
    kind = kind_of(text)
    if kind == 'network' and text not in VARIANTS and command in OF_PACKAGE:
        raise UsageError(f'{command} takes networks of this package alone, got {text}, one of another library; '
                         f'available networks: {", ".join(VARIANTS)}')
    if kind in TAKES[command]:
        return kind
    known = dict(network=VARIANTS, config=named_configs())
    near = [near_names(text, known[each], f'{each}s') for each in TAKES[command] if each in known]
    meaning = f'{KINDS[kind]}{path_hint(text)}' if kind else f'none of them{"".join(near)}'
    argument = ARGUMENTS.get((command, kind))
    remedy = f': pass it as {argument}={text} (--{argument} {text})' if argument else ''
    raise UsageError(f'{command} takes {list_kinds(command)}; got {text}, which is {meaning}{remedy}')


def path_hint(name: str) -> str:
    """Returns how to write the file or folder that has the name of a network or a config; empty if there is none."""
    if osp.dirname(name) or not osp.exists(name):
        return ''
    return f'; the {"folder" if osp.isdir(name) else "file"} of that name is {osp.join(".", name)}'
