"""Parts of messages, and where they are shown."""
import io

from mmvit.utils.shell import console_of
from mmvit_backbones.utils.messages import near_names


def test_up_to_three_similar_names_are_listed():
    assert near_names('resnet', ['rest', 'resnet18', 'vit', 'resnet34', 'resnet50']).count(',') == 2
    assert near_names('resnet', ['resnet18', 'vit']) == '; similar names: resnet18'
    assert near_names('resnet', ['vit']) == ''


def test_pipes_get_no_escape_codes(monkeypatch):
    """Jupyter and builds in containers set FORCE_COLOR, with which rich takes any file for a terminal."""
    from rich.progress import track
    monkeypatch.setenv('FORCE_COLOR', '1')
    pipe = io.StringIO()
    console = console_of(pipe)
    console.print('[bold]a')
    assert list(track([1, 2], console=console)) == [1, 2] and not console.is_interactive
    assert '\x1b' not in pipe.getvalue() and 'a\n' in pipe.getvalue()
