"""The Makefile and the scripts, of which tests run only some, name files that exist."""
import re

import pytest
from helpers import ROOT

SCRIPTS = [ROOT / 'Makefile', *ROOT.glob('.github/workflows/*'), *ROOT.glob('docker/[!.]*'),
           *(path for path in ROOT.glob('tools/**/*') if path.suffix in ('.py', '.sh'))]


@pytest.mark.parametrize('script', SCRIPTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_named_files_exist(script):
    text = script.read_text(encoding='utf-8')
    folders = 'configs|docker|mmvit|mmvit_backbones|requirements|tests|tools'
    named = re.findall(rf'(?<![\w/.])(?:{folders})/[\w./-]+\.\w+\b', text)
    assert not [path for path in named if not (ROOT / path).exists()]
