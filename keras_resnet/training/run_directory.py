"""What a run directory holds, and how its files are read.

recipe.json   everything needed to repeat it      run.json      settings and results of a finished run
history.csv   loss, accuracy and rate by epoch    curves.png    plot of loss and accuracy
model.keras   the network as plain Keras          last.keras    the last epoch, if the best one was chosen
export/1/     a SavedModel for TF Serving         samples/      some test images to try the network on
tensorboard/  logs for TensorBoard                checkpoints/  the last checkpoint, from which the training can go on
report/       the test images: report.html, metrics.json, predictions.csv and pictures, see `evaluation.write_report`
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import keras
import numpy as np
import tensorflow as tf

import keras_resnet
from keras_resnet import zoo
from keras_resnet._internal.atomic_files import atomic_write
from keras_resnet._internal.json_files import read_object
from keras_resnet._internal.validation import integer, number, one_of, printable, text, texts
from keras_resnet.data.corrupt import ON_CORRUPT
from keras_resnet.inputs import square_side
from keras_resnet.resnet import let_keras_recurse
from keras_resnet.training.recipe import Recipe, recipe_of, with_tuples
from keras_resnet.training.resuming import CHECKPOINTS
from keras_resnet.weights import Checkpoint
from keras_resnet.weights.keras_files import open_keras_file
from keras_resnet.weights.tensors import WeightsError

RECIPE, RUN, HISTORY, MODEL, LAST = "recipe.json", "run.json", "history.csv", "model.keras", "last.keras"
REPORT = "report"
FILES = (RECIPE, RUN, HISTORY, "curves.png", MODEL, LAST, "export", "samples", "tensorboard", CHECKPOINTS, REPORT)

Content = TypeVar("Content")


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
        teacher: a network whose answers are learned too: a run directory, a `.keras` file, or "NAME:TAG", a model of
            the zoo and a tag of its weights; None: only the labels are learned.
    """

    model: str
    data: str
    recipe: Recipe
    size: int | None = None
    weights: str | None = None
    freeze_until: str | None = None
    on_corrupt: str = "stop"
    teacher: str | None = None

    def __post_init__(self) -> None:
        for name in ("model", "data"):
            text(name, getattr(self, name))
        if not isinstance(self.recipe, Recipe):
            raise TypeError(f"recipe must be a keras_resnet.training.Recipe. Received: recipe={self.recipe!r:.100}")
        for name in ("weights", "freeze_until", "teacher"):
            if getattr(self, name) is not None:
                text(name, getattr(self, name))
        if self.size is not None:
            integer("size", self.size)
        one_of("on_corrupt", self.on_corrupt, ON_CORRUPT)

    @property
    def fields(self) -> dict[str, Any]:
        """The fields as they are after writing and reading JSON."""
        return json.loads(json.dumps(dataclasses.asdict(self)))


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
    balanced_accuracy: float | None = None  # files of before do not have it
    epochs: int | None = None  # number of trained epochs; files of before do not have it


def read_task(directory: Path) -> Task:
    """Reads `recipe.json` of a run directory: the settings of a finished or unfinished run.

    Raises:
        ValueError: the directory has no readable `recipe.json`.
    """
    return _read(directory, RECIPE, _task_of)


def _task_of(content: dict[str, Any]) -> Task:
    fields = {field.name: content[field.name] for field in dataclasses.fields(Task) if field.name in content}
    return Task(**{**fields, "recipe": recipe_of(content["recipe"])})


def load_run(directory: Path) -> Run:
    """Reads `run.json` of a run directory.

    Raises:
        ValueError: the directory has no readable `run.json`.
    """
    return _read(directory, RUN, _run_of)


def _run_of(content: dict[str, Any]) -> Run:
    run = Run(**{**with_tuples(content), "recipe": recipe_of(content["recipe"])})
    _check_run(run)
    return run


def _read(directory: Path, name: str, create: Callable[[dict[str, Any]], Content]) -> Content:
    """What `create` makes of the object in a JSON file of a run directory."""
    path = directory / name
    if not path.exists():
        raise ValueError(
            f"directory must be a run directory, with a readable {name}. Received: {printable(directory)}, without it"
        )
    content = read_object(path)
    try:
        return create(content)
    except KeyError as error:
        raise ValueError(f"{printable(path)} must have {error}. Received: {list(content)!r:.200}") from error
    except (ValueError, TypeError) as error:
        raise ValueError(f"{printable(path)} must be as a training writes it: {error}") from error


