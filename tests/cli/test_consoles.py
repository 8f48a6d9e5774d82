"""What a console cannot show ends no run."""
import io
import os
import subprocess
import sys

import pytest

import mmvit.cli


@pytest.mark.parametrize('encoding, shown', [
    ('utf-8', 'Gänseblümchen 玫瑰 ━ a?.jpg'), ('cp1252', 'Gänseblümchen ?? ? a?.jpg'),
    ('ascii', 'G?nsebl?mchen ?? ? a?.jpg')])
def test_other_characters_are_replaced(encoding, shown, monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors='strict')
    monkeypatch.setattr(sys, 'stdout', stream)
    monkeypatch.setattr(sys, 'stderr', stream)
    monkeypatch.setattr(mmvit.cli, 'dispatch', lambda arguments: print('Gänseblümchen 玫瑰 ━ a\udcff.jpg'))
    mmvit.cli.main([])
    assert stream.buffer.getvalue().decode(encoding).rstrip() == shown


@pytest.mark.parametrize('unbuffered', ['', '1'])
def test_a_warning_is_seen_before_a_run_ends(unbuffered):
    """Also in containers, many of which set PYTHONUNBUFFERED."""
    code = ('import os, sys; from mmvit.cli import streams; streams.outlive_readers(); '
            'print("a warning", file=sys.stderr); os._exit(0)')
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True,
                          env={**os.environ, 'PYTHONUNBUFFERED': unbuffered})
    assert done.stderr.strip() == 'a warning'
