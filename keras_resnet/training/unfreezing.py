"""Gradual unfreezing (`unfreeze_epochs` of a recipe): the head is trained first, then one stage more after some epochs.

ULMFiT (arXiv:1801.06146, section 3.3): a new head has random weights, and its first gradients would spoil the
pretrained weights below it. The schedule of the learning rate, the state of the optimizer and the averages go on from
one phase to the next.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence

import keras
import numpy as np
from keras.initializers import Constant

from keras_resnet._internal.keras_graph import chooser_of_variables, moving_averages
from keras_resnet.runtime.restoring import restored_trainable
from keras_resnet.stages import CLASSIFIER, POST, freeze, stage_names
from keras_resnet.training.optimizers import innermost
from keras_resnet.training.recipe import Recipe

UNKNOWN = -1  # the start of a variable that is not trained yet


def stages_to_unfreeze(model: keras.Model) -> list[str]:
    """The stages with weights to train, in the order in which they are unfrozen: from the head to the stem.

    The norm after the blocks of a pre-activation network is trained with the head.

    Args:
        model: as in `keras_resnet.freeze`; what is frozen already stays so.

    Raises:
        ValueError: the stages are not known, because no layer has the name of a block's layer.

    Example:
        >>> import keras_resnet as kr
        >>> from keras_resnet.training.unfreezing import stages_to_unfreeze
        >>> stages_to_unfreeze(kr.freeze(kr.ResNet20(), "conv3"))
        ['predictions', 'conv4', 'conv3']
    """
    with _restored(model) as freeze_before:
        counts = {stage: len(freeze_before(stage)) for stage in _stages(model)}
    earlier = [0, *counts.values()]
    return [stage for stage, fewer in zip(counts, earlier) if counts[stage] > fewer]


@contextlib.contextmanager
def gradual_unfreezing(model: keras.Model, recipe: Recipe, steps: int) -> Iterator[Callable[[int], int]]:
    """Inside the block, stages of a compiled model are frozen and unfrozen again; after it, all is as before.

    Args:
        model: the model, whose optimizer is built for all variables that are trained at any time, and has `starts`, see
            `create_starts`.
        recipe: how to train.
        steps: number of steps of an epoch.

    Yields:
        A function that gets the number of the next epoch, from 0, and freezes the stages that are not trained yet. It
        returns the number of the epoch before which it must be called again.

    Raises:
        ValueError: the stages of the model are not known.
    """
    every, last = recipe.unfreeze_epochs, recipe.epochs_of(steps)
    if not every:
        yield lambda epoch: last
        return
    optimizer = innermost(model.optimizer)
    choose, variables = chooser_of_variables(optimizer), model.trainable_variables
    averages = list(moving_averages(optimizer)) if optimizer.use_ema else []
    stages = stages_to_unfreeze(model)
    phases = len(stages)
    with _restored(model) as freeze_before:

        def begin(epoch: int) -> int:
            phase = min(epoch // every, phases - 1)
            choose(freeze_before(stages[phase]))
            _begin_moments(optimizer, variables)
            _trace_anew(model)
            for variable, average in zip(variables, averages):
                if not variable.trainable:  # Keras begins an average in the first step of the training only
                    average.assign(keras.ops.copy(variable.value))
            return last if phase == phases - 1 else (phase + 1) * every

        try:
            yield begin
        finally:
            choose(variables)
            _trace_anew(model)


def create_starts(model: keras.Model, recipe: Recipe) -> None:
    """Creates a variable in the optimizer for the update with which each variable begins, so that checkpoints have it.

    As in torch, the correction of the moments' bias counts the updates of each variable. They are not known from the
    steps: with float16, steps whose gradients overflow are no updates.
    """
    if recipe.unfreeze_epochs:
        optimizer = innermost(model.optimizer)
        # Not set as an attribute: Keras would track the variable, and count it twice.
        optimizer.__dict__["starts"] = optimizer.add_variable(
            shape=(len(model.trainable_variables),), dtype="int", initializer=Constant(UNKNOWN), name="starts"
        )


def _trace_anew(model: keras.Model) -> None:
    """Makes Keras trace its steps again, of validation too: on several JAX devices it states what is trainable."""
    model.train_function = None
    model.test_function = None


def _begin_moments(optimizer: keras.optimizers.Optimizer, variables: Sequence[keras.Variable]) -> None:
    """Writes the number of the next update for the variables that are trained from now on."""
    now = int(keras.ops.convert_to_numpy(optimizer.iterations))
    starts = keras.ops.convert_to_numpy(optimizer.starts)
    trainable = np.array([variable.trainable for variable in variables])
    optimizer.starts.assign(np.where(trainable & (starts == UNKNOWN), now, starts))


def _stages(model: keras.Model) -> list[str]:
    try:
        names = stage_names(model)
    except ValueError as error:
        raise ValueError(f"unfreeze_epochs must be 0 for a model of which the stages are not known: {error}") from error
    return [name for name in reversed(names) if not (name == CLASSIFIER and POST in names)]


@contextlib.contextmanager
def _restored(model: keras.Model) -> Iterator[Callable[[str], list[keras.Variable]]]:
    """Gives the layers of a model their `trainable` again after the block.

    Yields:
        A function that freezes all layers before a stage, and keeps those frozen that were so before the block. It
        returns the variables that are left to train.
    """
    with restored_trainable(model) as frozen:

        def freeze_before(stage: str) -> list[keras.Variable]:
            freeze(model, stage)
            for layer in frozen:
                layer.trainable = False
            return model.trainable_variables

        yield freeze_before