def _check_run(run: Run) -> None:
    """Raises a `ValueError` or `TypeError` if a field has a value that no training writes."""
    for name in ("model", "data"):
        text(name, getattr(run, name))
    for name in ("classes", "skipped"):
        texts(name, getattr(run, name))
    for name in ("parameters", "test_images"):
        integer(name, getattr(run, name), minimum=0)
    for name in ("best_epoch", "epochs"):
        if getattr(run, name) is not None:
            integer(name, getattr(run, name))
    number("test_accuracy", run.test_accuracy, "[0, 1]")
    if run.balanced_accuracy is not None:
        number("balanced_accuracy", run.balanced_accuracy, "[0, 1]")
    number("seconds", run.seconds, "[0, inf)")
    one_of("on_corrupt", run.on_corrupt, ON_CORRUPT)


def open_run(directory: Path) -> tuple[Run, keras.Model]:
    """Reads `run.json` and `model.keras` of a run directory.

    Raises:
        ValueError: one of them cannot be read, or the model is not that of the run.
    """
    run, model = load_run(directory), open_model(directory)
    described = {"parameters": run.parameters, "classes": len(run.classes)}
    found = {"parameters": model.count_params(), "classes": model.outputs[0].shape[-1]}
    if described != found:
        raise ValueError(
            f"{printable(directory / MODEL)} must be the network that {RUN} describes, with {described}. "
            f"Received: {found}"
        )
    return run, model


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
        balanced_accuracy=None if run.balanced_accuracy is None else 100 * run.balanced_accuracy,
        data=run.data,
        classes=len(run.classes),
        channels=model.input_shape[-1],
    )


def open_model(path: Path) -> keras.Model:
    """Loads the model of a run directory, or a `.keras` file, which may hold a functional or a sequential model.

    Returns:
        A functional model with one input, images (N, H, W, C), and one output, scores (N, classes).

    Raises:
        ValueError: there is no such file, it is not a readable `.keras` file, or its model is of another kind.
    """
    file = path / MODEL if path.is_dir() else path
    if not file.is_file() or file.suffix != ".keras":
        problem = "there is no such file" if not file.is_file() else "the file name does not end in .keras"
        if str(path) in zoo.ROWS:
            problem = (
                f"a model of the zoo; for published weights add --weights, see keras-resnet models {path} --weights"
            )
        raise ValueError(f"model must be a run directory or a .keras file. Received: {printable(file)}, {problem}")
    let_keras_recurse(blocks=zoo.DEEPEST)
    try:
        model = open_keras_file(file)
    except ValueError as error:
        raise WeightsError(f"model must be a readable .keras file. Received: {printable(file)} ({error})") from error
    return _classifier(model, file)


def _classifier(model: Any, file: Path) -> keras.Model:
    """The model of a file as a functional model of images, without loss and optimizer."""
    inputs, outputs = model.inputs, model.outputs
    if [len(tensor.shape) for tensor in (*inputs, *outputs)] != [4, 2] or len(inputs) != 1:
        raise ValueError(
            "model must have one input, images (N, H, W, C), and one output, scores (N, classes). "
            f"Received: {printable(file)} with the inputs {[tensor.shape for tensor in inputs]} and the outputs "
            f"{[tensor.shape for tensor in outputs]}"
        )
    for variable in model.weights:
        if not np.isfinite(keras.ops.convert_to_numpy(variable)).all():
            raise ValueError(
                f"model must have finite weights. Received: {printable(file)}, with NaN or infinity in {variable.path}"
            )
    if isinstance(model, keras.Sequential) or not isinstance(model.output, keras.KerasTensor):
        image = keras.Input(inputs[0].shape[1:], dtype=inputs[0].dtype, name=inputs[0].name)  # for batches of any size
        return keras.Model(image, keras.tree.flatten(model(image))[0], name=model.name)
    return model


def versions() -> dict[str, str]:
    """The versions of the libraries, for the files of a run."""
    return {
        "keras_resnet": keras_resnet.__version__,
        "keras": keras.__version__,
        "tensorflow": tf.__version__,
        "backend": keras.backend.backend(),
    }


def write_json(content: Any, path: Path) -> None:
    """Writes a JSON file of a run, whole or not at all."""
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n")
