"""Where the authors' checkpoints lie, by config: the addresses that their documents print. None of them was opened.

What a checkpoint reaches stands in ``zoo.py`` and ``published.py`` under the same name. No document states sizes or
hashes, and no address is known for what is missing here: Swin-VSA, RegionViT's + models, ViTAEv2's detectors, ....
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
        name (str): The config that it belongs to; its file is called after it.
        addresses (tuple[str, ...]): Where it lies, what needs no browser first.
        access_code (str | None): What Baidu asks for.
        member (str): Part of the file's name, where an address is a folder with several checkpoints.
        sha256 (str | None): Of the file, where it is known.
        suffix (str): Of the file.
        remark (str): What is to be known of it.
    """
    name: str
    addresses: tuple[str, ...]
    access_code: str | None = None
    member: str = ''
    sha256: str | None = None
    suffix: str = '.pth'
    remark: str = ''

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


def _one(name: str, address: str, **known) -> Weights:
    return Weights(name, (address, ), **known)


def _rest(name: str, share: str, *, folder: bool = False, remark: str = '') -> Weights:
    baidu = f'{_BAIDU}{share}'
    if not folder:
        return Weights(name, (baidu, ), access_code='rest', remark=remark)
    size = dict(lite='lite', s='small', b='base', l='large')[name.rsplit('_', 1)[1]]
    return Weights(name, (_REST_FOLDER, baidu), access_code='rest', member=size)


_SHARED_LINK = 'the authors print one address for ResTv1-S and ResTv2-S: it is wrong for one of them'
_DETECTORS = {'mask_rcnn': 'MaskRCNN', 'retinanet': 'RetinaNet'}
_REGIONVITS = {'s': 'S', 's_plus': 'S+', 's_plus_peg': 'S+peg', 'b': 'B', 'b_plus': 'B+', 'b_plus_peg': 'B+peg',
               'b_plus_peg_dagger': 'B+peg_dagger'}

