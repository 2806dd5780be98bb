"""What the directory of a detector's training holds, and how its files are read.

recipe.json     everything needed to repeat it        run.json       settings and results of a finished run
history.csv     losses, mAP and rate by epoch         detector.keras the detector
report/         the test images, see `write_report`   checkpoints/   from which the training continues
"""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import keras

from keras_resnet._internal.json_files import read_object
from keras_resnet._internal.validation import integer, number, one_of, printable, text, texts
from keras_resnet.data.corrupt import ON_CORRUPT
from keras_resnet.detection.design import Design
from keras_resnet.detection.recipe import DetectionRecipe, detection_recipe_of
from keras_resnet.detection.rows import design_of, row_named
from keras_resnet.stages import CLASSIFIER
from keras_resnet.training.recipe import with_tuples
from keras_resnet.training.resuming import CHECKPOINTS
from keras_resnet.training.run_directory import HISTORY, RECIPE, REPORT, RUN
from keras_resnet.weights.keras_files import open_keras_file

DETECTOR = "detector.keras"
FILES = (RECIPE, RUN, HISTORY, DETECTOR, CHECKPOINTS, REPORT)
STAGES = ("conv1", "conv2", "conv3", "conv4", "conv5", CLASSIFIER)  # of each backbone in the table, for `freeze`


@dataclasses.dataclass(frozen=True)
class DetectionTask:
    """The settings of a run. The file `recipe.json` holds them and the versions of the libraries.

    Attributes:
        detector: one of `list_detectors()`.
        data: a data source, as in `keras_resnet.detection.load`.
        recipe: how to train.
        weights: initial weights of the whole detector, as in `create_detector`; None: random ones.
        backbone_weights: initial weights of the backbone, as in `create_detector`; None: random ones.
        shorter, longer: sides of the images in pixels, see `Design`; None: those of the detector's design, which the
            files of a run then hold.
        train_split, val_split, test_split: names of the splits, three different ones. `val_split` chooses the best
            epoch, see `train`; "": none does.
        on_corrupt: what to do with images and annotations that cannot be read: "stop" or "skip".

    Raises:
        ValueError: a value is not allowed, or two of them contradict each other.
        TypeError: a value has the wrong type.
    """

    detector: str
    data: str
    recipe: DetectionRecipe
    weights: str | None = None
    backbone_weights: str | None = None
    shorter: int | None = None
    longer: int | None = None
    train_split: str = "train"
    val_split: str = "val"
    test_split: str = "test"
    on_corrupt: str = "stop"

    def __post_init__(self) -> None:
        for name in ("detector", "data", "train_split", "val_split", "test_split"):
            text(name, getattr(self, name))
        row_named(self.detector)
        if not isinstance(self.recipe, DetectionRecipe):
            raise TypeError(
                f"recipe must be a keras_resnet.detection.DetectionRecipe. Received: recipe={self.recipe!r:.100}"
            )
        for name in ("weights", "backbone_weights"):
            if getattr(self, name) is not None:
                text(name, getattr(self, name))
        for name in ("shorter", "longer"):
            if getattr(self, name) is not None:
                integer(name, getattr(self, name))
        one_of("on_corrupt", self.on_corrupt, ON_CORRUPT)
        one_of("frozen_until", self.recipe.frozen_until, STAGES)
        if self.weights is None and self.backbone_weights is None:
            self._check_all_is_trained()
        self._check_splits_differ()

    def _check_all_is_trained(self) -> None:
        """Raises a `ValueError` if a part of the backbone is frozen, which is wrong where its weights are random."""
        if self.recipe.frozen_until != "conv1":
            raise ValueError(
                "frozen_until must be conv1 without weights and backbone_weights: frozen stages would keep random "
                "weights. Give weights, or frozen_until=conv1 and frozen_norms=False. "
                f"Received: frozen_until={self.recipe.frozen_until}"
            )
        if self.recipe.frozen_norms:
            raise ValueError(
                "frozen_norms must be False without weights and backbone_weights: frozen batch norms would keep the "
                "statistics of a network without weights. Give weights, or train them (on the command line "
                "--no-frozen-norms). Received: frozen_norms=True"
            )

    def _check_splits_differ(self) -> None:
        """Raises a `ValueError` if images would be trained on, or would choose the epoch, that are reported as test."""
        names: dict[str, str] = {}  # of the arguments, by split
        for argument in ("train_split", "val_split", "test_split"):
            split = getattr(self, argument)
            if split and split in names:
                raise ValueError(
                    f"{argument} must be another split than {names[split]}: test images are neither trained on nor "
                    "choose the epoch. Without validation images type val_split='' (on the command line "
                    f"--val-split ''). Received: {argument}={split!r}, {names[split]}={split!r}"
                )
            names[split] = argument

    @property
    def design(self) -> Design:
        """The design of the detector."""
        sides = {name: getattr(self, name) for name in ("shorter", "longer") if getattr(self, name) is not None}
        return dataclasses.replace(design_of(self.detector), **sides)

    @property
    def fields(self) -> dict[str, Any]:
        """The fields as they are after writing and reading JSON."""
        return json.loads(json.dumps(dataclasses.asdict(self)))


