"""Constructors: functions that call `ResNet` with other defaults. Each has its own name, signature and docstring."""

from __future__ import annotations

import dataclasses
import inspect
import os
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import keras

from keras_resnet._internal.validation import known
from keras_resnet.blocks import Block
from keras_resnet.gates import Gate
from keras_resnet.layers import Activation, Norm
from keras_resnet.resnet import DEFAULTS, ResNet, cost
from keras_resnet.shortcuts import Shortcut
from keras_resnet.stems import Stem
from keras_resnet.strides import Strides
from keras_resnet.weights import Checkpoint, like, limits
from keras_resnet.weights.fetch import HUB, local_file
from keras_resnet.weights.resolution import classes_of, constructor_arguments, contents, recognized, resolve
from keras_resnet.weights.tensors import WeightsError

# The arguments of keras.applications, in the same order; a constructor also takes these by position.
LEADING = (
    "include_top",
    "weights",
    "input_tensor",
    "input_shape",
    "pooling",
    "classes",
    "classifier_activation",
    "name",
)


SMALLEST_SIDE = 64  # pixels; networks take images of this size, whatever their stride is
# Arguments of timm and torchvision, and what to type here.
OF_OTHERS = {
    "pretrained": 'weights="imagenet"',
    "num_classes": "classes=10",
    "in_chans": "input_shape=(224, 224, 1)",
    "img_size": "input_shape=(224, 224, 3)",
    "drop_path_rate": "stochastic_depth=0.1",
    "global_pool": 'pooling="avg"',
    "replace_stride_with_dilation": "output_stride=16",
}


class Constructor(Protocol):
    """The signature of every model of the zoo; `...` stands for the default in the model's row."""

    __name__: str
    __module__: str

    def __call__(
        self,
        include_top: bool = True,
        weights: str | os.PathLike[str] | Checkpoint | None = None,
        input_tensor: Any = None,
        input_shape: Sequence[int | None] | None = None,
        pooling: str | None = None,
        classes: int = ...,
        classifier_activation: str | None = "softmax",
        name: str | None = None,
        *,
        include_preprocessing: bool = True,
        mean: Sequence[float] = ...,
        std: Sequence[float] = ...,
        default_size: int = ...,
        output_stride: int | None = None,
        drop_rate: float = ...,
        stochastic_depth: float = ...,
        depths: Sequence[int] = ...,
        block: Block = ...,
        filters: Sequence[int] = ...,
        stem: Stem = ...,
        stem_filters: int | None = ...,
        strides: Strides = ...,
        ordering: str = ...,
        shortcut: Shortcut | None = ...,
        groups: int = ...,
        base_width: int = ...,
        gate: Gate | None = ...,
        last_gamma: str = ...,
        norm: Norm = ...,
        activation: Activation = ...,
    ) -> keras.Model: ...


def constructor(name: str, doc: str, fields: Mapping[str, Any]) -> Constructor:
    """Makes a function that builds a `ResNet` with other defaults.

    Args:
        name: name of the function. In lower case it is the default name of the models that the function builds.
        doc: docstring of the function.
        fields: arguments of `ResNet` and their new defaults.

    Returns:
        The function. Its caller can override every argument.

    Raises:
        ValueError: a field is not an argument of `ResNet`.
    """
    defaults = {**fields, "name": name.lower()}
    resnet_arguments = dict(inspect.signature(ResNet).parameters)
    for field in defaults:
        known(f"field of {name}", field, resnet_arguments, "help(keras_resnet.ResNet)")
    others = [argument for argument in resnet_arguments if argument not in LEADING]
    parameters = [_parameter(resnet_arguments[a], inspect.Parameter.POSITIONAL_OR_KEYWORD, defaults) for a in LEADING]
    parameters += [_parameter(resnet_arguments[a], inspect.Parameter.KEYWORD_ONLY, defaults) for a in others]
    signature = inspect.Signature(parameters, return_annotation=keras.Model)

    def build(*args: Any, **kwargs: Any) -> keras.Model:
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError as error:
            hints = "".join(f" In place of {key}, type {OF_OTHERS[key]}." for key in kwargs if key in OF_OTHERS)
            raise TypeError(f"{name}() {error}.{hints} Its arguments are {', '.join(signature.parameters)}") from None
        explicit = dict(bound.arguments)
        bound.apply_defaults()
        changes: dict[str, Any] = {}
        if (weights := explicit.get("weights")) is not None:
            source, found = resolve(name, weights), None
            if not isinstance(source, Checkpoint):
                found = contents(source)
                source = like(name, tag, source) if (tag := recognized(name, source, found)) else source
            if isinstance(source, Checkpoint):
                changes |= constructor_arguments(name, source, fields, explicit, DEFAULTS)
                if source.source.startswith(HUB) and not source.model:
                    source = _checked(source)
            elif "classes" not in explicit and found and found.classes:
                changes["classes"] = found.classes
            changes["weights"] = source
        return ResNet(**{**bound.arguments, **changes})

    build.__name__ = build.__qualname__ = name
    build.__doc__ = doc
    build.__signature__ = signature  # type: ignore[attr-defined]
    return build


def _checked(checkpoint: Checkpoint) -> Checkpoint:
    """A checkpoint that describes a whole network, with its file on this machine, if the network has a usual size.

    Raises:
        ValueError: the network has too many parameters, or more than its file has weights for.
    """
    side = max(checkpoint.size, SMALLEST_SIDE)
    fields = {**checkpoint.fields, "classes": checkpoint.classes or 1}
    try:
        parameters = cost(fields, (side, side, checkpoint.channels)).parameters
    except ValueError as error:
        raise WeightsError(f"weights: {checkpoint.tag} must describe a network that can be built: {error}") from None
    limits.check_parameters(checkpoint.tag, parameters)
    path = local_file(checkpoint, include_top=True)
    limits.check_file(checkpoint.tag, parameters, path)
    classes_of(checkpoint, path)
    return dataclasses.replace(checkpoint, source=str(path), hash="")


def _parameter(parameter: inspect.Parameter, kind: Any, defaults: Mapping[str, Any]) -> inspect.Parameter:
    return parameter.replace(kind=kind, default=defaults.get(parameter.name, parameter.default))
