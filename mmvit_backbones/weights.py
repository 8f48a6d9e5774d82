"""Where the authors' checkpoints lie: the addresses that their documents print. None of them was opened.

No document states sizes or hashes, and no address is known for what is missing here: Swin-VSA, RegionViT's + models,
ViTAEv2's detectors and others.
"""
from dataclasses import dataclass
from urllib.parse import urlparse

HOSTS = {
    'github.com': 'GitHub',
    'drive.google.com': 'Google Drive',
    '1drv.ms': 'OneDrive',
    'pan.baidu.com': 'Baidu',
}


@dataclass(frozen=True)
class Weights:
    """A published checkpoint.

    Args:
        variant (str): Name of the network.
        tag (str): Which of its checkpoints: the side of the images, what it was trained on or for.
        addresses (tuple[str, ...]): Where it lies, what needs no browser first.
        access_code (str | None): What Baidu asks for.
        member (str): Part of the file's name, where an address is a folder with several checkpoints.
        sha256 (str | None): Of the file, where it is known.
        suffix (str): Of the file.
        remark (str): What is to be known of it.
    """
    variant: str
    tag: str
    addresses: tuple[str, ...]
    access_code: str | None = None
    member: str = ''
    sha256: str | None = None
    suffix: str = '.pth'
    remark: str = ''

    @property
    def name(self) -> str:
        """What it is called where there are several networks; ``'224'`` is the rule and goes without saying."""
        return self.variant if self.tag in ('', '224') else f'{self.variant}_{self.tag}'

    @property
    def file_name(self) -> str:
        """What the file is called in the cache and on a mirror."""
        return self.name + self.suffix

    @property
    def host(self) -> str:
        return host_of(self.addresses[0])


def host_of(address: str) -> str:
    """Who serves an address: one of ``HOSTS``, or the name of the machine."""
    machine = urlparse(address).hostname or ''
    return HOSTS.get(machine, machine)


_FILE = 'https://drive.google.com/file/d/'
_FOLDER = 'https://drive.google.com/drive/folders/'
_SHARE = 'https://1drv.ms/u/s!AimBgYV7JjTl'
_BAIDU = 'https://pan.baidu.com/s/'
_RELEASE = 'https://github.com/IBM/RegionViT/releases/download/weights-v0.1/'
_REST_FOLDER = f'{_FOLDER}1H6QUZsKYbU6LECtxzGHKqEeGbx1E8uQ9'  # of all four ResTv1


def _one(variant: str, tag: str, address: str, **known) -> Weights:
    return Weights(variant, tag, (address, ), **known)


def _rest(variant: str, tag: str, share: str, *, folder: bool = False, remark: str = '') -> Weights:
    baidu = f'{_BAIDU}{share}'
    if not folder:
        return Weights(variant, tag, (baidu, ), access_code='rest', remark=remark)
    return Weights(variant, tag, (_REST_FOLDER, baidu), access_code='rest', member=variant.removeprefix('rest_'))


_SHARED_LINK = 'the authors print one address for ResTv1-S and ResTv2-S: it is wrong for one of them'
_DETECTORS = {'mask_rcnn': 'MaskRCNN', 'retinanet': 'RetinaNet'}
_REGIONVITS = {
    ('regionvit_small', ''): 'S', ('regionvit_base', ''): 'B',
    ('regionvit_small_plus', ''): 'S+', ('regionvit_small_plus', '_peg'): 'S+peg',
    ('regionvit_base_plus', ''): 'B+', ('regionvit_base_plus', '_peg'): 'B+peg',
    ('regionvit_base_plus', '_peg_dagger'): 'B+peg_dagger'}

