"""`fit`: trains a detector by a recipe."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from keras_resnet._internal.exclusive import exclusive
from keras_resnet._internal.validation import integer, number
from keras_resnet.detection.design import Design
from keras_resnet.detection.faster_rcnn import check_design, classes_of, training_network
from keras_resnet.detection.given_batches import INPUTS, check_batches
from keras_resnet.detection.recipe import DetectionRecipe
from keras_resnet.detection.recipes import recipe_named
from keras_resnet.runtime.train_mode import quick_training
from keras_resnet.stages import trained_part
from keras_resnet.training.compiling import build_optimizer, compile_with
from keras_resnet.training.distribution import (
    Placement,
    choose_gradient_reduction,
    placement_of,
    synchronized_batch_norm,
)
from keras_resnet.training.ema import average_weights
from keras_resnet.training.epochs import run_epochs
from keras_resnet.training.optimizers import optimizer
from keras_resnet.training.recipe import current_names
from keras_resnet.training.resuming import CHECKPOINTS, ResumeCallback, fingerprint_of_shapes
from keras_resnet.training.schedules import with_warm_up

VALIDATION = "val_map"  # the name of the validation's value in the history


class Result(NamedTuple):
    """The result of a training.

    Attributes:
        history: loss, the four losses that it is the sum of, learning_rate, and val_map if there is a validation, with
            one value for each epoch.
        best_epoch: number of the chosen epoch, from 1; None if no epoch was chosen.
        seconds: duration of training and validation, including the time before the training was resumed.
    """

    history: dict[str, list[float]]
    best_epoch: int | None
    seconds: float


def fit(
    detector: keras.Model,
    design: Design,
    recipe: DetectionRecipe | str,
    batches_from: Callable[[int], tf.data.Dataset],
    steps: int,
    directory: str | os.PathLike[str] | None = None,
    validate: Callable[[keras.Model], float] | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> Result:
    """Trains a detector by a recipe. With a `directory`, a second call continues a training that was stopped or killed.

    The result is in `detector`: the weights of the epoch with the best value of `validate`; without it those of the
    last epoch. With `ema_decay` these weights are the moving average.

    Args:
        detector: a model of `FasterRCNN`, built with `frozen_until` and `frozen_norms` of the recipe.
        design: its design.
        recipe: your own recipe, one of `RECIPES`, or its name.
        batches_from: function that gets the number of a step, from 0, and returns an endless `tf.data.Dataset`: the
            batches of that step and of all steps after it, so that a training that continues gets those that are left.
            A batch is a dict with the inputs of `training_network`: `images`, `sizes`, `boxes` and `labels`.
        steps: number of steps of an epoch.
        directory: the directory for history.csv and checkpoints, which are saved after each epoch and on SIGTERM and
            Ctrl-C; None: nothing is saved.
        validate: function that gets the detector after each epoch, and returns a number up to 1, the mAP on validation
            images; do not use the test images. None: there is no validation.
        callbacks: Keras callbacks; their model is the network that is trained. A callback that sets `stop_training`
            ends the training; a second call does not continue it.

    Returns:
        The result; `history` has the epochs before the training was resumed too.

    Raises:
        ValueError: the first batch or the value of `validate` is wrong; the detector was built with another design, or
            with other frozen parts than the recipe has; the warm-up is longer than the training; `early_stopping`
            without `validate`; `directory` holds a training with other settings; or another process
            trains in it.
        TypeError: `batches_from` returns something else than a `tf.data.Dataset`.
        DivergedError: the loss or a weight is not finite any more; a `ValueError`.
        Stopped: SIGTERM or Ctrl-C ended the training, after saving; a `KeyboardInterrupt`.

    Example:
        >>> from keras_resnet.detection import FPN, fit
        >>> fit(detector, FPN, "torchvision_fpn", batches_from, steps=7330, directory="run")  # doctest: +SKIP
    """
    recipe, steps = recipe_named(recipe), integer("steps", steps)
    check_recipe(recipe, steps, validate)
    epochs = recipe.epochs_of(steps)
    check_design(detector, design)
    _check_frozen(detector, recipe)
    if not callable(batches_from):
        raise TypeError(
            "batches_from must be a function from the number of a step to batches, as of batches_of. "
            f"Received: {type(batches_from).__name__}"
        )
    check_batches(batches_from(0), classes_of(detector))
    keras.utils.set_random_seed(recipe.seed)
    network = training_network(detector, design, recipe.seed)
    where, path = placement_of(network), None if directory is None else Path(directory)

    def pairs_from(step: int) -> tf.data.Dataset:
        return _with_targets(batches_from(step), network.output)

    with contextlib.ExitStack() as stack:
        stack.enter_context(_compiled(network, recipe, epochs * steps, where))
        if path is not None and where.process == 0:
            stack.enter_context(exclusive(path / CHECKPOINTS, "training"))
        settings = {
            **_as_read(dataclasses.asdict(recipe)),
            "model": fingerprint_of_shapes(network),
            "design": _as_read(_numbers_of(design)),
            "steps": steps,
            "validation": validate is not None,
        }
        resume = ResumeCallback(network, settings, steps, path, where, VALIDATION, _current_settings)
        resume.restore()
        stack.enter_context(resume.stop_on_signals())
        run_epochs(resume, epochs, pairs_from, callbacks, [Validation(detector, validate)] if validate else [])
        resume.finish()
    return Result(resume.state.history, resume.state.best_epoch, resume.state.seconds)


class Validation(keras.callbacks.Callback):
    """Adds the value of a detector on validation images to the logs, with the averages of its weights.

    Args:
        detector: the detector, which shares its weights with the network that is trained.
        validate: as in `fit`.
    """

    def __init__(self, detector: keras.Model, validate: Callable[[keras.Model], float]) -> None:
        super().__init__()
        self.detector, self.validate = detector, validate

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Validates the detector."""
        with average_weights(self.model):
            value = self.validate(self.detector)
        if logs is not None:
            logs[VALIDATION] = number("the value of validate", value, "[0, 1]")


