"""The values that arguments of functions and options of the command may have. Imports neither torch nor MMEngine."""
import math
from argparse import ArgumentTypeError
from contextlib import suppress
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any


@dataclass(frozen=True)
class Limits:
    """The numbers and words that an argument may be. As a function, it parses the text of an option.

    Args:
        low, high (float | None): Limits of integers, or with ``is_whole=False`` of finite numbers. Defaults to None, no
            number, and 999999999, as MMEngine takes the next one for infinitely many steps.
        ends (str): '[' or '(' if the lower limit is allowed or not, and ']' or ')' for the upper one. Defaults to '[]'.
        is_whole (bool): Whether numbers are integers. Defaults to True.
        words (tuple[str, ...]): Words that are allowed, too. Defaults to none.
    """

    low: float | None = None
    high: float = 10**9 - 1
    ends: str = '[]'
    is_whole: bool = True
    words: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.low is None:
            return f'one of {", ".join(self.words)}'
        kind = 'an integer' if self.is_whole else 'a finite number'
        low, high = (str(side) if self.is_whole else f'{side:g}' for side in (self.low, self.high))
        return ', or '.join([f'{kind} {"from" if self.ends[0] == "[" else "above"} {low} '
                             f'{"to" if self.ends[1] == "]" else "and below"} {high}', *self.words])

    def __call__(self, text: str) -> Any:
        if text in self.words:
            return text
        with suppress(ValueError):
            value = int(text) if self.is_whole else float(text)
            if self.allow(value):
                return value
        raise ArgumentTypeError(f'{text!r} is not {self}')

    def allow(self, value: Any) -> bool:
        """Returns whether an argument may have a value."""
        if isinstance(value, str) or self.low is None:
            return value in self.words
        if not isinstance(value, Integral if self.is_whole else Real) or not math.isfinite(value):
            return False
        value = float(value)
        return self.low <= value <= self.high and (self.ends[0] == '[' or value != self.low) and (
            self.ends[1] == ']' or value != self.high)


COUNT, SEED, SIDE = Limits(1), Limits(0, 2**32 - 1), Limits(1, 2**14)  # SIDE: pixels of an image
ABOVE_ZERO = Limits(0, math.inf, '()', is_whole=False)
FRACTION = Limits(0, 1, '()', is_whole=False)
