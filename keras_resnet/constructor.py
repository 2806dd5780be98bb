"""Constructors: `ResNet` under another name and with other defaults, with a signature and a docstring of their own."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import keras

from keras_resnet._internal.validation import known
from keras_resnet.blocks import Block
from keras_resnet.gates import Gate
from keras_resnet.layers import Activation, Norm
from keras_resnet.resnet import DEFAULTS, ResNet
from keras_resnet.shortcuts import Shortcut
from keras_resnet.stems import Stem
from keras_resnet.strides import Strides
from keras_resnet.weights import Checkpoint
from keras_resnet.weights.resolution import arguments, classes_in, resolve

# What keras.applications takes, in its order; a constructor takes these by position too.
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


class Constructor(Protocol):
    """The signature of every model of the zoo; `...` stands for what the model's row says."""

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
    """A function called `name` that builds a `ResNet` with `fields` as its defaults.

    Args:
        name: of the function; in lower case, the default name of its models.
        doc: the docstring.
        fields: defaults of `ResNet`'s arguments, by name.

    Returns:
        The function. Every argument can still be overridden by the caller.

    Raises:
        ValueError: a field is no argument of `ResNet`.
    """
    defaults = {**fields, "name": name.lower()}
    own = dict(inspect.signature(ResNet).parameters)
    for field in defaults:
        known(f"field of {name}", field, own, "help(keras_resnet.ResNet)")
    rest = [argument for argument in own if argument not in LEADING]
    parameters = [_parameter(own[a], inspect.Parameter.POSITIONAL_OR_KEYWORD, defaults) for a in LEADING]
    parameters += [_parameter(own[a], inspect.Parameter.KEYWORD_ONLY, defaults) for a in rest]
    signature = inspect.Signature(parameters, return_annotation=keras.Model)

    def build(*args: Any, **kwargs: Any) -> keras.Model:
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{name}() {error}; it takes {', '.join(signature.parameters)}") from None
        asked = dict(bound.arguments)
        bound.apply_defaults()
        changes: dict[str, Any] = {}
        if (weights := asked.get("weights")) is not None:
            source = changes["weights"] = resolve(name, weights)
            if isinstance(source, Checkpoint):
                changes |= arguments(name, source, fields, asked, DEFAULTS)
            elif "classes" not in asked and (classes := classes_in(source)):
                changes["classes"] = classes
        return ResNet(**{**bound.arguments, **changes})

    build.__name__ = build.__qualname__ = name
    build.__doc__ = doc
    build.__signature__ = signature  # type: ignore[attr-defined]
    return build


def _parameter(own: inspect.Parameter, kind: Any, defaults: Mapping[str, Any]) -> inspect.Parameter:
    return own.replace(kind=kind, default=defaults.get(own.name, own.default))
