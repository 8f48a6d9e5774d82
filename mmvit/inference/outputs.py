"""Writes the predictions for images and folders to files."""
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from mmvit_backbones.errors import UsageError
from mmvit_backbones.utils.file_access import check_outputs, replaced_when_complete

from ..folders.class_lists import format_class
from ..folders.folders import write_file
from ..predictions.results import SCORE_THR, Classification, Result, Segmentation, write_table
from .predictor import Predictor
from .sources import find_images


class Written(NamedTuple):
    """The drawing of an image's prediction, or why there is none.

    Attributes:
        source (str): The image.
        file (Path | None): The drawing.
        result (Result | None): The prediction.
        error (str | None): Why the image could not be read or processed.
    """

    source: str
    file: Path | None = None
    result: Result | None = None
    error: str | None = None

    def __str__(self) -> str:
        if self.error is not None:
            return f'error: {self.error}'
        best = self.result.to_dict()['items'] if isinstance(self.result, Classification) else []
        classes = ', '.join(f'{item["category"]} {item["score"]:.1%}' for item in best)
        return f'{self.source} -> {self.file} {classes}'.rstrip()


def find_sources(sources: Sequence[str]) -> dict[str, str]:
    """Returns the output name of each image: the path relative to the given folder, or the file name.

    The suffix is removed, unless two names differ only in their suffixes.

    Args:
        sources (Sequence[str]): Images and folders. Folders are searched recursively.

    Raises:
        UsageError: If a source is not a file or a folder with images, or if two outputs would have the same name.
    """
    paths: dict[str, Path] = {}
    for source in sources:
        for path in find_images([source]):
            paths[str(path)] = path.relative_to(source if Path(source).is_dir() else path.parent)
    stems = Counter(path.with_suffix('') for path in paths.values())
    names = {source: str(path if stems[path.with_suffix('')] > 1 else path.with_suffix(''))
             for source, path in paths.items()}
    (name, count), = Counter(names.values()).most_common(1)
    if count > 1:
        raise UsageError(f'two images have the name {name} and would be drawn to the same file; rename one of them')
    return names


def write_predictions(predictor: Predictor, names: dict[str, str], out_dir: str | Path, save_results: bool = False,
                      batch_size: int = 1, score_thr: float | None = None, reads: Sequence[object] = ()
                      ) -> Iterator[Written]:
    """Predicts images, writes their drawings, and yields each; results are complete when the iterator ends or closes.

    Whether a file that is read would be replaced is checked at once, everything else happens while iterating.

    Args:
        predictor (Predictor): The model.
        names (dict[str, str]): Name of the output for each image, from :func:`find_sources`.
        out_dir (str | Path): Folder for the outputs.
        save_results (bool): Whether to write ``results.json`` (detectors: COCO results, where ``image_id`` is the
            number of the image among all of ``names``, from 1) and ``annotations.json`` (a COCO file with images,
            categories and masks as polygons), ``labels/`` (segmenters: label images with a palette, and
            ``classes.txt``), or ``results.csv`` (classifiers: the five best classes). Defaults to False.
        batch_size (int): Maximum number of images per batch. Defaults to 1.
        score_thr (float | None): Minimum score of detected objects. Defaults to None: 0.3 in drawings; results have all
            objects, as the average precision needs them; annotations those from the score of the best F1 on, which the
            last validation of a training has found, or 0.3.
        reads (Sequence[object]): What else is read and must not be replaced, such as the checkpoint. Defaults to ().

    Raises:
        UsageError: If an output would replace an image, a folder cannot be created, or a file not be written, e.g. on a
            full disk.
    """
    planned = ['results.csv', 'results.json', 'annotations.json', 'labels/classes.txt']  # by models of any task
    planned += [f'{folder}{name}.png' for name in names.values() for folder in ('', 'labels/')]
    check_outputs('out_dir (--out-dir)', (Path(out_dir, name) for name in planned), [*names, *reads])
    return _write(predictor, names, Path(out_dir), save_results, batch_size, score_thr)


def _write(predictor: Predictor, names: dict[str, str], out_dir: Path, save_results: bool, batch_size: int,
           score_thr: float | None) -> Iterator[Written]:
    """Yields what :func:`write_predictions` yields."""
    drawn = SCORE_THR if score_thr is None else score_thr
    labeled = predictor.score_thr if score_thr is None else score_thr
    kept = 0. if save_results and score_thr is None else drawn
    make_folder(out_dir)
    entries: list[list] = []  # of each image: its objects, or the row of its classes
    images: list[dict] = []
    annotations: list[dict] = []
    try:
        for number, (source, result) in enumerate(_predict_each(predictor, names, batch_size, kept), 1):
            if isinstance(result, UsageError):
                yield Written(source, error=str(result))
                continue
            path = save_image(result.from_score(drawn).draw(), out_dir / f'{names[source]}.png')
            if save_results and isinstance(result, Segmentation):
                save_image(result.label_image(), out_dir / f'labels/{names[source]}.png')
            elif save_results and isinstance(result, Classification):
                best = result.to_dict()['items']
                entries.append([source, *(value for item in best for value in (item['category'], item['score']))])
            elif save_results:
                height, width = result.image.shape[:2]
                depth = len(Path(names[source]).parts)  # relative to the given folder
                file_name = Path(*Path(source).parts[-depth:]).as_posix()
                images.append(dict(id=number, width=width, height=height, file_name=file_name))
                annotations += result.from_score(labeled).to_annotations(number, predictor.category_ids)
                entries.append([dict(entry, file_name=source)
                                for entry in result.to_coco(number, predictor.category_ids)])
            yield Written(source, path, result)
    finally:
        if save_results and predictor.task == 'classification':
            best = range(1, Classification.count + 1)
            write_table(out_dir / 'results.csv', [
                ['file', *(f'{kind}{i}' for i in best for kind in ('class', 'score'))], *entries])
        elif save_results and predictor.task == 'segmentation':
            write_file(out_dir / 'labels', 'classes.txt', '\n'.join(map(format_class, predictor.classes)))
        elif save_results:
            write_file(out_dir, 'results.json', json.dumps(list(chain.from_iterable(entries))))
            ids = predictor.category_ids or range(1, len(predictor.classes) + 1)
            write_file(out_dir, 'annotations.json', json.dumps(dict(
                images=images, annotations=[dict(each, id=number) for number, each in enumerate(annotations, 1)],
                categories=[dict(id=number, name=name) for number, name in zip(ids, predictor.classes)])))


def _predict_each(predictor: Predictor, sources: Iterable[str], batch_size: int, score_thr: float
                  ) -> Iterator[tuple[str, Result | UsageError]]:
    """Yields each image's result, or its error; if a batch fails, its images are predicted one at a time."""
    sources = iter(sources)
    while batch := list(islice(sources, batch_size)):
        try:
            yield from zip(batch, predictor(batch, len(batch), score_thr))
        except UsageError as error:
            if len(batch) == 1:
                yield batch[0], error
            else:
                yield from _predict_each(predictor, batch, 1, score_thr)


def save_image(image: Image.Image, path: Path) -> Path:
    """Writes an image, perhaps to a new folder, and returns its path."""
    make_folder(path.parent)
    with replaced_when_complete(path) as part:
        image.save(part)
    return path


def make_folder(path: Path) -> None:
    """Creates a folder, if there is none; raises UsageError if that fails."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f'folder {path} cannot be created: {error}') from error
