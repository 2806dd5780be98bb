"""A run: a training from the data source to a directory with all results, see `run_directory`."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import keras

from keras_resnet import zoo
from keras_resnet._internal.keras_graph import TensorBoard
from keras_resnet._internal.validation import printable
from keras_resnet.data import Split, steps_per_epoch
from keras_resnet.data.sources import load_splits
from keras_resnet.data.summary import warn_of_copies, warn_of_uneven_classes
from keras_resnet.evaluation.accuracy import evaluate
from keras_resnet.training import distribution
from keras_resnet.training.batches import ImageSizes, crop, resize
from keras_resnet.training.continuing import (
    finished_run,
    in_precision,
    preparation,
    source_of,
    with_precision_of_run,
)
from keras_resnet.training.early_stopping import has_stopped_rising
from keras_resnet.training.fitting import check_continues, fit_prepared, prepare_splits, settle_precision
from keras_resnet.training.networks import build_network, open_teacher
from keras_resnet.training.rate_curve import write_rates
from keras_resnet.training.rate_finder import RateCurve
from keras_resnet.training.rate_finder import find_rate as find_rate_of
from keras_resnet.training.recipe import AUTO, Recipe
from keras_resnet.training.results import save, write_results, write_run_report
from keras_resnet.training.resuming import precision_before
from keras_resnet.training.run_directory import (
    FILES,
    LAST,
    Run,
    Task,
    as_checkpoint,
    load_run,
    open_model,
    open_run,
    versions,
)
from keras_resnet.training.summary import summary
from keras_resnet.training.waiting import watchers

__all__ = ["FILES", "Run", "Task", "as_checkpoint", "find_rate", "load_run", "open_model", "open_run", "save", "train"]


def train(
    task: Task,
    out: str | os.PathLike[str],
    callbacks: Sequence[keras.callbacks.Callback] = (),
    overwrite: bool = False,
    devices: int | None = None,
    write_line: Callable[[str], object] = lambda line: None,
    resume_from: str | os.PathLike[str] | None = None,
) -> Run:
    """Trains a model of the zoo and writes a run directory. The same call continues a run that was stopped or killed.

    If the run is finished already, the same call returns its result. With more epochs, and all else the same, it goes
    on from its last checkpoint: the learning rate then follows the schedule of all epochs, so the result is not that of
    so many epochs in one run.

    Validation images choose the best epoch: those of the data source if it has some besides its test images,
    otherwise the `validation_split` of the recipe, which is held out of the training images. The test images are used
    only once, at the end.

    Args:
        task: the settings of the run.
        out: the run directory; it is created if it is missing. If several processes train together, all must see it,
            and process 0 writes the files.
        callbacks: Keras callbacks; only process 0 uses them.
        overwrite: True: replace a finished run, or a run of another task. An unfinished run of the same task continues.
            False: the files in `out` are never replaced by those of another task.
        devices: number of devices that share each batch, see `keras_resnet.training.distribution.devices`.
        write_line: function that gets each line about the training, for example `print`: the summary before it begins,
            and whether `early_stopping` ended it.
        resume_from: the directory of a finished run, which stays as it is: the training goes on from its end in `out`,
            with the same result as in that directory. `task` must be that of the run with more epochs, and `out` new
            or empty, or hold this longer run already. None: the training goes on from what is in `out`.

    Returns:
        The content of `run.json`.

    Raises:
        ValueError: an argument is wrong, or `out` holds a run of another task or damaged files. `out` is then
            unchanged.

    Example:
        >>> from keras_resnet.training import RECIPES
        >>> from keras_resnet.training import Task, train
        >>> train(Task("ResNet20", "digits", RECIPES["one_cycle"]), "runs/digits").test_accuracy  # doctest: +SKIP
    """
    row, out = zoo.row_of(task.model), Path(out)
    task = with_precision_of_run(task, out, resume_from, overwrite)
    recipe = task.recipe
    if not overwrite and (finished := finished_run(out, task, write_line)):
        return finished
    source = source_of(resume_from, out, overwrite)
    loaded = load_splits(task.data, on_corrupt=task.on_corrupt)
    test = loaded["test"]
    keras.utils.set_random_seed(recipe.seed)
    sizes = ImageSizes.from_recipe(recipe, row.size if task.size is None else task.size)
    if len(sizes.all) > 1:
        recipe = dataclasses.replace(recipe, train_sizes=sizes.train)  # `fit` does not get `task.size`
    with distribution.devices(devices):
        model = build_network(task, None if len(sizes.all) > 1 else sizes.evaluation, test)
        where = distribution.placement_of(model)
        teacher = None if task.teacher is None else open_teacher(task.teacher, loaded["train"])
        training, validation = prepare_splits(model, recipe, loaded["train"], loaded.get("val"), teacher)
        # Where the precision is still "auto", neither `out` nor `resume_from` has a run that this one continues.
        before = None if recipe.precision == AUTO else precision_before(source)
        choice = settle_precision(model, recipe, training, before, teacher)
        recipe, task = dataclasses.replace(recipe, precision=choice.precision), in_precision(task, choice.precision)
        # Files are removed only after all arguments are checked.
        steps = steps_per_epoch(training, recipe.batch_size)
        check = functools.partial(check_continues, model, recipe, training, validation, source, teacher)
        prepare = preparation(source, out, task, overwrite, steps, check, test)
        distribution.gather(0, where)  # wait until all processes have checked `out`
        first = where.process == 0
        if first:
            prepare()
        distribution.gather(0, where)  # wait until the directory is prepared
        all_callbacks = []
        if first:
            parts = _titled(training, validation, test, repeated=recipe.balanced_sampling, held_out="val" not in loaded)
            lines = *summary(model, recipe, parts, where), choice.words, _about(task.teacher, teacher)
            _introduce(parts, recipe, lines, write_line)
            all_callbacks = [*callbacks, TensorBoard(out / "tensorboard", write_graph=False)]
            if where.devices == 1:
                all_callbacks += watchers(task.data, training, sizes.train[0], crop(recipe), write_line)
        result = fit_prepared(model, recipe, training, validation, all_callbacks, out, teacher)
        if first:
            _say_if_stopped_early(recipe, result.history, recipe.epochs_of(steps), write_line)
    # From here on one device is used. Every process evaluates, so that no process has to wait long for another.
    final = build_network(task, sizes.evaluation, test)
    if validation is not None and first:
        final.set_weights(result.last_weights)
        save(final, out / LAST)
    final.set_weights(model.get_weights())
    accuracy = evaluate(final, test, recipe.batch_size, resize=resize(recipe))
    run = Run(
        model=task.model,
        data=task.data,
        classes=test.classes,
        recipe=recipe,
        parameters=final.count_params(),
        test_images=test.size - len(test.skipped),
        test_accuracy=float(accuracy),
        balanced_accuracy=accuracy.balanced_accuracy,
        best_epoch=result.best_epoch,
        seconds=round(result.seconds, 1),
        skipped=tuple(name for split in loaded.values() for name in split.skipped),
        versions=versions(),
        on_corrupt=task.on_corrupt,
        epochs=len(result.history["loss"]),
    )
    if first:
        write_results(run, final, result.history, test, out)
        write_run_report(accuracy, final, f"{run.model} on {run.data}, test", out)
    return run


def _titled(training: Split, validation: Split | None, test: Split, repeated: bool, held_out: bool) -> dict[str, Split]:
    """The images of a training by the titles that the summary has for them.

    Args:
        training, validation, test: the images.
        repeated: whether images of rare classes are repeated for training.
        held_out: whether the validation images were training images.
    """
    titles = {
        f"training{' (images of rare classes are repeated)' if repeated else ''}": training,
        f"validation{' (held out of the training images)' if held_out else ''}": validation,
        "test": test,
    }
    return {title: split for title, split in titles.items() if split is not None}


def _about(name: str | None, teacher: keras.Model | None) -> str:
    """The line about a teacher; empty if there is none."""
    return (
        "" if name is None or teacher is None else f"teacher: {printable(name)}, {teacher.count_params():,} parameters"
    )


def _introduce(
    parts: Mapping[str, Split], recipe: Recipe, lines: Iterable[str | None], write_line: Callable[[str], object]
) -> None:
    """Warns of what is wrong with the images, and writes the lines that are not empty.

    Args:
        parts: the images by their titles, the training images first.
        recipe: how the network is trained.
        lines: the lines.
        write_line: function that gets them.
    """
    if recipe.class_weights == "none":
        warn_of_uneven_classes(next(iter(parts.values())))
    warn_of_copies(parts)
    for line in filter(None, lines):
        write_line(line)


def _say_if_stopped_early(
    recipe: Recipe, history: Mapping[str, Sequence[float]], planned: int, write_line: Callable[[str], object]
) -> None:
    """Writes the line that `early_stopping` ended a training; a callback may have ended it too.

    Args:
        recipe: how the network was trained.
        history: that of the training.
        planned: number of epochs without an early end.
        write_line: function that gets the line.
    """
    epochs = len(history["loss"])
    if epochs < planned and has_stopped_rising(history.get("val_accuracy", [0.0]), recipe.early_stopping):
        write_line(f"early_stopping={recipe.early_stopping} ended the training after epoch {epochs} of {planned}")


def find_rate(
    task: Task,
    out: str | os.PathLike[str],
    devices: int | None = None,
    write_line: Callable[[str], object] = lambda line: None,
) -> RateCurve:
    """Proposes a learning rate for a run, see `keras_resnet.training.find_rate`. No file of a run is written.

    Args:
        task: the settings of the run. Its `learning_rate` does not matter. Of several `train_sizes` the first is used.
        out: directory for rates.csv and rates.png, for example that of the run; it is created if it is missing.
        devices: as in `train`.
        write_line: function that gets the lines with the result.

    Returns:
        The proposal and the curve.

    Raises:
        ValueError: an argument is wrong, or the loss does not fall at any rate. No file is then written.
    """
    out, recipe = Path(out), task.recipe
    if out.exists() and not out.is_dir():
        raise ValueError(f"out must be a directory. Received: {printable(out)}, a file")
    loaded = load_splits(task.data, on_corrupt=task.on_corrupt)
    keras.utils.set_random_seed(recipe.seed)
    side = ImageSizes.from_recipe(recipe, task.size or zoo.row_of(task.model).size).train[0]
    with distribution.devices(devices):
        model = build_network(task, side, loaded["train"])
        one_size = dataclasses.replace(recipe, train_sizes=(), eval_size=0)
        teacher = None if task.teacher is None else open_teacher(task.teacher, loaded["train"])
        found = find_rate_of(model, one_size, loaded["train"], loaded.get("val"), teacher=teacher)
    out.mkdir(parents=True, exist_ok=True)
    _, picture = write_rates(found, f"{task.model} on {task.data}", out)
    write_line(
        f"proposed learning rate: {found.proposal:g}, a tenth of the rate at which the loss is lowest in "
        f"{printable(picture)}; to train with it, type --learning-rate {found.proposal:g} in place of --find-rate"
    )
    return found
