"""A run: a training of a detector from the data source to a directory with all results, see `run_directory`."""

from __future__ import annotations

import dataclasses
import functools
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import keras

from keras_resnet._internal.atomic_files import writing
from keras_resnet._internal.validation import printable
from keras_resnet.detection.annotations import AnnotatedSplit
from keras_resnet.detection.coco_ap import import_counter
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
from keras_resnet.training.results import save
from keras_resnet.training.run_directory import RECIPE, REPORT, RUN, versions, write_json

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
            then unchanged.

    Example:
        >>> from keras_resnet.detection import RECIPES, DetectionTask, train
        >>> task = DetectionTask("fasterrcnn_resnet50_fpn", "voc:photos", RECIPES["small_data"])
        >>> train(task, "runs/photos").test_map  # doctest: +SKIP
    """
    out = Path(out)
    continues = _continues(task, out, overwrite)
    if continues and (out / RUN).exists() and not overwrite:
        return load_run(out)
    import_counter()  # the report needs it: better an error now than after the training
    parts = _splits(task, write_line)
    training = parts[task.train_split]
    batches_from, steps = batches_of(training, task.design, task.recipe)
    validate = _validation(parts.get(task.val_split), task)
    check_recipe(task.recipe, steps, validate)
    keras.utils.set_random_seed(task.recipe.seed)
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
        if not continues:  # files are removed only after all arguments are checked
            _begin(task, out)
        for name, split in parts.items():
            write_line(f"{name}: {split!r}"[:200])
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
    save(detector, out / DETECTOR)
    evaluation, tested = evaluate_readable(detector, parts[task.test_split], task.design)
    shutil.rmtree(out / REPORT, ignore_errors=True)  # of a process that was killed while it wrote
    title = f"{task.detector} on {task.data}, {task.test_split}"
    write_report(evaluation, out / REPORT, title, functools.partial(pixels_of, tested), tested.files or None)
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
    write_json(dataclasses.asdict(run), out / RUN)
    return run


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
    return {task.train_split: training, **others}


def _keys(split: AnnotatedSplit) -> set[tuple[int | str, bytes]]:
    """What tells the images of a split from others: file or number in the data set, and boxes.

    Numbers alone do not: two files of COCO's format may both count from 0.
    """
    pairs = zip(split.files or split.ids, split.objects, strict=True)
    return {(name, objects.boxes.tobytes()) for name, objects in pairs}


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


def _continues(task: DetectionTask, out: Path, overwrite: bool) -> bool:
    """Whether `out` holds a run of this task, which continues or is finished.

    Raises:
        ValueError: `out` holds something else, and must not be replaced.
    """
    existing = [name for name in FILES if (out / name).exists()]
    if not existing:
        return False
    try:
        same = read_task(out).fields == task.fields
        problem = "a run with other settings"
    except ValueError as error:
        same, problem = False, str(error)
    if same and not (overwrite and RUN in existing):
        return True
    if not overwrite:
        raise ValueError(
            "out must be a new directory, unless overwrite=True (on the command line --overwrite) is given. "
            f"Received: {printable(out)}, which holds {', '.join(existing)}: {problem}"
        )
    return False


def _begin(task: DetectionTask, out: Path) -> None:
    """Removes the files of another run, and writes the settings of this one."""
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
    for path in (out / name for name in FILES):
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    write_json({**task.fields, "versions": versions()}, out / RECIPE)
