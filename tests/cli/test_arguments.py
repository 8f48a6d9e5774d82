"""Arguments and config options are checked before a subcommand starts its work."""
import subprocess
import sys

import pytest
from helpers import ROOT
from runs import TINY
from subcommands import parser_of

from mmvit.cli import SUBCOMMANDS
from mmvit.cli.docstrings import arguments_of


@pytest.mark.parametrize('subcommand, options, expected', [
    ('train', ['--seed', '4294967295', '--freeze', '0', '--epochs', '999999999', '--processes', '1024'],
     dict(seed=2**32 - 1, freeze=0, epochs=10**9 - 1, processes=1024)),
    ('train', ['--batch-size', '1', '--lr', '1e-9', '--val-fraction', '0.1', '--iters', '1', '--early-stop', '1'],
     dict(batch_size=1, lr=1e-9, val_fraction=.1, iters=1, early_stop=1)),
    ('test', ['--wait-time', '0'], dict(wait_time=0)), ('flops', ['--size', '16384', '1'], dict(size=[16384, 1])),
    ('predict', ['--score-thr', '1'], dict(score_thr=1)), ('predict', ['--score-thr', '0'], dict(score_thr=0)),
    ('benchmark', ['--threads', '1024'], dict(threads=1024)),
    ('train', ['--size', '64'], dict(size=[64]))])
def test_the_smallest_and_largest_allowed_values_are_accepted(subcommand, options, expected):
    args = vars(parser_of(subcommand).parse_args(['x', *options]))
    assert {name: args[name] for name in expected} == expected


@pytest.mark.parametrize('subcommand, option, value, allowed', [
    ('train', '--seed', '4294967296', 'from 0 to 4294967295'), ('train', '--epochs', '1000000000', 'to 999999999'),
    ('train', '--epochs', '1.5', "'1.5' is not an integer"), ('train', '--lr', '0', 'above 0'),
    ('train', '--lr', 'x', "'x' is not"), ('train', '--lr', 'nan', 'finite'),
    ('test', '--out', '', "'' is not a folder"), ('train', '--work-dir', f'{TINY}/work', 'is not a folder'),
    ('train', '--val-fraction', '1', 'above 0 and below 1'),
    ('test', '--wait-time', '-0.1', 'from 0 to inf'), ('predict', '--score-thr', '1.01', 'from 0 to 1'),
    ('train', '--processes', '1025', 'from 1 to 1024'),
    ('train', '--freeze', 'most', 'or all'), ('flops', '--size 1', '0', 'from 1 to 16384'),
    ('train', '--resume --processes 1 --launcher', 'pytorch', 'not allowed with argument --processes'),
    ('train', '--amp', '--no-amp', 'not allowed with argument --amp'),
    ('train', '--no-pretrained', '--pretrained=22k', 'not allowed with argument --no-pretrained'),
    ('train', '--epochs 1 --iters', '1', 'not allowed with argument --epochs'),
    ('train', '--class-folder a --coco-folder', 'b', 'not allowed with argument --class-folder')])
def test_messages_state_the_allowed_values(subcommand, option, value, allowed, capsys):
    with pytest.raises(SystemExit):
        parser_of(subcommand).parse_args(['x', *(['y'] if subcommand != 'train' else []), *option.split(), value])
    assert allowed in capsys.readouterr().err.splitlines()[-1]


def test_checking_an_output_file_does_not_create_it(tmp_path):
    parse = parser_of('draw attention').parse_args
    old = tmp_path / 'old.png'
    old.write_text('old')
    words = 'image.jpg', '--network', 'swin_vsa_tiny', '--out'
    assert parse([*words, str(tmp_path / 'a/b/new.png')]).out == str(tmp_path / 'a/b/new.png')
    assert parse([*words, str(old)]).out == str(old) and old.read_text() == 'old'
    assert not list((tmp_path / 'a/b').iterdir())
    for path in old / 'x.png', tmp_path / 'x.doc':
        with pytest.raises(SystemExit):
            parse([*words, str(path)])


@pytest.mark.parametrize('pairs', ['a', 'a=(1,2', 'a=[1]]', 'a=[(1,2]', 'a=1 b'])
def test_config_options_that_cannot_be_parsed(pairs, capsys):
    """Whatever MMEngine's parser raises is one line with the allowed form."""
    for subcommand in 'train', 'test':
        with pytest.raises(SystemExit) as ended:
            parser_of(subcommand).parse_args(['x', '--cfg-options', *pairs.split()])
        assert ended.value.code == 2
        error = capsys.readouterr().err
        assert 'Traceback' not in error and '--cfg-options' in error.splitlines()[-1] and 'KEY=VALUE' in error


def test_arguments_are_parsed_before_torch_is_imported():
    code = """
import sys, mmvit.cli
for subcommand in mmvit.cli.SUBCOMMANDS:
    mmvit.cli.module_of(subcommand).get_parser()
assert not {'torch', 'mmengine', 'numpy', 'mmvit_backbones'} & sys.modules.keys()
"""
    subprocess.run([sys.executable, '-c', code], check=True, cwd=ROOT)


@pytest.mark.parametrize('subcommand', SUBCOMMANDS)
def test_every_argument_has_help(subcommand, capsys):
    with pytest.raises(SystemExit) as ended:  # printing fails if a text has a % that is not doubled
        parser_of(subcommand).parse_args(['--help'])
    assert not ended.value.code and '``' not in capsys.readouterr().out
    assert all(action.help for action in parser_of(subcommand)._actions)


def test_help_of_options_is_that_of_the_arguments_of_the_function():
    texts = {action.dest: action.help for action in parser_of('compare')._actions}
    assert texts['seeds'] == 'runs per network (default: 3)'
    assert texts['size'] == arguments_of('fine_tuning.FineTuning')['size']  # documented as that of fine_tune
    assert '100 epochs' in texts['epochs']


@pytest.mark.parametrize('subcommand', SUBCOMMANDS)
def test_options_cannot_be_abbreviated(subcommand):
    assert not parser_of(subcommand).allow_abbrev
