"""``nn.ModuleList`` with a type parameter, which tells type checkers the class of its modules."""
from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Generic, TypeVar, overload

from torch import nn

ModuleT = TypeVar('ModuleT', bound=nn.Module)

if TYPE_CHECKING:

    class ModuleList(nn.ModuleList, Generic[ModuleT]):

        def __init__(self, modules: Iterable[ModuleT] = ()) -> None:
            ...

        def __iter__(self) -> Iterator[ModuleT]:
            ...

        @overload
        def __getitem__(self, idx: slice) -> ModuleList[ModuleT]:
            ...

        @overload
        def __getitem__(self, idx: int) -> ModuleT:
            ...

        def __getitem__(self, idx: int | slice) -> ModuleT | ModuleList[ModuleT]:
            ...
else:
    ModuleList = nn.ModuleList
