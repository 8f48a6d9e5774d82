"""What is printed meanwhile, and errors of other libraries in one line."""
import io
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout

from mmvit_backbones.errors import MMViTError, UsageError, first_line
from mmvit_backbones.utils.file_access import FULL
from mmvit_backbones.utils.installation import install_command


@contextmanager
def quiet() -> Iterator[io.StringIO]:
    """Collects what is printed; if an exception is raised that does not say all in a line, prints it."""
    text = io.StringIO()
    try:
        with redirect_stdout(text):
            yield text
    except MMViTError:
        raise
    except BaseException:
        print(text.getvalue(), file=sys.stderr, end='')
        raise


@contextmanager
def named(setting: str) -> Iterator[None]:
    """Replaces an exception of other libraries by one line that names the setting."""
    try:
        yield
    except Exception as error:
        if isinstance(error, MMViTError) or isinstance(error, OSError) and error.errno in FULL:
            raise
        raise UsageError(f'{setting} cannot be used: {why(error)}') from error


def why(error: Exception) -> str:
    """Returns the first line of an error; without a message, the line of code that raised it."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    if isinstance(error, NotImplementedError) and 'layer_decay' in place.filename:  # of mmdet, mmseg and mmpretrain
        return 'its constructor does not know the layers of this network; LayerDecayConstructor does'
    text = first_line(error) if str(error) else f'{type(error).__name__} at {place.line}'
    package = re.search(r'([\w-]+) is not installed$', text)
    return f'{text}: {install_command(package[1])}' if package else text