@dataclasses.dataclass(frozen=True)
class DetectionRun:
    """The content of `run.json`: settings and results of a finished run.

    Attributes:
        task: the settings.
        classes: names of the classes.
        test_images: number of test images.
        test_map: PASCAL VOC's mean average precision on them, at an overlap of 0.5.
        best_epoch: number of the chosen epoch, from 1; None if no epoch was chosen.
        seconds: duration of the training.
        skipped: one reason for each image that was skipped.
        versions: versions of the libraries.
    """

    task: DetectionTask
    classes: tuple[str, ...]
    test_images: int
    test_map: float
    best_epoch: int | None
    seconds: float
    skipped: tuple[str, ...]
    versions: dict[str, str]

    def __post_init__(self) -> None:
        for name in ("classes", "skipped"):
            texts(name, getattr(self, name))
        integer("test_images", self.test_images)
        number("test_map", self.test_map, "[0, 1]")
        number("seconds", self.seconds, "[0, inf)")


def read_task(directory: Path) -> DetectionTask:
    """Reads `recipe.json`: the settings of a finished or unfinished run.

    Raises:
        ValueError: the directory has no readable `recipe.json`.
    """
    return _task_of(_content(directory, RECIPE), directory / RECIPE)


def load_run(directory: Path) -> DetectionRun:
    """Reads `run.json`.

    Raises:
        ValueError: the directory has no readable `run.json`.
    """
    path, content = directory / RUN, _content(directory, RUN)
    try:
        return DetectionRun(**{**with_tuples(content), "task": _task_of(content["task"], path)})
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{printable(path)} must be as a training writes it: {error}") from error


def open_run(directory: str | os.PathLike[str]) -> tuple[DetectionRun, keras.Model]:
    """Opens the result of a finished run.

    Args:
        directory: the directory that `train`, or `keras-resnet detect train`, wrote.

    Returns:
        The content of `run.json`, and the detector.

    Raises:
        ValueError: `run.json` or `detector.keras` cannot be read.

    Example:
        >>> from keras_resnet.detection import find, open_run
        >>> run, detector = open_run("runs/cells")  # doctest: +SKIP
        >>> find(detector, [image], run.task.design)  # doctest: +SKIP
    """
    directory = Path(directory)
    return load_run(directory), open_keras_file(directory / DETECTOR)


def _content(directory: Path, name: str) -> dict[str, Any]:
    if not (directory / name).is_file():
        raise ValueError(
            f"a run of a detector must be a directory that `keras-resnet detect train` wrote, with a readable {name}. "
            f"Received: {printable(directory)}, without it"
        )
    return read_object(directory / name)


def _task_of(content: dict[str, Any], path: Path) -> DetectionTask:
    names = [field.name for field in dataclasses.fields(DetectionTask)]
    try:
        fields = {name: content[name] for name in names if name in content}
        return DetectionTask(**{**fields, "recipe": detection_recipe_of(content["recipe"])})
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{printable(path)} must be as a training writes it: {error}") from error
