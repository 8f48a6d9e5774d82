"""Distributions that overwrite each other's files are found."""
from mmvit_backbones.utils.installation import find_conflicts


def test_two_distributions_of_a_package_are_a_conflict(tmp_path):
    for name in 'mmcv', 'onedl_mmengine':
        (tmp_path / f'{name}-2.1.dist-info').mkdir()
        (tmp_path / f'{name}-2.1.dist-info/METADATA').write_text(f'Name: {name.replace("_", "-")}\nVersion: 2.1\n')
    assert find_conflicts(path=[str(tmp_path)]) == []
    (tmp_path / 'mmcv_lite-2.1.dist-info').mkdir()
    (tmp_path / 'mmcv_lite-2.1.dist-info/METADATA').write_text('Name: mmcv-lite\nVersion: 2.1\n')
    conflict, = find_conflicts(path=[str(tmp_path)])
    assert 'mmcv and mmcv-lite both' in conflict and 'pip uninstall mmcv mmcv-lite' in conflict
    (tmp_path / 'onedl_mmcv-2.1.dist-info').mkdir()
    (tmp_path / 'onedl_mmcv-2.1.dist-info/METADATA').write_text('Name: onedl-mmcv\nVersion: 2.1\n')
    conflict, = find_conflicts(path=[str(tmp_path)])
    assert 'onedl-mmcv and mmcv and mmcv-lite all install' in conflict
