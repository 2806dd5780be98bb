"""A run: a training from the data source to a directory with all results, see `run_directory`."""

from __future__ import annotations

import dataclasses
import functools
import json
import logging
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

import keras_resnet
from keras_resnet import zoo
from keras_resnet._internal.atomic_files import atomic_write, writing
from keras_resnet._internal.keras_graph import TensorBoard, keras_file
from keras_resnet._internal.validation import printable
from keras_resnet.data import Split, steps_per_epoch
from keras_resnet.data.sources import load_splits
from keras_resnet.data.summary import warn_of_copies, warn_of_uneven_classes
from keras_resnet.evaluation.accuracy import evaluate
from keras_resnet.evaluation.report import write_report
from keras_resnet.evaluation.result import Evaluation
from keras_resnet.export import saved_model
from keras_resnet.export.serving import CHANNELS
from keras_resnet.inputs import square_side
from keras_resnet.stages import freeze
from keras_resnet.training import checkpoints, distribution
from keras_resnet.training.batches import ImageSizes, crop, resize
from keras_resnet.training.curves import plot_curves
from keras_resnet.training.fitting import check_continues, fit_prepared, prepare_splits, settle_precision
from keras_resnet.training.longer_runs import check_copy, copy_run
from keras_resnet.training.losses import ACTIVATIONS
from keras_resnet.training.networks import open_teacher
from keras_resnet.training.rate_curve import write_rates
from keras_resnet.training.rate_finder import RateCurve
from keras_resnet.training.rate_finder import find_rate as find_rate_of
from keras_resnet.training.recipe import AUTO
from keras_resnet.training.resuming import CHECKPOINTS, LENGTH, precision_before, save_best
from keras_resnet.training.run_directory import (
    FILES,
    LAST,
    MODEL,
    RECIPE,
    REPORT,
    RUN,
    Run,
    Task,
    as_checkpoint,
    load_run,
    open_model,
    open_run,
    read_task,
)
from keras_resnet.training.summary import summary
from keras_resnet.training.waiting import WaitingForImages, gain_of, large_photographs

__all__ = ["FILES", "Run", "Task", "as_checkpoint", "find_rate", "load_run", "open_model", "open_run", "save", "train"]
SAMPLES = 8
log = logging.getLogger("keras_resnet.training")


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
    task = _with_precision_of_run(out, task, overwrite)
    recipe = task.recipe
    if not overwrite and (finished := _finished(out, task)):
        line = (
            f"{printable(out)} is finished; nothing to do: overwrite=True (on the command line --overwrite) trains it "
            "anew, more epochs go on from its end"
        )
        log.info(line)
        write_line(line)
        return finished
    source = _source(resume_from, out, overwrite)
    loaded = load_splits(task.data, on_corrupt=task.on_corrupt)
    test = loaded["test"]
    keras.utils.set_random_seed(recipe.seed)
    sizes = ImageSizes.from_recipe(recipe, row.size if task.size is None else task.size)
    if len(sizes.all) > 1:
        recipe = dataclasses.replace(recipe, train_sizes=sizes.train)  # `fit` does not get `task.size`
    with distribution.devices(devices):
        model = _build(task, None if len(sizes.all) > 1 else sizes.evaluation, test)
        where = distribution.placement_of(model)
        teacher = None if task.teacher is None else open_teacher(task.teacher, loaded["train"])
        training, validation = prepare_splits(model, recipe, loaded["train"], loaded.get("val"), teacher)
        # Where the precision is still "auto", `out` has no run that this one continues.
        before = None if recipe.precision == AUTO else precision_before(source)
        choice = settle_precision(model, recipe, training, before, teacher)
        recipe, task = dataclasses.replace(recipe, precision=choice.precision), _in_precision(task, choice.precision)
        # Files are removed only after all arguments are checked.
        check = functools.partial(check_continues, model, recipe, training, validation, source, teacher)
        steps = steps_per_epoch(training, recipe.batch_size)
        if source == out:
            prepare = _preparation(out, task, overwrite, steps, check)
        else:
            prepare = _longer_copy(source, out, task, steps, check)
        distribution.gather(0, where)  # wait until all processes have checked `out`
        first = where.process == 0
        if first:
            prepare(test)
        distribution.gather(0, where)  # wait until the directory is prepared
        if first:
            parts = _titled(training, validation, test, repeated=recipe.balanced_sampling, held_out="val" not in loaded)
            if recipe.class_weights == "none":
                warn_of_uneven_classes(training)
            warn_of_copies(parts)
            taught_by = f"teacher: {printable(task.teacher)}, {teacher.count_params():,} parameters" if teacher else ""
            for line in filter(None, (*summary(model, recipe, parts, where), choice.words, taught_by)):
                write_line(line)
        all_callbacks = [*callbacks, TensorBoard(out / "tensorboard", write_graph=False)] if first else []
        if where.devices == 1 and (photographs := large_photographs(training)):
            gain = functools.partial(gain_of, size=sizes.train[0], channels=training.channels, crop=crop(recipe))
            all_callbacks.append(WaitingForImages(task.data, photographs, gain, write_line))
        result = fit_prepared(model, recipe, training, validation, all_callbacks, out, teacher)
        epochs, planned = len(result.history["loss"]), recipe.epochs_of(steps_per_epoch(training, recipe.batch_size))
        if first and recipe.early_stopping and epochs < planned:
            write_line(f"early_stopping={recipe.early_stopping} ended the training after epoch {epochs} of {planned}")
    # From here on one device is used. Every process evaluates, so that no process has to wait long for another.
    final = _build(task, sizes.evaluation, test)
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
        versions=_versions(),
        on_corrupt=task.on_corrupt,
        epochs=epochs,
    )
    if first:
        _write_results(run, final, result.history, test, out)
        _write_report(accuracy, final, f"{run.model} on {run.data}, test", out)
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


