"""Checks that no subcommand prints a traceback or hangs if an option has a wrong value."""
import os

import pytest
import torch
from golden import fill_state_dict
from golden_files import NETWORKS
from runs import CONTEXT
from wrong_values import BASES, END, make_inputs, try_all

import mmvit

FACTOR = int(os.environ.get('FUZZ_FACTOR', 1))
PER_OPTION = 1  # number of wrong values per option, among those that the parser accepts
LIMIT = 600  # seconds per subcommand; long enough for a busy machine


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp('wrong')
    make_inputs(path, fill_state_dict(NETWORKS['golden_vitae_t']['state_dict'], torch.float32))
    return path


def test_every_subcommand_has_valid_arguments():
    assert BASES.keys() == mmvit.VERBS.keys()


@pytest.mark.parametrize('verb', BASES)
def test_wrong_values_cause_no_traceback(verb, folder, tmp_path):
    log = tmp_path / 'log'
    log.touch()
    process = CONTEXT.Process(target=try_all, args=(verb, str(folder), str(log), PER_OPTION * FACTOR))
    process.start()
    process.join(LIMIT)
    if process.exitcode is None:
        process.kill()
        process.join()
    text = log.read_text()
    sections = text.split('==== ')
    failed = [section[:3000] for section in sections if 'Traceback' in section]
    assert not failed, f'{len(failed)} of {len(sections) - 1} calls failed:\n' + '\n'.join(failed[:3])
    assert process.exitcode == 0 and text.endswith(f'{END}\n'), f'ended with {process.exitcode}:\n{sections[-1]}'
