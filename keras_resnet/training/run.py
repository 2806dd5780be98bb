"""A run: one training from data to a directory that holds everything it gave.

recipe.json   all that it takes to repeat it      run.json      what was run, and what came out
history.csv   loss, accuracy and rate by epoch    curves.png    the same, drawn
model.keras   the network, plain Keras            last.keras    that of the last epoch, if the best was chosen
export/1/     a SavedModel for TF Serving         samples/      some test images, to try
tensorboard/  logs for TensorBoard                checkpoints/  while it trains
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

import keras_resnet
from keras_resnet import zoo
from keras_resnet._internal.atomic_files import atomic_write
from keras_resnet._internal.keras_graph import TensorBoard
from keras_resnet.data import Split, load
from keras_resnet.evaluation.accuracy import evaluate
from keras_resnet.export import saved_model
from keras_resnet.export.saved_model import CHANNELS
from keras_resnet.inputs import square_side
from keras_resnet.resnet import let_keras_recurse
from keras_resnet.stages import freeze
from keras_resnet.training import distribution
from keras_resnet.training.batches import Sides, resize
from keras_resnet.training.curves import plot_curves
from keras_resnet.training.fitting import fit, parts
from keras_resnet.training.losses import ACTIVATIONS
from keras_resnet.training.recipe import Recipe, current_names, recipe_of
from keras_resnet.training.resuming import CHECKPOINTS
from keras_resnet.weights import Checkpoint

SAMPLES = 8
FILES = (
    *("recipe.json", "run.json", "history.csv", "curves.png", "model.keras", "last.keras"),
    *("export", "samples", "tensorboard", CHECKPOINTS),
)


@dataclasses.dataclass(frozen=True)
class Task:
    """What is asked for: with the versions, all that `recipe.json` holds.

    Attributes:
        model: one of `keras_resnet.list_models()`.
        data: a source as `keras_resnet.data.load` takes it.
        recipe: how to train.
        size: side of the images in pixels where the recipe has none; None: what the model's row says.
        weights: to start from: a tag, "hf://timm/<model>" or a file; or None.
        freeze_until: the layers before this stage or block stay as they are, see `keras_resnet.freeze`; or None.
        on_corrupt: "stop" or "skip" where a file is no readable image.
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
    """What `run.json` says."""

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
) -> Run:
    """Trains a model of the zoo and leaves a run directory; the same call goes on with what was stopped or killed.

    The test images are looked at after each epoch, for the curves, unless the recipe holds images out; then once.

    Args:
        task: what to train, on what, and how.
        out: the directory; made where it does not exist. Of several processes all must see it, and the first writes.
        callbacks: Keras callbacks; of the first process.
        overwrite: whether a finished or another run in `out` may be replaced; an unfinished one of this task goes on.
        devices: to share each batch, as `keras_resnet.training.distribution.devices` takes them.

    Returns:
        The run, as written to `run.json`.

    Raises:
        ValueError: an argument is wrong, or `out` holds a finished run, or one of something else; then nothing there
            was touched.
    """
    row = zoo.row_of(task.model)
    out, recipe = Path(out), task.recipe
    splits = tuple(load(task.data, split, on_corrupt=task.on_corrupt) for split in ("train", "test"))
    keras.utils.set_random_seed(recipe.seed)
    sides = Sides.asked(recipe, row.size if task.size is None else task.size)
    if len(sides.all) > 1:
        recipe = dataclasses.replace(recipe, train_sizes=sides.train)  # `fit` is not told another
    validation = None if recipe.validation_split else splits[1]
    with distribution.devices(devices):
        model = _build(task, None if len(sides.all) > 1 else sides.test, splits[0])
        where = distribution.place(model)
        parts(model, recipe, splits[0], validation)
        # Only now, when nothing that the user gave can be wrong any more.
        found = _check_room(out, task, overwrite)
        distribution.gather(0, where)  # all have looked
        first = where.process == 0
        if first:
            _make_room(out, task, found)
        distribution.gather(0, where)  # there is room
        listeners = [*callbacks, TensorBoard(out / "tensorboard", write_graph=False)] if first else []
        result = fit(model, recipe, splits[0], validation, listeners, out)
    # One device from here on. Every process measures, so that none has to wait long for another.
    final = _build(task, sides.test, splits[0])
    last = bool(recipe.validation_split)
    if last and first:
        final.set_weights(result.last_weights)
        save(final, out / "last.keras")
    final.set_weights(model.get_weights())
    accuracy = evaluate(final, splits[1], recipe.batch_size, resize=resize(recipe))
    run = Run(
        model=task.model,
        data=task.data,
        classes=splits[0].classes,
        recipe=recipe,
        parameters=final.count_params(),
        test_images=splits[1].size - len(splits[1].skipped),
        test_accuracy=accuracy,
        best_epoch=result.best_epoch,
        seconds=round(result.seconds, 1),
        skipped=tuple(name for split in splits for name in split.skipped),
        versions=_versions(),
        on_corrupt=task.on_corrupt,
    )
    if first:
        _leave(run, final, result.history, splits[1], out)
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
        **{name: value for name, value in rates.items() if value},  # otherwise the row's own
    )
    return freeze(model, until=task.freeze_until) if task.freeze_until else model


