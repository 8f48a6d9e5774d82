"""Settings of the networks: base classes of the dataclasses that ``arch`` takes."""
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, TypeVar, get_args, get_origin

ArchT = TypeVar('ArchT', bound='Arch')


@dataclass(frozen=True, kw_only=True)
class Arch:
    """Base class of the settings of a network. Lists become tuples; tuples have one entry per stage.

    Raises:
        ValueError: If a field has another type than annotated or is out of range, or if fields don't fit each other.
    """
    may_be_empty: ClassVar[tuple[str, ...]] = ()
    may_be_zero: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        lengths = {}
        for field in fields(self):
            value = getattr(self, field.name)
            check_field(field.name, value, field.type, lowest=0 if field.name in self.may_be_zero else math.ulp(0.))
            if isinstance(value, (list, tuple)):
                if not value and field.name not in self.may_be_empty:
                    raise ValueError(f'arch: {field.name} must not be empty, got {value}')
                object.__setattr__(self, field.name, tuple(value))
                lengths[field.name] = len(value)
        if len({length for length in lengths.values() if length}) > 1:
            raise ValueError(f'arch: every list must have one entry per stage, got lengths {lengths}')

    def check_multiples(self, name: str, channels: Sequence[int], counts: Sequence[int]) -> None:
        """Raises ValueError if the channels of a stage are not divisible by the stage's entry in ``counts``."""
        for width, count in zip(channels, counts, strict=True):
            if width % count:
                raise ValueError(f'arch: channels must be divisible by {name}, got {width} and {count}')


@dataclass(frozen=True, kw_only=True)
class PyramidArch(Arch):
    """Settings of a network that halves the map and doubles the channels from stage to stage.

    Attributes:
        embed_dims (int): Channels of the first stage.
        depths (tuple[int, ...]): Number of blocks of each stage.
        mlp_ratio (float): Hidden channels of the MLPs, relative to the channels of the stage.
    """
    embed_dims: int
    depths: tuple[int, ...]
    mlp_ratio: float

    @property
    def channels(self) -> tuple[int, ...]:
        """Returns the channels of each stage."""
        return tuple(self.embed_dims * 2**stage for stage in range(len(self.depths)))

    @property
    def strides(self) -> tuple[int, ...]:
        """Returns the stride of each stage: 4, 8, 16 and so on."""
        return tuple(4 * 2**stage for stage in range(len(self.depths)))


@dataclass(frozen=True, kw_only=True)
class AttentionPyramidArch(PyramidArch):
    """Settings of a network that halves the map from stage to stage, with attention of several heads.

    Attributes:
        embed_dims, depths, mlp_ratio: As in :class:`PyramidArch`.
        num_heads (tuple[int, ...]): Number of attention heads of each stage.
    """
    num_heads: tuple[int, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_multiples('num_heads', self.channels, self.num_heads)


@dataclass(frozen=True, kw_only=True)
class PlainArch(Arch):
    """Settings of a network whose blocks all have the same size.

    Attributes:
        embed_dims (int): Channels.
        depth (int): Number of blocks.
        num_heads (int): Number of attention heads.
        mlp_ratio (float): Hidden channels of the MLPs, relative to ``embed_dims``.
    """
    embed_dims: int
    depth: int
    num_heads: int
    mlp_ratio: float

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_multiples('num_heads', [self.embed_dims], [self.num_heads])


def resolve_arch(arch: 'str | dict | ArchT', zoo: Mapping[str, ArchT]) -> ArchT:
    """Returns the settings for the name of a variant in ``zoo``, for settings, or for a dict of their fields.

    Raises:
        ValueError: If the name is unknown, a key is missing or unknown, or a value is invalid.
    """
    kind = type(next(iter(zoo.values())))
    if isinstance(arch, kind):
        return arch
    if isinstance(arch, str) and arch in zoo:
        return zoo[arch]
    if not isinstance(arch, dict):
        raise ValueError(f'arch must be one of {sorted(zoo)}, a {kind.__name__}, or a dict of its fields, got {arch!r}')
    names = [field.name for field in fields(kind)]
    if arch.keys() != set(names):
        raise ValueError(f'arch must have exactly the keys {names}, got {list(arch)}')
    return kind(**arch)


def check_field(name: str, value: Any, kind: Any, lowest: float) -> None:
    """Raises ValueError if a value has another type than ``kind``, or is less than ``lowest`` or infinite."""
    is_tuple = get_origin(kind) is tuple
    entry_kind = get_args(kind)[0] if is_tuple else kind
    accepted = (int, float) if entry_kind is float else (entry_kind, )
    is_sequence = isinstance(value, (list, tuple))
    entries = value if is_sequence else (value, )
    if is_sequence != is_tuple or not all(type(entry) in accepted for entry in entries):
        expected = f'a list of {entry_kind.__name__}' if is_tuple else entry_kind.__name__
        raise ValueError(f'arch: {name} must be {expected}, got {value!r}')
    if entry_kind in (int, float) and not all(lowest <= entry < math.inf for entry in entries):
        raise ValueError(f'arch: {name} must be {"at least 0" if lowest == 0 else "positive"}, got {value!r}')
