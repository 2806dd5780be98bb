"""A run: one training from data to a directory that holds everything it gave.

model.keras   the network, plain Keras      history.csv   loss and accuracy by epoch
curves.png    the same, drawn               export/1/     a SavedModel for TF Serving
samples/      some test images, to try      run.json      what was run, and what came out
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path

import keras
import tensorflow as tf

import keras_resnet
from keras_resnet import zoo
from keras_resnet.data import Split, load
from keras_resnet.export import saved_model
from keras_resnet.resnet import let_keras_recurse
from keras_resnet.training.curves import draw
from keras_resnet.training.fit import fit
from keras_resnet.training.recipes import Recipe

FILES = ("model.keras", "history.csv", "curves.png", "export", "samples", "run.json")
SAMPLES = 8


@dataclasses.dataclass(frozen=True)
class Run:
    """What `run.json` says."""

    model: str
    data: str
    classes: tuple[str, ...]
    recipe: Recipe
    test_images: int
    test_accuracy: float
    seconds: float
    versions: dict[str, str]


def train(
    name: str,
    data: str,
    out: str | os.PathLike[str],
    recipe: Recipe,
    size: int | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    overwrite: bool = False,
) -> Run:
    """Trains a model of the zoo and leaves a run directory.

    Args:
        name: one of `keras_resnet.list_models()`.
        data: a source as `keras_resnet.data.load` takes it.
        out: the directory; made where it does not exist.
        recipe: how to train.
        size: side of the images in pixels; None: what the model's row says.
        callbacks: Keras callbacks.
        overwrite: whether an earlier run in `out` may be replaced.

    Returns:
        The run, as written to `run.json`.

    Raises:
        ValueError: an argument is wrong, or `out` holds a run already; then nothing there was touched.
    """
    row = zoo.row_of(name)
    out = Path(out)
    splits = load(data, "train"), load(data, "test")
    keras.utils.set_random_seed(recipe.seed)
    side = row.size if size is None else size
    model = zoo.create_model(name, input_shape=(side, side, splits[0].channels), classes=len(splits[0].classes))
    _make_room(out, overwrite)  # only now, when nothing that the user gave can be wrong any more

    started = time.monotonic()
    logger = keras.callbacks.CSVLogger(out / "history.csv")
    history = fit(model, recipe, *splits, [logger, *callbacks]).history
    run = Run(
        model=name,
        data=data,
        classes=splits[0].classes,
        recipe=recipe,
        test_images=splits[1].size,
        test_accuracy=history["val_accuracy"][-1],  # of the last epoch, whose weights are these
        seconds=round(time.monotonic() - started, 1),
        versions={"keras_resnet": keras_resnet.__version__, "keras": keras.__version__, "tensorflow": tf.__version__},
    )
    save(model, out / "model.keras")
    draw(history, f"{name} on {data}", out / "curves.png")
    _write_samples(splits[1], out / "samples")
    if keras.backend.backend() == "tensorflow":
        saved_model(model, out / "export")
    (out / "run.json").write_text(json.dumps(dataclasses.asdict(run), indent=2) + "\n")
    return run


def save(model: keras.Model, path: Path) -> None:
    """Saves beside and renames, so that a kill in mid-write leaves what was there before."""
    aside = path.with_name(f".{os.getpid()}-{path.name}")
    model.save(aside)
    aside.replace(path)


def read(directory: Path) -> Run:
    """The run in a directory; a `ValueError` where there is none."""
    try:
        content = json.loads((directory / "run.json").read_text())
        return Run(**{**content, "classes": tuple(content["classes"]), "recipe": Recipe(**content["recipe"])})
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{directory} must be a run directory, with a readable run.json: {error}") from error


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


def _make_room(out: Path, overwrite: bool) -> None:
    found = [name for name in FILES if (out / name).exists()]
    if found and not overwrite:
        raise ValueError(
            f"out must be a new directory, or --overwrite given. Received: {out}, which holds {', '.join(found)}"
        )
    out.mkdir(parents=True, exist_ok=True)
    for name in found:
        path = out / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def _write_samples(split: Split, directory: Path) -> None:
    """The first images of a split as PNG, called `NUMBER_is_CLASS.png`."""
    directory.mkdir()
    for number, (image, label) in enumerate(split.examples.take(SAMPLES)):
        name = "".join(c if c.isalnum() else "_" for c in split.classes[int(label)])
        (directory / f"{number}_is_{name}.png").write_bytes(tf.io.encode_png(image).numpy())