def _with_precision_of_run(out: Path, task: Task, overwrite: bool) -> Task:
    """`task`, in which "auto" is the precision of the run in `out`, if that is this run, or a shorter one.

    The run's precision was measured when it began, perhaps on another machine, and it ends as it began.
    """
    if task.recipe.precision != AUTO or (overwrite and (out / RUN).exists()):
        return task
    try:
        before = read_task(out)
    except ValueError:  # there is none; `_preparation` says what is damaged
        return task
    same = _in_precision(task, before.recipe.precision)
    length = {name: getattr(task.recipe, name) for name in LENGTH}
    longer = dataclasses.replace(before, recipe=dataclasses.replace(before.recipe, **length))
    return same if longer.fields == same.fields else task


def _in_precision(task: Task, precision: str) -> Task:
    return dataclasses.replace(task, recipe=dataclasses.replace(task.recipe, precision=precision))


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
        model = _build(task, side, loaded["train"])
        one_size = dataclasses.replace(recipe, train_sizes=(), eval_size=0)
        found = find_rate_of(model, one_size, loaded["train"], loaded.get("val"))
    out.mkdir(parents=True, exist_ok=True)
    _, picture = write_rates(found, f"{task.model} on {task.data}", out)
    write_line(
        f"proposed learning rate: {found.proposal:g}, a tenth of the rate at which the loss is lowest in "
        f"{printable(picture)}; to train with it, type --learning-rate {found.proposal:g} in place of --find-rate"
    )
    return found


def _build(task: Task, side: int | None, split: Split) -> keras.Model:
    recipe = task.recipe
    rates = {"stochastic_depth": recipe.stochastic_depth, "drop_rate": recipe.drop_rate}
    model = zoo.create_model(
        task.model,
        input_shape=(side, side, split.channels),
        classes=len(split.classes),
        classifier_activation=ACTIVATIONS[recipe.loss],
        weights=task.weights,
        **{name: value for name, value in rates.items() if value},  # zero: the value of the zoo
    )
    return freeze(model, until=task.freeze_until) if task.freeze_until else model


