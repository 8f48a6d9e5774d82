"""Setuptools plugin that compiles mmcv's operators for CPUs in one and a half minutes on two cores, instead of eight.

Compiling torch's headers, once per file, takes longer than compiling mmcv's files, so few files include them.
The Makefile puts this folder on PYTHONPATH, where setuptools finds the entry point.
"""
import re
from pathlib import Path

from setuptools import Distribution

ALONE = r'/pybind'
# These files of operators redefine functions of each other, and macros for the files after them: one group per file, at
# its end.
APART = r'/cpu/roi_align\.', r'/cpu/(bezier_align|psamask)', r'/cpu/(roi_align_rotated|rotated_feature_align)'


def join_sources(distribution: Distribution) -> None:
    """Replaces most sources of ``mmcv._ext`` by files that include them, unless there are also CUDA sources."""
    for extension in distribution.ext_modules or ():
        if extension.name == 'mmcv._ext' and all(source.endswith('.cpp') for source in extension.sources):
            sources = sorted(extension.sources)
            groups = [[source for source in sources if re.search(pattern, source)] for pattern in APART]
            extension.sources = [source for source in sources if re.search(ALONE, source)]
            others = [source for source in sources if source not in sum(groups, extension.sources)]
            for number, last in enumerate(groups):
                file = Path('build', f'joined{number}.cpp')
                file.parent.mkdir(exist_ok=True)
                included = others[len(others) * number // len(groups):len(others) * (number + 1) // len(groups)] + last
                lines = (f'#include "{Path(source).resolve()}"\n' for source in included)
                file.write_text(''.join(lines), encoding='utf-8')
                extension.sources.append(str(file))
