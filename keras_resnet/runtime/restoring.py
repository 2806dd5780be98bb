"""Gives a model its variables, or what of it is trained, back after a block."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import keras

from keras_resnet._internal.keras_graph import all_layers


@contextlib.contextmanager
def restored_variables(model: keras.Model) -> Iterator[None]:
    """Gives all variables of a model, also those of random generators, their values back after the block."""
    values = [keras.ops.convert_to_numpy(variable) for variable in model.variables]
    try:
        yield
    finally:
        for variable, value in zip(model.variables, values, strict=True):
            variable.assign(value)


@contextlib.contextmanager
def restored_trainable(model: keras.Model) -> Iterator[list[keras.Layer]]:
    """Gives the layers of a model their `trainable` back after the block; yields those that are frozen before it."""
    before = [(layer, layer.trainable) for layer in (model, *all_layers(model))]  # a nested model before its layers
    try:
        yield [layer for layer, trainable in before if not trainable]
    finally:
        for layer, trainable in before:
            layer.trainable = trainable