def _write_results(run: Run, model: keras.Model, history: dict[str, list[float]], test: Split, out: Path) -> None:
    """Writes the files of a finished run; `run.json` is the last one, because it marks the run as finished."""
    save(model, out / MODEL)
    plot_curves(history, f"{run.model} on {run.data}", out / "curves.png", run.best_epoch)
    _write_samples(test, out / "samples")
    if keras.backend.backend() == "tensorflow" and test.channels in CHANNELS:
        shutil.rmtree(out / "export", ignore_errors=True)  # from a run that was killed while it exported
        saved_model(
            model,
            out / "export",
            class_names=run.classes,
            checkpoint=as_checkpoint(run, model, out),
            resize=resize(run.recipe),
        )
    _write_json(dataclasses.asdict(run), out / RUN)
    checkpoints.keep_newest(out / CHECKPOINTS)  # from which more epochs can go on


def _write_report(evaluation: Evaluation, model: keras.Model, title: str, out: Path) -> None:
    """Writes the report of a finished run, in place of that of a shorter training. An error is only a warning."""
    new = out / f".{REPORT}"
    try:
        shutil.rmtree(new, ignore_errors=True)  # from a run that was killed while it wrote
        shutil.rmtree(out / REPORT, ignore_errors=True)  # it describes another training
        write_report(evaluation, new, title, model)
        new.rename(out / REPORT)
    except Exception as error:  # the run is finished and whole: nothing that a report needs may spoil it
        log.warning(
            "the run is finished, but its report is not written: %s; `keras-resnet evaluate %s --report DIR` writes it",
            *(error, printable(out)),
        )
    finally:
        shutil.rmtree(new, ignore_errors=True)


def save(model: keras.Model, path: Path) -> None:
    """Saves a model as a `.keras` file; if the process is killed meanwhile, a file that was there before stays."""
    with atomic_write(path) as temporary:
        temporary.write_bytes(keras_file(model))


def _preparation(
    out: Path, task: Task, overwrite: bool, steps: int, check: Callable[[], None]
) -> Callable[[Split], None]:
    """The function that prepares `out` for a training; it gets the test images. Until it is called nothing changes.

    Args:
        out: the run directory.
        task: the settings of the run.
        overwrite: as in `train`.
        steps: number of steps of an epoch.
        check: function that raises a `ValueError` unless the training can go on from the last checkpoint.

    Raises:
        ValueError: `out` holds something that must not be replaced.
    """
    existing = [name for name in FILES if (out / name).exists()]
    start = functools.partial(_start, out, task, existing)
    finished = RUN in existing
    if not existing or (finished and overwrite):
        return start
    problem = f"which holds {', '.join(existing)}"
    if RECIPE in existing:
        try:
            before = _task_before(out)
            different = _differences(before, task)
            if not different and not finished:
                return lambda test: None  # `fit` continues from the checkpoint
            if not different:
                open_run(out)  # raises the error for which it is not taken as finished
            if finished and _is_longer(before, task, steps):
                _check_longer(out, check)
                return functools.partial(_reopen, out, task)
            problem = (
                f"which holds {'a finished' if finished else 'an unfinished'} run with another {', '.join(different)}"
            )
        except ValueError as error:
            problem = f"where {error}"
    if not overwrite:
        raise ValueError(
            "out must be a new directory, unless overwrite=True (on the command line --overwrite) is given. "
            f"Received: {printable(out)}, {problem}"
        )
    return start


def _source(resume_from: str | os.PathLike[str] | None, out: Path, overwrite: bool) -> Path:
    """The directory of the run that a training continues: `out`, unless `out` must become a copy of `resume_from`.

    Raises:
        ValueError: `resume_from` is not a finished run, or `overwrite` is given too.
    """
    if resume_from is None or Path(resume_from).resolve() == out.resolve():
        return out
    if overwrite:
        raise ValueError("overwrite must be False with resume_from; remove the directory out yourself")
    if (out / RECIPE).exists():  # the same call began before; if it is another run, `_preparation` says so
        return out
    check_copy(Path(resume_from), out)
    return Path(resume_from)