WEIGHTS = {weights.name: weights for weights in [
    _one('revit_base', '224', f'{_FILE}1U8-a3yw1HPcPscm6eTiROxyJJlwfzy6h/view?usp=drive_link'),
    _one('remvitv2_tiny', '224', f'{_FILE}1cBUzW7wJ1GUpd1CEgL_cSGd26b4s7U4d/view?usp=drive_link'),
    _one('reswin_tiny', '224', f'{_FILE}14Wronoy-Bm-m9BJwHXgjDYJNTOouj_m5/view?usp=drive_link'),

    _one('vitae_tiny', '224', f'{_FOLDER}1SSiS5trE9XoDBnOdUwfld4Khz9rHriNL?usp=sharing'),
    _one('vitae_6m', '224', f'{_FOLDER}1f1yxh9GIhqHLzYw9Bv1lJbeR4lvVn4CC?usp=sharing'),
    _one('vitae_small', '224', f'{_FOLDER}1lFL_FCd3xeSNdDavmRqRY1IyboLBG1wH?usp=sharing'),
    _one('vitae_base', '224', f'{_FOLDER}1KTu8dHoPVscVDPS_9qiA8UfCMb56dcsV?usp=sharing'),
    _one('vitae_base', '22k', f'{_FOLDER}1KSXdMIQA1fVusfYf3XI_BPAberbmYiNv?usp=sharing'),
    _one('vitae_large', '224', f'{_SHARE}gcgDMK8xKeeSaMKNrw?e=G1RLbI'),
    _one('vitae_large', '22k', f'{_SHARE}gcgExiB2s8TrE7uqtQ?e=OrfOop'),
    _one('vitae_huge', '224', f'{_SHARE}gcgGj20zQsU3eQbQtw?e=5SMExk'),
    _one('vitae_huge', '22k', f'{_SHARE}gcgFumfz5dcsFPLenA?e=QOMLmL'),
    _one('vitaev2_small', '224', f'{_SHARE}gRgpIv58qMLokxP6?e=9kQgCo'),
    _one('vitaev2_48m', '224', f'{_SHARE}gRnQjbNipq0_OLKM?e=75TzxI'),
    _one('vitaev2_base', '224', f'{_SHARE}gRo8kRsNmnYikXw4?e=Fd3cki'),
    _one('vitaev2_base', '22k', f'{_SHARE}gRuwkrO4cjvD5ydH?e=WfK7Az'),
    _one('vitaev2_vsa_small', '224', f'{_SHARE}gcgB0Xlyc3U4WO11AQ?e=AGRBDl'),
    _one('vitaev2_vsa_48m', '224', f'{_SHARE}gcgCOt1UwhNQRfO0bw?e=rtEQJV'),

    _one('regionvit_tiny', '224', f'{_RELEASE}RegionViT-Ti.pth'),
    _one('regionvit_small', '224', f'{_RELEASE}RegionViT-S.pth'),
    _one('regionvit_medium', '224', f'{_RELEASE}RegionViT-M.pth',
         remark='the address is inferred: the authors print that of RegionViT-S'),
    _one('regionvit_base', '224', f'{_RELEASE}RegionViT-B.pth'),
    *(_one(variant, f'{task}{peg}{suffix}', f'{_RELEASE}{detector}_{schedule}_RegionViT-{network}.pth')
      for task, detector in _DETECTORS.items() for (variant, peg), network in _REGIONVITS.items()
      for suffix, schedule in (('', '1x'), ('_3x', '3x'))),

    _rest('rest_lite', '224', '1VVzrzZi_tD3yTp_lw9tU9A', folder=True),
    _rest('rest_small', '224', '1Y-MIzzzcQnmrbHfGGR0mrw', folder=True),
    _rest('rest_base', '224', '1HhR9YxtGIhouZ0GEA4LYlw', folder=True),
    _rest('rest_large', '224', '14c4u_oRoBcKOt1aTlsBBpw', folder=True),
    _rest('rest_small', 'retinanet', '13YXVRQeNcF_3Txns8eJzZw'),
    _rest('rest_base', 'retinanet', '1hMRM5YEIGsfWfvqbuC7JWA'),
    _rest('rest_small', 'mask_rcnn', '1UfDsRGwgZcydXtj56ZFoDg', remark=_SHARED_LINK),
    _rest('rest_base', 'mask_rcnn', '1oSdMGTSBK_JDcLEq3XjY8w'),
    _rest('restv2_tiny', '224', '1LHAbsrXnGsjvAE3d5zhaHQ'),
    _rest('restv2_tiny', '384', '1fEMs_OrDa_xF7Cw1DiBU9w'),
    _rest('restv2_small', '224', '1nysV5MTtwsDLChrRa7vmZQ'),
    _rest('restv2_small', '384', '1S1GERP-lYEJANYr17xk3dA'),
    _rest('restv2_base', '224', '1GH3N2_rbZx816mN87UzYgQ'),
    _rest('restv2_base', '384', '12RBMZmf6IlJIB3lIkeBH9Q'),
    _rest('restv2_large', '224', '1A2huwk_Ii4ZzQllg1iHrEw'),
    _rest('restv2_large', '384', '1dlxiWexb9mho63WdWS8nXg'),
    _rest('restv2_tiny', 'mask_rcnn', '16fDcEupHBZ1zHyzFFZvM3g'),
    _rest('restv2_small', 'mask_rcnn', '1UfDsRGwgZcydXtj56ZFoDg', remark=_SHARED_LINK),
    _rest('restv2_base', 'mask_rcnn', '1zHQM0KqgtqQzg0-mdtx-Jg'),
    _rest('restv2_tiny', 'upernet', '1X-hAafTLFnwJPQSI2BNOKw'),
    _rest('restv2_small', 'upernet', '1WHiL0Rf9JeOB76yh6WOvLQ'),
    _rest('restv2_base', 'upernet', '1dtkg68j3vCU-dxJxl8VFdg'),

    _one('refiner_vit_large', '448', f'{_FILE}12v1WbxG6_mZQ0FYnXIhKiqbtg5bI4pGL/view?usp=sharing'),
]}

# What no network here reads.
OTHER_FILES = {weights.name: weights for weights in [
    _one('token_labels', '', f'{_FILE}1Cat8HQPSRVJFPnBLlfzVE0Exe65a_4zh/view', suffix='.zip',
         remark="NFNet's token labels of ImageNet-1k's training images, for Refiner-ViT"),
    _one('vitaev2_small', 'pose_ap10k', f'{_FOLDER}1GJwZojaJerYzibn5rOlDGFxkISX6OXpk?usp=sharing',
         remark='a pose estimator of mmpose, which this package does not read; its data: '
                'https://github.com/AlexTheBad/AP-10K'),
]}
