"""Pins of packages that are installed from wheels; `make test-matrix` runs this test, which needs a package index."""
import functools
import os

import requests
from packaging.specifiers import SpecifierSet
from packaging.tags import compatible_tags, cpython_tags
from packaging.utils import canonicalize_name, parse_wheel_filename
from pins import PYTHONS, pins_for


def wheels_on_index(session, name):
    """Returns the descriptions of a package's wheels from the index."""
    index = os.environ.get('PIP_INDEX_URL', 'https://pypi.org/simple').rstrip('/')
    response = session.get(f'{index}/{canonicalize_name(name)}/', timeout=60,
                           headers={'Accept': 'application/vnd.pypi.simple.v1+json'})
    response.raise_for_status()
    return [file for file in response.json()['files'] if file['filename'].endswith('.whl')]


@functools.cache
def tags_of(python):
    minor = tuple(map(int, python.split('.')[:2]))
    return {*cpython_tags(minor), *compatible_tags(minor, 'cp%d%d' % minor)}


def has_wheel(pin, wheels, python):
    """Returns whether there is a wheel of the pinned version for this platform and Python version."""
    version, = (specifier.version for specifier in pin.specifier)
    return any(not tags_of(python).isdisjoint(parse_wheel_filename(wheel['filename'])[3]) and
               python in SpecifierSet(wheel['requires-python'] or '')
               for wheel in wheels if wheel['filename'].split('-')[1] == version)


def test_every_pin_has_a_wheel_for_every_python():
    files = ['build', 'torch', 'runtime', 'adapters', 'serve']
    newer = ['docs', 'transformers5']  # for environments that require Python 3.11
    pins = {python: pins_for(python, files if python == '3.10.0' else files + newer) for python in PYTHONS}
    names = sorted({pin.name for python in PYTHONS for pin in pins[python]})
    with requests.Session() as session:
        wheels = {name: wheels_on_index(session, name) for name in names}
    missing = {python: [str(pin) for pin in pins[python] if not has_wheel(pin, wheels[pin.name], python)]
               for python in PYTHONS}
    assert not any(missing.values()), missing