def _longer_copy(source: Path, out: Path, task: Task, steps: int, check: Callable[[], None]) -> Callable[[Split], None]:
    """As `_preparation`, for `out` that becomes a copy of a finished run, with more epochs."""
    before = _task_before(source)
    length = {name: getattr(before.recipe, name) for name in LENGTH}
    as_long = dataclasses.replace(task, recipe=dataclasses.replace(task.recipe, **length))
    if different := _differences(before, as_long):
        raise ValueError(
            f"resume_from must be a run with the same settings, except epochs. Received: {printable(source)}, "
            f"a run with another {', '.join(different)}"
        )
    if not _is_longer(before, task, steps):
        raise ValueError(
            f"epochs must be more than the {before.recipe.epochs_of(steps)} of the run in resume_from, "
            f"{printable(source)}. Received: epochs={task.recipe.epochs_of(steps)}"
        )
    _check_longer(source, check)

    def prepare(test: Split) -> None:
        copy_run(source, out)
        _reopen(out, task, test)

    return prepare


def _task_before(out: Path) -> Task:
    """The settings of the run in a directory. Those of a finished run may be longer in recipe.json, see `_reopen`."""
    task = read_task(out)
    return dataclasses.replace(task, recipe=load_run(out).recipe) if (out / RUN).exists() else task


def _finished(out: Path, task: Task) -> Run | None:
    """The run in a directory, if it is finished and has these settings."""
    try:
        if not (out / RUN).exists() or _differences(_task_before(out), task):
            return None
        return open_run(out)[0]
    except ValueError:  # `_preparation` says what is damaged, after all arguments are checked
        return None


def _differences(before: Task, now: Task) -> list[str]:
    """How the fields of two tasks differ, as text."""
    old, new = before.fields, now.fields
    different = [name for name in new if name != "recipe" and old[name] != new[name]]
    changed = [
        f"{name} (was {old['recipe'][name]}, is {value})"
        for name, value in new["recipe"].items()
        if old["recipe"][name] != value
    ]
    return different + ([f"recipe: {', '.join(changed)}"] if changed else [])


def _is_longer(before: Task, now: Task, steps: int) -> bool:
    """Whether a task is another one with more epochs."""
    length = {name: getattr(now.recipe, name) for name in LENGTH}
    same = dataclasses.replace(before, recipe=dataclasses.replace(before.recipe, **length)).fields == now.fields
    return same and before.recipe.epochs_of(steps) < now.recipe.epochs_of(steps)


def _check_longer(out: Path, check: Callable[[], None]) -> None:
    """Raises a `ValueError` unless a finished run can go on for more epochs. `check` is as in `_preparation`."""
    open_run(out)
    try:
        check()
    except ValueError as error:
        weights = printable(out / (LAST if (out / LAST).exists() else MODEL))
        raise ValueError(
            f"{error}; a new training can start from the weights, with another --out and --weights {weights}"
        ) from error


def _start(out: Path, task: Task, obsolete: Sequence[str], test: Split) -> None:
    """Removes obsolete files and writes `recipe.json`."""
    out.mkdir(parents=True, exist_ok=True)
    for name in obsolete:
        path = out / name
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    _write_json({**task.fields, "versions": _versions()}, out / RECIPE)


def _reopen(out: Path, task: Task, test: Split) -> None:
    """Makes a finished run an unfinished one with more epochs. A kill at any place leaves one of the two."""
    run, model = open_run(out)
    if run.best_epoch is not None:
        network = _build(task, square_side(model), test)  # has the variables of the training, also those of seeds
        network.set_weights(model.get_weights())
        save_best(network.variables, out / CHECKPOINTS)
    _write_json({**task.fields, "versions": _versions()}, out / RECIPE)
    (out / RUN).unlink()


def _versions() -> dict[str, str]:
    return {
        "keras_resnet": keras_resnet.__version__,
        "keras": keras.__version__,
        "tensorflow": tf.__version__,
        "backend": keras.backend.backend(),
    }


def _write_json(content: Any, path: Path) -> None:
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n")


def _write_samples(split: Split, directory: Path) -> None:
    """Writes the first images of a split as `NUMBER_is_CLASS.png`."""
    directory.mkdir(exist_ok=True)
    for number, (image, label) in enumerate(split.examples.take(SAMPLES)):
        name = "".join(c if c.isalnum() else "_" for c in split.classes[int(label)])
        path = directory / f"{number}_is_{name}.png"
        with writing(path):
            path.write_bytes(tf.io.encode_png(image).numpy())
