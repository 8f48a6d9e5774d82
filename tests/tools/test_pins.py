"""Versions that are stated twice agree with those in requirements/."""
import yaml
from helpers import ROOT


def test_hooks_run_the_versions_of_make_lint():
    pins = (ROOT / 'requirements/dev.txt').read_text()
    repos = yaml.safe_load((ROOT / '.pre-commit-config.yaml').read_text())['repos']
    named = [name for repo in repos for hook in repo['hooks'] for name in hook['additional_dependencies']]
    assert named and not [name for name in named if f'\n{name} \\\n' not in pins]
