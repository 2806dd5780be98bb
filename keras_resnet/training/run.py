"""A run: a training from the data source to a directory with all results.

recipe.json   everything needed to repeat it      run.json      settings and results of a finished run
history.csv   loss, accuracy and rate by epoch    curves.png    plot of loss and accuracy
model.keras   the network as plain Keras          last.keras    the last epoch, if the best one was chosen
export/1/     a SavedModel for TF Serving         samples/      some test images to try the network on
tensorboard/  logs for TensorBoard                checkpoints/  only while the training is unfinished
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

import keras_resnet
from keras_resnet import zoo
from keras_resnet._internal.atomic_files import atomic_write
from keras_resnet._internal.keras_graph import TensorBoard
from keras_resnet._internal.validation import printable
from keras_resnet.data import Split
from keras_resnet.data.sources import load_splits
from keras_resnet.data.summary import warn
from keras_resnet.evaluation.accuracy import evaluate
from keras_resnet.export import saved_model
from keras_resnet.export.serving import CHANNELS
from keras_resnet.inputs import square_side
from keras_resnet.resnet import let_keras_recurse
from keras_resnet.stages import freeze
from keras_resnet.training import distribution
from keras_resnet.training.batches import ImageSizes, resize
from keras_resnet.training.curves import plot_curves
from keras_resnet.training.fitting import fit, prepare_splits
from keras_resnet.training.losses import ACTIVATIONS
from keras_resnet.training.recipe import Recipe, current_names, recipe_of
from keras_resnet.training.resuming import CHECKPOINTS
from keras_resnet.training.summary import summary
from keras_resnet.weights import Checkpoint
from keras_resnet.weights.keras_files import open_keras_file
from keras_resnet.weights.tensors import WeightsError

SAMPLES = 8
FILES = (
    *("recipe.json", "run.json", "history.csv", "curves.png", "model.keras", "last.keras"),
    *("export", "samples", "tensorboard", CHECKPOINTS),
)


@dataclasses.dataclass(frozen=True)
class Task:
    """The settings of a run. The file `recipe.json` holds them and the versions of the libraries.

    Attributes:
        model: one of `keras_resnet.list_models()`.
        data: a data source, as in `keras_resnet.data.load`.
        recipe: how to train.
        size: side of the images in pixels, if the recipe has no size; None: the size of the model in the zoo.
        weights: initial weights: a tag, "hf://timm/<model>" or the path of a file; None: random weights.
        freeze_until: the layers before this stage are not trained, see `keras_resnet.freeze`; None: all are trained.
        on_corrupt: what to do with a file that is not a readable image: "stop" or "skip".
    """

    model: str
    data: str
    recipe: Recipe
    size: int | None = None
    weights: str | None = None
    freeze_until: str | None = None
    on_corrupt: str = "stop"


@dataclasses.dataclass(frozen=True)
class Run:
    """The content of `run.json`: settings and results of a finished run."""

    model: str
    data: str
    classes: tuple[str, ...]
    recipe: Recipe
    parameters: int
    test_images: int
    test_accuracy: float
    best_epoch: int | None
    seconds: float
    skipped: tuple[str, ...]
    versions: dict[str, str]
    on_corrupt: str = "stop"


def train(
    task: Task,
    out: str | os.PathLike[str],
    callbacks: Sequence[keras.callbacks.Callback] = (),
    overwrite: bool = False,
    devices: int | None = None,
    write_line: Callable[[str], object] = lambda line: None,
) -> Run:
    """Trains a model of the zoo and writes a run directory. The same call continues a run that was stopped or killed.

    Validation images choose the best epoch: those of the data source if it has some besides its test images,
    otherwise the `validation_split` of the recipe, which is held out of the training images. The test images are used
    only once, at the end.

    Args:
        task: the settings of the run.
        out: the run directory; it is created if it is missing. If several processes train together, all must see it,
            and process 0 writes the files.
        callbacks: Keras callbacks; only process 0 uses them.
        overwrite: True: replace a finished run, or a run of another task. An unfinished run of the same task continues.
        devices: number of devices that share each batch, see `keras_resnet.training.distribution.devices`.
        write_line: function that gets each line of the summary before the training begins, for example `print`.

    Returns:
        The content of `run.json`.

    Raises:
        ValueError: an argument is wrong, or `out` holds a finished run or a run of another task. `out` is then
            unchanged.

    Example:
        >>> from keras_resnet.training import RECIPES
        >>> from keras_resnet.training.run import Task, train
        >>> train(Task("ResNet20", "digits", RECIPES["one_cycle"]), "runs/digits").test_accuracy  # doctest: +SKIP
    """
    row = zoo.row_of(task.model)
    out, recipe = Path(out), task.recipe
    loaded = load_splits(task.data, on_corrupt=task.on_corrupt)
    test = loaded["test"]
    keras.utils.set_random_seed(recipe.seed)
    sizes = ImageSizes.from_recipe(recipe, row.size if task.size is None else task.size)
    if len(sizes.all) > 1:
        recipe = dataclasses.replace(recipe, train_sizes=sizes.train)  # `fit` does not get `task.size`
    with distribution.devices(devices):
        model = _build(task, None if len(sizes.all) > 1 else sizes.evaluation, test)
        where = distribution.placement_of(model)
        training, validation = prepare_splits(model, recipe, loaded["train"], loaded.get("val"))
        # Files are removed only after all arguments are checked.
        obsolete = _obsolete_files(out, task, overwrite)
        distribution.gather(0, where)  # wait until all processes have checked `out`
        first = where.process == 0
        if first:
            _prepare_directory(out, task, obsolete)
        distribution.gather(0, where)  # wait until the directory is prepared
        if first:
            title = "validation" if "val" in loaded else "validation (held out of the training images)"
            parts = {"training": training, **({title: validation} if validation is not None else {}), "test": test}
            warn(parts)
            for line in summary(model, recipe, parts, where):
                write_line(line)
        all_callbacks = [*callbacks, TensorBoard(out / "tensorboard", write_graph=False)] if first else []
        result = fit(model, recipe, training, validation, all_callbacks, out)
    # From here on one device is used. Every process evaluates, so that no process has to wait long for another.
    final = _build(task, sizes.evaluation, test)
    if validation is not None and first:
        final.set_weights(result.last_weights)
        save(final, out / "last.keras")
    final.set_weights(model.get_weights())
    accuracy = evaluate(final, test, recipe.batch_size, resize=resize(recipe))
    run = Run(
        model=task.model,
        data=task.data,
        classes=test.classes,
        recipe=recipe,
        parameters=final.count_params(),
        test_images=test.size - len(test.skipped),
        test_accuracy=accuracy,
        best_epoch=result.best_epoch,
        seconds=round(result.seconds, 1),
        skipped=tuple(name for split in loaded.values() for name in split.skipped),
        versions=_versions(),
        on_corrupt=task.on_corrupt,
    )
    if first:
        _write_results(run, final, result.history, test, out)
    return run


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
    save(model, out / "model.keras")
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
    _write_json(dataclasses.asdict(run), out / "run.json")
    shutil.rmtree(out / CHECKPOINTS, ignore_errors=True)


def save(model: keras.Model, path: Path) -> None:
    """Saves a model as a `.keras` file; if the process is killed meanwhile, a file that was there before stays."""
    with atomic_write(path) as temporary:
        model.save(temporary)


def load_run(directory: Path) -> Run:
    """Reads `run.json` of a run directory.

    Raises:
        ValueError: the directory has no readable `run.json`.
    """
    try:
        content = json.loads((directory / "run.json").read_text())
        lists = {name: tuple(value) for name, value in content.items() if isinstance(value, list)}
        return Run(**{**content, **lists, "recipe": recipe_of(content["recipe"])})
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ValueError(
            "directory must be a run directory, with a readable run.json. "
            f"Received: {directory} ({type(error).__name__}: {error})"
        ) from error


def as_checkpoint(run: Run, model: keras.Model, directory: Path) -> Checkpoint:
    """A row for the weights of a run, like the rows of published checkpoints."""
    return Checkpoint(
        run.model,
        "own run",
        str(directory),
        size=square_side(model),
        crop_pct=run.recipe.crop_pct,
        top1=100 * run.test_accuracy,
        top1_source=f"{run.test_images:,} test images",
        data=run.data,
        classes=len(run.classes),
        channels=model.input_shape[-1],
    )


def open_model(path: Path) -> keras.Model:
    """Loads the model of a run directory, or a `.keras` file.

    Raises:
        ValueError: there is no such file, or it is not a readable `.keras` file.
    """
    file = path / "model.keras" if path.is_dir() else path
    if not file.is_file() or file.suffix != ".keras":
        problem = "there is no such file" if not file.is_file() else "the file name does not end in .keras"
        if str(path) in zoo.ROWS:
            problem = (
                f"a model of the zoo; for published weights add --weights, see keras-resnet models {path} --weights"
            )
        raise ValueError(f"model must be a run directory or a .keras file. Received: {file}, {problem}")
    let_keras_recurse(blocks=zoo.DEEPEST)
    try:
        return open_keras_file(file)
    except ValueError as error:
        raise WeightsError(f"model must be a readable .keras file. Received: {printable(file)} ({error})") from error


def _obsolete_files(out: Path, task: Task, overwrite: bool) -> list[str] | None:
    """The files and directories to remove from `out` before a run; None if an unfinished run of this task continues."""
    fields = _task_fields(task)
    existing = [name for name in FILES if (out / name).exists()]
    different: list[str] = []
    if "run.json" not in existing and "recipe.json" in existing:
        unfinished = json.loads((out / "recipe.json").read_text())
        if isinstance(unfinished.get("recipe"), dict):
            unfinished["recipe"] = current_names(unfinished["recipe"])
        different = [_difference(name, unfinished.get(name), fields[name]) for name in fields]
        different = [text for text in different if text]
        if not different:
            return None
    if existing and not overwrite:
        content = f"an unfinished run with another {', '.join(different)}" if different else ", ".join(existing)
        raise ValueError(
            "out must be a new directory, unless overwrite=True (on the command line --overwrite) is given. "
            f"Received: {out}, which holds {content}"
        )
    return existing


def _difference(name: str, before: Any, now: Any) -> str:
    """How a field of a task differs from the one in a file; "" if it does not."""
    if before == now:
        return ""
    if name != "recipe" or not isinstance(before, dict):
        return name
    changed = [
        f"{field} (was {before.get(field)}, is {now[field]})" for field in now if before.get(field) != now[field]
    ]
    return f"recipe: {', '.join(changed)}"


def _prepare_directory(out: Path, task: Task, obsolete: list[str] | None) -> None:
    """Removes obsolete files and writes `recipe.json`; does nothing if an unfinished run continues."""
    if obsolete is None:
        return
    out.mkdir(parents=True, exist_ok=True)
    for name in obsolete:
        path = out / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    _write_json({**_task_fields(task), "versions": _versions()}, out / "recipe.json")


def _task_fields(task: Task) -> dict[str, Any]:
    """The fields of a task as they are after writing and reading JSON."""
    return json.loads(json.dumps(dataclasses.asdict(task)))


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
        (directory / f"{number}_is_{name}.png").write_bytes(tf.io.encode_png(image).numpy())
