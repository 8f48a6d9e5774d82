"""Setuptools plugin that compiles mmcv's operators for CPUs in one and a half minutes on two cores, instead of eight.

Compiling torch's headers, once per file, takes longer than compiling mmcv's files, so few files include them.
The Makefile puts this folder on PYTHONPATH, where setuptools finds the entry point.
"""
import re
from pathlib import Path

from setuptools import Distribution

ALONE = r'/pybind|/cpu/.*(align|psamask)'  # these files reuse names or redefine functions
FILES = 3  # the number of files that include the others


def join_sources(distribution: Distribution) -> None:
    """Replaces most sources of ``mmcv._ext`` by files that include them, unless there are also CUDA sources."""
    for extension in distribution.ext_modules or ():
        if extension.name == 'mmcv._ext' and all(source.endswith('.cpp') for source in extension.sources):
            sources = sorted(extension.sources)
            joined = [source for source in sources if not re.search(ALONE, source)]
            extension.sources = [source for source in sources if source not in joined]
            for number in range(FILES):
                file = Path('build', f'joined{number}.cpp')
                file.parent.mkdir(exist_ok=True)
                included = joined[len(joined) * number // FILES:len(joined) * (number + 1) // FILES]
                file.write_text(''.join(f'#include "{Path(source).resolve()}"\n' for source in included))
                extension.sources.append(str(file))