def check_recipe(recipe: DetectionRecipe, steps: int, validate: object) -> None:
    """Checks that a training by a recipe is possible.

    Args:
        recipe, steps, validate: as for `fit`.

    Raises:
        ValueError: the warm-up is longer than the training, or there is `early_stopping` without `validate`.
    """
    total = recipe.epochs_of(steps) * steps
    if recipe.warmup_steps >= total:
        raise ValueError(
            f"warmup_steps must be below {total}, the number of steps of the training: take fewer, or more epochs. "
            f"Received: warmup_steps={recipe.warmup_steps}"
        )
    if recipe.early_stopping and validate is None:
        raise ValueError(
            "early_stopping must be 0 without validate, whose value decides. "
            f"Received: early_stopping={recipe.early_stopping}, validate=None"
        )


def _check_frozen(detector: keras.Model, recipe: DetectionRecipe) -> None:
    """Raises a `ValueError` if a detector was built to be trained in another way than its recipe says."""
    first, trained_norms = trained_part(detector)
    if (first, not trained_norms) != (recipe.frozen_until, recipe.frozen_norms):
        raise ValueError(
            f"recipe must be as the detector was built: pass frozen_until={recipe.frozen_until!r} and "
            f"frozen_norms={recipe.frozen_norms} to FasterRCNN or create_detector too. "
            f"Received: a detector whose first trained stage is {first}, with "
            f"{'trained' if trained_norms else 'frozen'} batch norms of the backbone"
        )


def _numbers_of(design: Design) -> dict[str, Any]:
    """The fields of a design but its functions, whose result is in the shapes of the network."""
    fields = dataclasses.fields(design)
    return {field.name: getattr(design, field.name) for field in fields if not callable(getattr(design, field.name))}


def _as_read(fields: dict[str, Any]) -> dict[str, Any]:
    """Settings as they are after writing and reading JSON."""
    return json.loads(json.dumps(fields))


def _current_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings in a checkpoint, with the defaults of fields that an earlier version did not have."""
    return current_names({**_as_read(dataclasses.asdict(DetectionRecipe())), **settings})


@contextlib.contextmanager
def _compiled(network: keras.Model, recipe: DetectionRecipe, steps: int, where: Placement) -> Iterator[None]:
    """Inside the block the network is compiled for a recipe, and computes as it does in its training."""
    with synchronized_batch_norm(network, where), quick_training(network, recipe.precision):
        rate = with_warm_up(recipe, steps, recipe.warmup_steps)
        compile_with(network, optimizer(recipe, rate), dict.fromkeys(network.output, _given_loss), [])
        build_optimizer(network)
        choose_gradient_reduction(network.optimizer, where)
        yield


def _given_loss(target: Any, loss: Any) -> Any:
    """The outputs of the network are losses already."""
    return loss


def _with_targets(batches: tf.data.Dataset, names: Iterable[str]) -> tf.data.Dataset:
    """Batches as pairs for `keras.Model.fit`, which wants a target for each output, although no loss uses it."""

    def pair(batch: dict[str, tf.Tensor]) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]:
        unused = tf.zeros(tf.shape(batch["images"])[:1])
        return {name: batch[name] for name in INPUTS}, dict.fromkeys(names, unused)

    return batches.map(pair)
