"""Rules for data: what each finds, how severe that is in training and in evaluation, and what repairs it.

The tables are ``COCO_RULES``, ``CLASS_RULES``, ``SEG_RULES`` and ``RASTER_RULES``; ``docs/own_data.md`` lists them.
"""
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from mmvit_backbones.errors import UsageError

from ..utils.distributed import warn

Severity = Literal['error', 'warning', '']
HALF = 0.5
FEW, RARE = 10, 0.1  # images of a class; part of the even share of its images, objects or pixels
RARELY = f'in fewer than {FEW} images or with less than a tenth of the even share'
ADD_SOME = f'are {RARELY}: {{ids}}; add some'


class Problem(NamedTuple):
    """A problem in a data set: a line of text, and whether it is an error or a warning."""

    text: str
    is_error: bool


@dataclass(frozen=True)
class Rule:
    """A rule for the entries of some data.

    Args:
        name (str): What is wrong with the entries that are found, in a few words.
        of (str): Attribute of the data with the entries, such as ``annotations``.
        find (Callable): Returns the positions of the entries that are wrong.
        sentence (str): What is said of them, with the fields ``{ids}`` (the first three), ``{count}``, ``{total}``,
            ``{detail}`` (of the first) and ``{data.NAME}``.
        training, evaluation (str): ``'error'``, ``'warning'``, or ``''`` where it does not matter. A warning is only
            about entries that no rule before has found.
        error_from (float | None): Share of the entries from which a warning is an error. Defaults to None: never.
        shown (str): Field of an entry that names it. Defaults to its id.
        detail (Callable | None): Returns what is said of one entry, for the data and its position.
        each (bool): Whether there is a line for each entry rather than one for all. Defaults to False.
        repair (Callable | None): Changes the entries at the positions, if the data are of a folder.
    """

    name: str
    of: str
    find: Callable[[Any], Iterable[int]]
    sentence: str
    training: Severity = 'error'
    evaluation: Severity = 'error'
    error_from: float | None = None
    shown: str = 'id'
    detail: Callable[[Any, int], str] | None = None
    each: bool = False
    repair: Callable[[Any, list[int]], None] | None = None

    def say(self, data: Any, found: Sequence[int], count: int) -> str:
        """Returns the sentence about the entries at the positions ``found``, of ``count``."""
        entries = getattr(data, self.of)
        named = [entry.get(self.shown) if isinstance(entry, dict) else entry
                 for entry in (entries[i] for i in found[:3])]
        more = f' and {len(found) - 3} more' if len(found) > 3 else ''
        remedy = '; coco_folder (--coco-folder) repairs it in a copy' if self.repair else ''
        return remedy.join([self.sentence.format(
            ids=', '.join(f'{name!s:.40}' for name in named) + more, count=count, total=len(entries),
            detail=self.detail(data, found[0]) if self.detail else '', data=data), ''])


def suspicion(name: str, of: str, find: Callable[[Any], Iterable[int]], sentence: str, error_from: float | None = HALF,
              **options: Any) -> Rule:
    """Returns a rule that gives warnings, or an error from a share of the entries on, which defaults to a half."""
    return Rule(name, of, find, sentence, 'warning', 'warning', error_from, **options)


def each(of: str, is_wrong: Callable[[Any], object]) -> Callable[[Any], list[int]]:
    """Returns a function that finds the entries of an attribute for which ``is_wrong`` holds."""
    return lambda data: [i for i, entry in enumerate(getattr(data, of)) if is_wrong(entry)]


def rare(images: Mapping[Any, int], amounts: Mapping[Any, float], classes: Sequence[Any]) -> list[int]:
    """Returns the positions of the classes that few images have, or that have less than a tenth of the even share.

    Args:
        images, amounts (Mapping): How many images have each class; how many of its images, objects or pixels there are.
        classes (Sequence): The classes. Those without images are not meant.
    """
    least = RARE * sum(amounts.values()) / max(len(classes), 1)
    return [i for i, name in enumerate(classes) if images.get(name) and (images[name] < FEW or amounts[name] < least)]


def apply(rules: Iterable[Rule], data: Any, is_evaluated: bool, repairs: list[str] | None = None,
          lists_errors: bool = False, place: str = '') -> list[Problem]:
    """Returns the problems that a table of rules finds in data.

    Args:
        rules (Iterable[Rule]): The table.
        data (Any): What the rules are about.
        is_evaluated (bool): Whether the data are for evaluation rather than training.
        repairs (list[str] | None): Where to say what was repaired. Defaults to None: repairs nothing.
        lists_errors (bool): Whether errors have a line for each entry. Defaults to False: where the rule says so.
        place (str): File or folder that is named first. Defaults to nothing.
    """
    problems, known, start = [], defaultdict(set), f'{place}: ' if place else ''
    for rule in rules:
        severity = rule.evaluation if is_evaluated else rule.training
        is_repaired = rule.repair is not None and repairs is not None
        found = list(rule.find(data)) if severity or is_repaired else []
        if found and rule.repair is not None and repairs is not None:
            rule.repair(data, found)
            left = list(rule.find(data))
            repairs += [f'{rule.name} ({len(found)} {rule.of})'] if left != found else []
            found = left
        if severity == 'warning':
            found = [position for position in found if position not in known[rule.of]]
        known[rule.of].update(found)
        if not found or not severity:
            continue
        share = len(found) / len(getattr(data, rule.of))
        is_error = severity == 'error' or rule.error_from is not None and share >= rule.error_from
        is_listed = rule.each or lists_errors and is_error
        problems += [Problem(start + rule.say(data, entries, len(found)), is_error)
                     for entries in ([[position] for position in found] if is_listed else [found])]
    return problems


def raise_or_warn(problems: Sequence[Problem]) -> None:
    """Raises UsageError if there are errors; otherwise prints the problems as warnings."""
    if errors := [problem.text for problem in problems if problem.is_error]:
        more = f' (error 1 of {len(errors)}; list all with mmvit data check)' if len(errors) > 1 else ''
        raise UsageError(errors[0] + more)
    for problem in problems:
        warn(problem.text)