def _leave(run: Run, model: keras.Model, history: dict[str, list[float]], test: Split, out: Path) -> None:
    """Everything that a finished run has; `run.json` last, as it says that the run is finished."""
    save(model, out / "model.keras")
    plot_curves(history, f"{run.model} on {run.data}", out / "curves.png", run.best_epoch)
    _write_samples(test, out / "samples")
    if keras.backend.backend() == "tensorflow" and test.channels in CHANNELS:
        shutil.rmtree(out / "export", ignore_errors=True)  # of a run that was killed just here
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
    """Saves so that a kill in mid-write leaves what was there before."""
    with atomic_write(path) as aside:
        model.save(aside)


def load_run(directory: Path) -> Run:
    """The run in a directory; a `ValueError` where there is none."""
    try:
        content = json.loads((directory / "run.json").read_text())
        lists = {name: tuple(value) for name, value in content.items() if isinstance(value, list)}
        return Run(**{**content, **lists, "recipe": recipe_of(content["recipe"])})
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{directory} must be a run directory, with a readable run.json: {error}") from error


def as_checkpoint(run: Run, model: keras.Model, directory: Path) -> Checkpoint:
    """The weights of a run, described as published ones are."""
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
    """The model of a run directory or of a `.keras` file; a `ValueError` where there is none."""
    file = path / "model.keras" if path.is_dir() else path
    if not file.is_file() or file.suffix != ".keras":
        raise ValueError(f"model must be a run directory or a .keras file. Received: {path}, no such model")
    let_keras_recurse(blocks=zoo.DEEPEST)
    try:
        return keras.saving.load_model(file)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise ValueError(f"model: cannot read {file}: {error}") from error


def _check_room(out: Path, task: Task, overwrite: bool) -> list[str] | None:
    """What has to go from `out` before a run; None where it is an unfinished run of the same task, which goes on."""
    asked = _asked(task)
    found = [name for name in FILES if (out / name).exists()]
    other: list[str] = []
    if "run.json" not in found and "recipe.json" in found:
        begun = json.loads((out / "recipe.json").read_text())
        begun["recipe"] = current_names(begun.get("recipe", {}))
        other = [name for name in asked if begun.get(name) != asked[name]]
        if not other:
            return None
    if found and not overwrite:
        held = f"an unfinished run with another {', '.join(other)}" if other else ", ".join(found)
        raise ValueError(f"out must be a new directory, or --overwrite given. Received: {out}, which holds {held}")
    return found


def _make_room(out: Path, task: Task, found: list[str] | None) -> None:
    if found is None:
        return
    out.mkdir(parents=True, exist_ok=True)
    for name in found:
        path = out / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    _write_json({**_asked(task), "versions": _versions()}, out / "recipe.json")


def _asked(task: Task) -> dict[str, Any]:
    """As JSON gives it back."""
    return json.loads(json.dumps(dataclasses.asdict(task)))


def _versions() -> dict[str, str]:
    return {
        "keras_resnet": keras_resnet.__version__,
        "keras": keras.__version__,
        "tensorflow": tf.__version__,
        "backend": keras.backend.backend(),
    }


def _write_json(content: Any, path: Path) -> None:
    with atomic_write(path) as aside:
        aside.write_text(json.dumps(content, indent=2) + "\n")


def _write_samples(split: Split, directory: Path) -> None:
    """The first images of a split as PNG, called `NUMBER_is_CLASS.png`."""
    directory.mkdir(exist_ok=True)
    for number, (image, label) in enumerate(split.examples.take(SAMPLES)):
        name = "".join(c if c.isalnum() else "_" for c in split.classes[int(label)])
        (directory / f"{number}_is_{name}.png").write_bytes(tf.io.encode_png(image).numpy())
