"""What a recipe makes of a model for training: precision, optimizer, loss, and all that changes a step."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import keras

from keras_resnet._internal.keras_graph import forget_compile_arguments
from keras_resnet.data import Split
from keras_resnet.runtime.remat import remat_blocks
from keras_resnet.runtime.train_mode import train_mode
from keras_resnet.training.distillation import taught
from keras_resnet.training.distribution import (
    Placement,
    choose_gradient_reduction,
    synchronized_batch_norm,
)
from keras_resnet.training.ema import create_average_statistics
from keras_resnet.training.imbalance import with_class_weights
from keras_resnet.training.layer_decay import rate_scales, scale_rates
from keras_resnet.training.losses import LOSSES
from keras_resnet.training.optimizers import Optimizer, innermost, optimizer
from keras_resnet.training.recipe import Recipe
from keras_resnet.training.sam import sharpness_aware
from keras_resnet.training.schedules import schedule
from keras_resnet.training.unfreezing import create_starts


@contextlib.contextmanager
def compiled(
    model: keras.Model,
    recipe: Recipe,
    train: Split,
    steps: int,
    where: Placement,
    teacher: keras.Model | None,
) -> Iterator[None]:
    """Inside the block `model` is compiled for a recipe, and computes as it does in its training.

    Args:
        model: the network.
        recipe: how it is trained; its precision is not "auto".
        train: the training images, whose classes may be counted.
        steps: number of steps of the training.
        where: the devices that the model was built for.
        teacher: the network whose answers are learned too; None: the labels alone.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(synchronized_batch_norm(model, where))
        stack.enter_context(train_mode(model, recipe.precision))
        if recipe.remat:
            stack.enter_context(remat_blocks(model))
        compile_for(model, recipe, train, steps)
        choose_gradient_reduction(model.optimizer, where)
        stack.enter_context(taught(model, teacher, recipe))
        stack.enter_context(sharpness_aware(model, recipe.sam, where))
        yield


def compile_for(model: keras.Model, recipe: Recipe, train: Split, steps: int) -> None:
    """Gives a model the optimizer, the loss and the metrics of a recipe.

    Args:
        model, recipe, train, steps: as in `compiled`.
    """
    compile_with(
        model,
        # Keras asks the schedule by the number of the step, also if it updates weights only in each second step.
        optimizer(recipe, schedule(recipe, steps)),
        with_class_weights(LOSSES[recipe.loss](), recipe.class_weights, train),
        [keras.metrics.CategoricalAccuracy(name="accuracy")],
    )
    if recipe.layer_decay < 1:
        scale_rates(innermost(model.optimizer), rate_scales(model, recipe.layer_decay))
    create_starts(model, recipe)
    build_optimizer(model)


def compile_with(model: keras.Model, optimizer: Optimizer, loss: Any, metrics: Sequence[keras.metrics.Metric]) -> None:
    """Gives a model an optimizer, a loss and metrics. Call `build_optimizer` after it.

    Args:
        model: a model.
        optimizer: an optimizer of `optimizers.optimizer`.
        loss: a loss, or a dict with one for each output.
        metrics: metrics of all outputs.
    """
    model.compile(
        optimizer=optimizer,
        loss=loss,
        weighted_metrics=metrics,
        auto_scale_loss=False,  # `optimizers.optimizer` scales the loss for float16
        # On a CPU with TensorFlow, XLA halves the speed (measured on ResNet-20). JAX always compiles.
        jit_compile="auto" if keras.backend.backend() != "tensorflow" else False,
    )
    # The optimizer is a class of this package: plain Keras could not load a model whose file contains it.
    forget_compile_arguments(model)
    create_average_statistics(model)


def build_optimizer(model: keras.Model) -> None:
    """Creates the variables of the optimizer of a compiled model, and leaves the choice of the result to `fit`."""
    # Keras would do it inside the graph of the first step, which the variables would then keep in memory.
    model.optimizer.build(model.trainable_variables)
    # Keras would replace the weights by their average at the end of each `fit`, which may not be the end of training.
    model.optimizer.__dict__["finalize_variable_values"] = lambda variables: None
