"""A run: a training of a detector from the data source to a directory with all results, see `run_directory`."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import logging
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import keras

from keras_resnet._internal.atomic_files import writing
from keras_resnet._internal.exclusive import exclusive
from keras_resnet.classes import UNUSED
from keras_resnet.data.corrupt import name_corrupt_files
from keras_resnet.detection.annotations import AnnotatedSplit
from keras_resnet.detection.coco_ap import import_counter
from keras_resnet.detection.evaluation import Evaluation
from keras_resnet.detection.prediction import evaluate_readable, evaluate_split, pixels_of
from keras_resnet.detection.recipe_batches import batches_of
from keras_resnet.detection.report import write_report
from keras_resnet.detection.rows import create_detector
from keras_resnet.detection.run_directory import (
    DETECTOR,
    FILES,
    DetectionRun,
    DetectionTask,
    load_run,
    read_task,
)
from keras_resnet.detection.sources import load
from keras_resnet.detection.training import check_recipe, fit
from keras_resnet.training import distribution
from keras_resnet.training.out_directory import finished_run, preparation
from keras_resnet.training.results import save
from keras_resnet.training.run_directory import REPORT, RUN, versions, write_json

log = logging.getLogger("keras_resnet.detection")
LOCK = ".lock"  # the file in a run directory that the process locks which trains there
HELD_OUT = 0.1  # fraction of the training images that choose the epoch where no other images can


def train(
    task: DetectionTask,
    out: str | os.PathLike[str],
    callbacks: Sequence[keras.callbacks.Callback] = (),
    overwrite: bool = False,
    devices: int | None = None,
    write_line: Callable[[str], object] = lambda line: None,
) -> DetectionRun:
    """Trains a detector and writes a run directory. The same call continues a run that was stopped or killed.

    If the run is finished already, the same call returns its result. The validation images choose the best epoch; the
    test images are used only once, at the end. Where both are the same images, because the data have no test images of
    their own, a tenth of the training images is held out and chooses the epoch.

    Args:
        task: the settings of the run.
        out: the run directory; it is created if it is missing.
        callbacks: Keras callbacks.
        overwrite: True: replace a finished run, or a run of another task. An unfinished run of the same task continues.
        devices: number of devices that share each batch, see `keras_resnet.training.distribution.devices`.
        write_line: function that gets each line about the images, for example `print`.

    Returns:
        The content of `run.json`.

    Raises:
        ValueError: an argument is wrong, pycocotools is not installed, or `out` holds a run of another task; `out` is
            then unchanged. Or an image is corrupt, and the task does not skip such images: the same call with
            readable images continues the run.

    Example:
        >>> from keras_resnet.detection import RECIPES, DetectionTask, train
        >>> task = DetectionTask("fasterrcnn_resnet50_fpn", "voc:photos", RECIPES["small_data"])
        >>> train(task, "runs/photos").test_map  # doctest: +SKIP
    """
    out = Path(out)
    # A later version may have other sizes in its table; this run and its detector keep theirs.
    task = dataclasses.replace(task, shorter=task.design.shorter, longer=task.design.longer)
    otherwise = "for example with other images"
    if not overwrite and (finished := finished_run(out, task, read_task, load_run, otherwise, write_line)):
        return finished
    prepare = functools.partial(preparation, out, task, overwrite, FILES, read_task, load_run)
    prepare()  # better an error now than after the images were read
    import_counter()  # the report needs it
    parts = _splits(task, write_line)
    training = parts[task.train_split]
    batches_from, steps = batches_of(training, task.design, task.recipe)
    validate = _validation(parts.get(task.val_split), task)
    check_recipe(task.recipe, steps, validate)
    keras.utils.set_random_seed(task.recipe.seed)
    with contextlib.ExitStack() as locked:
        with distribution.devices(devices):
            detector = create_detector(
                task.detector,
                len(training.classes),
                task.weights,
                backbone_weights=task.backbone_weights,
                design=task.design,
                frozen_until=task.recipe.frozen_until,
                frozen_norms=task.recipe.frozen_norms,
            )
            where = distribution.placement_of(detector)
            first = where.process == 0
            distribution.gather(0, where)  # wait until all processes have checked `out`
            if first:
                # The lock of `fit` does not cover what is removed before it, and what is written after it.
                with writing(out):
                    locked.enter_context(exclusive(out, "training", LOCK))
                prepare()()  # anew: another process may have written to `out` meanwhile
            distribution.gather(0, where)  # wait until the directory is prepared
            for name, split in parts.items():
                write_line(f"{name}: {split!r}"[:200])
            write_line(_objects_of_classes(training))
            with name_corrupt_files(training):
                result = fit(
                    detector,
                    task.design,
                    task.recipe,
                    batches_from,
                    steps,
                    directory=out,
                    validate=validate,
                    callbacks=callbacks,
                )
        if first:
            save(detector, out / DETECTOR)
        evaluation, tested = evaluate_readable(detector, parts[task.test_split], task.design)
        run = DetectionRun(
            task=task,
            classes=training.classes,
            test_images=len(evaluation.found),
            test_map=evaluation.map50,
            best_epoch=result.best_epoch,
            seconds=round(result.seconds, 1),
            skipped=tuple(dict.fromkeys(reason for split in parts.values() for reason in split.skipped)),
            versions=versions(),
        )
        if first:
            _write_results(run, evaluation, tested, out)
    return run


def _objects_of_classes(split: AnnotatedSplit, most: int = 20) -> str:
    """A line with the numbers of objects of the classes. Warns of classes that have none."""
    counts = split.class_counts
    counts.pop(UNUSED, None)
    if missing := [name for name, count in counts.items() if not count]:
        log.warning("no training image has an object of %s", ", ".join(missing[:most]))
    listed = ", ".join(f"{name} {count:,}" for name, count in list(counts.items())[:most])
    return f"objects of the classes: {listed}{', and more' if len(counts) > most else ''}"


def _write_results(run: DetectionRun, evaluation: Evaluation, tested: AnnotatedSplit, out: Path) -> None:
    """Writes the report, and then `run.json`, which says that the run is finished.

    Args:
        run: the content of `run.json`.
        evaluation: that of the test images.
        tested: the test images that the evaluation is of.
        out: the run directory.
    """
    shutil.rmtree(out / REPORT, ignore_errors=True)  # of a process that was killed while it wrote
    title = f"{run.task.detector} on {run.task.data}, {run.task.test_split}"
    write_report(evaluation, out / REPORT, title, functools.partial(pixels_of, tested), tested.files or None)
    write_json(dataclasses.asdict(run), out / RUN)


def _splits(task: DetectionTask, write_line: Callable[[str], object]) -> dict[str, AnnotatedSplit]:
    """The splits of a task by name, with the classes of the training images.

    Where the data have no test images of their own, `load` gives the validation images as "test". Then a part of the
    training images chooses the epoch, as for classifiers: an epoch must not be chosen on the images that are reported.

    Args:
        task: the settings of the run.
        write_line: function that gets a line if training images are held out.

    Raises:
        ValueError: a split cannot be read; all test images are training images; or the validation or the test images
            have no object from which average precision can be computed.
    """
    training = load(task.data, task.train_split, on_corrupt=task.on_corrupt)
    names = {"val_split": task.val_split, "test_split": task.test_split}
    others = {
        name: load(task.data, name, classes=training.classes, on_corrupt=task.on_corrupt)
        for name in filter(None, names.values())
    }
    if _keys(others[task.test_split]) <= _keys(training):
        raise ValueError(
            "test_split must have images that are not trained on. "
            f"Received: test_split={task.test_split!r}, whose images are all in train_split={task.train_split!r}"
        )
    if task.val_split and _keys(others[task.val_split]) == _keys(others[task.test_split]):
        training, others[task.val_split] = training.hold_out(HELD_OUT, task.recipe.seed)
        write_line(
            f"{task.test_split} has the same images as {task.val_split}: {others[task.val_split].size:,} images, held "
            f"out of {task.train_split}, choose the best epoch"
        )
    for argument, name in names.items():
        if name:
            _check_objects(argument, name, others[name])
    parts = {task.train_split: training, **others}
    _warn_of_shared_images(parts)
    return parts


def _warn_of_shared_images(parts: Mapping[str, AnnotatedSplit]) -> None:
    """Warns if two splits have some images in common: the average precision is then not that of new images."""
    for (first, one), (second, other) in itertools.combinations(parts.items(), 2):
        if shared := len(_keys(one) & _keys(other)):
            log.warning(
                "%d of the %d images of %s are also in %s: the average precision is higher than on new images",
                *(shared, other.size, second, first),
            )


def _keys(split: AnnotatedSplit) -> set[tuple[int | str, bytes]]:
    """What tells the images of a split from others: its file; without files its number in the data set, and its boxes.

    Numbers alone do not: two data sets may both count from 0.
    """
    if split.files:
        return {(name, b"") for name in split.files}
    return {(name, objects.boxes.tobytes()) for name, objects in zip(split.ids, split.objects, strict=True)}


def _check_objects(argument: str, name: str, split: AnnotatedSplit) -> None:
    """Raises a `ValueError` unless a split has an object that counts: without one, average precision is no number."""
    if all((objects.difficult | objects.crowd).all() for objects in split.objects):
        hint = " Type val_split='' (on the command line --val-split '') to take the last epoch."
        raise ValueError(
            f"{argument} must have an object that is neither difficult nor a crowd: without one there is no average "
            f"precision.{hint if argument == 'val_split' else ''} Received: {argument}={name!r}, {split!r}"
        )


def _validation(split: AnnotatedSplit | None, task: DetectionTask) -> Callable[[keras.Model], float] | None:
    if split is None:
        return None
    return lambda detector: evaluate_split(detector, split, task.design).map50