WEIGHTS = {weights.name: weights for weights in [
    _one('imagenet_revit_b', f'{_FILE}1U8-a3yw1HPcPscm6eTiROxyJJlwfzy6h/view?usp=drive_link'),
    _one('imagenet_remvitv2_t', f'{_FILE}1cBUzW7wJ1GUpd1CEgL_cSGd26b4s7U4d/view?usp=drive_link'),
    _one('imagenet_reswin_t', f'{_FILE}14Wronoy-Bm-m9BJwHXgjDYJNTOouj_m5/view?usp=drive_link'),

    _one('imagenet_vitae_t', f'{_FOLDER}1SSiS5trE9XoDBnOdUwfld4Khz9rHriNL?usp=sharing'),
    _one('imagenet_vitae_6m', f'{_FOLDER}1f1yxh9GIhqHLzYw9Bv1lJbeR4lvVn4CC?usp=sharing'),
    _one('imagenet_vitae_s', f'{_FOLDER}1lFL_FCd3xeSNdDavmRqRY1IyboLBG1wH?usp=sharing'),
    _one('imagenet_vitae_b', f'{_FOLDER}1KTu8dHoPVscVDPS_9qiA8UfCMb56dcsV?usp=sharing'),
    _one('imagenet_vitae_b_22k', f'{_FOLDER}1KSXdMIQA1fVusfYf3XI_BPAberbmYiNv?usp=sharing'),
    _one('imagenet_vitae_l', f'{_SHARE}gcgDMK8xKeeSaMKNrw?e=G1RLbI'),
    _one('imagenet_vitae_l_22k', f'{_SHARE}gcgExiB2s8TrE7uqtQ?e=OrfOop'),
    _one('imagenet_vitae_h', f'{_SHARE}gcgGj20zQsU3eQbQtw?e=5SMExk'),
    _one('imagenet_vitae_h_22k', f'{_SHARE}gcgFumfz5dcsFPLenA?e=QOMLmL'),
    _one('imagenet_vitaev2_s', f'{_SHARE}gRgpIv58qMLokxP6?e=9kQgCo'),
    _one('imagenet_vitaev2_48m', f'{_SHARE}gRnQjbNipq0_OLKM?e=75TzxI'),
    _one('imagenet_vitaev2_b', f'{_SHARE}gRo8kRsNmnYikXw4?e=Fd3cki'),
    _one('imagenet_vitaev2_b_22k', f'{_SHARE}gRuwkrO4cjvD5ydH?e=WfK7Az'),
    _one('imagenet_vitaev2_vsa_s', f'{_SHARE}gcgB0Xlyc3U4WO11AQ?e=AGRBDl'),
    _one('imagenet_vitaev2_vsa_48m', f'{_SHARE}gcgCOt1UwhNQRfO0bw?e=rtEQJV'),

    _one('imagenet_regionvit_t', f'{_RELEASE}RegionViT-Ti.pth'),
    _one('imagenet_regionvit_s', f'{_RELEASE}RegionViT-S.pth'),
    _one('imagenet_regionvit_m', f'{_RELEASE}RegionViT-M.pth',
         remark='the address is inferred: the authors print that of RegionViT-S'),
    _one('imagenet_regionvit_b', f'{_RELEASE}RegionViT-B.pth'),
    *(_one(f'{task}_regionvit_{size}{suffix}', f'{_RELEASE}{detector}_{schedule}_RegionViT-{network}.pth')
      for task, detector in _DETECTORS.items() for size, network in _REGIONVITS.items()
      for suffix, schedule in (('', '1x'), ('_3x', '3x'))),

    _rest('imagenet_rest_lite', '1VVzrzZi_tD3yTp_lw9tU9A', folder=True),
    _rest('imagenet_rest_s', '1Y-MIzzzcQnmrbHfGGR0mrw', folder=True),
    _rest('imagenet_rest_b', '1HhR9YxtGIhouZ0GEA4LYlw', folder=True),
    _rest('imagenet_rest_l', '14c4u_oRoBcKOt1aTlsBBpw', folder=True),
    _rest('retinanet_rest_s', '13YXVRQeNcF_3Txns8eJzZw'),
    _rest('retinanet_rest_b', '1hMRM5YEIGsfWfvqbuC7JWA'),
    _rest('mask_rcnn_rest_s', '1UfDsRGwgZcydXtj56ZFoDg', remark=_SHARED_LINK),
    _rest('mask_rcnn_rest_b', '1oSdMGTSBK_JDcLEq3XjY8w'),
    _rest('imagenet_restv2_t', '1LHAbsrXnGsjvAE3d5zhaHQ'),
    _rest('imagenet_restv2_t_384', '1fEMs_OrDa_xF7Cw1DiBU9w'),
    _rest('imagenet_restv2_s', '1nysV5MTtwsDLChrRa7vmZQ'),
    _rest('imagenet_restv2_s_384', '1S1GERP-lYEJANYr17xk3dA'),
    _rest('imagenet_restv2_b', '1GH3N2_rbZx816mN87UzYgQ'),
    _rest('imagenet_restv2_b_384', '12RBMZmf6IlJIB3lIkeBH9Q'),
    _rest('imagenet_restv2_l', '1A2huwk_Ii4ZzQllg1iHrEw'),
    _rest('imagenet_restv2_l_384', '1dlxiWexb9mho63WdWS8nXg'),
    _rest('mask_rcnn_restv2_t', '16fDcEupHBZ1zHyzFFZvM3g'),
    _rest('mask_rcnn_restv2_s', '1UfDsRGwgZcydXtj56ZFoDg', remark=_SHARED_LINK),
    _rest('mask_rcnn_restv2_b', '1zHQM0KqgtqQzg0-mdtx-Jg'),
    _rest('upernet_restv2_t', '1X-hAafTLFnwJPQSI2BNOKw'),
    _rest('upernet_restv2_s', '1WHiL0Rf9JeOB76yh6WOvLQ'),
    _rest('upernet_restv2_b', '1dtkg68j3vCU-dxJxl8VFdg'),

    _one('imagenet_refiner_vit_l_448', f'{_FILE}12v1WbxG6_mZQ0FYnXIhKiqbtg5bI4pGL/view?usp=sharing'),
]}

# What belongs to no config of ours.
OTHER_FILES = {weights.name: weights for weights in [
    _one('token_labels', f'{_FILE}1Cat8HQPSRVJFPnBLlfzVE0Exe65a_4zh/view', suffix='.zip',
         remark="NFNet's token labels of ImageNet-1k's training images, for Refiner-ViT"),
    _one('pose_ap10k_vitaev2_s', f'{_FOLDER}1GJwZojaJerYzibn5rOlDGFxkISX6OXpk?usp=sharing',
         remark='a pose estimator of mmpose, which this package does not read; its data: '
                'https://github.com/AlexTheBad/AP-10K'),
]}
