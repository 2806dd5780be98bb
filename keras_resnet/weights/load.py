"""Loads weights into a model: all weights of a file, or none if there is an error."""

from __future__ import annotations

import collections
import logging
import math
import os
import re
from pathlib import Path

import keras
import numpy as np

from keras_resnet import layers
from keras_resnet.complexity import flat_layers
from keras_resnet.stages import parse_block
from keras_resnet.weights import readers
from keras_resnet.weights.fetch import local_file, parse_source
from keras_resnet.weights.matching import HEAD, match_tensors
from keras_resnet.weights.readers.hdf5 import UNNAMED
from keras_resnet.weights.table import Checkpoint
from keras_resnet.weights.tensors import Tensor, WeightsError
from keras_resnet.weights.torch_names import in_keras_terms

SPARE = 200 * 2**20  # bytes of memory that a file may need in addition to its weights

logger = logging.getLogger("keras_resnet")


def load_weights(model: keras.Model, source: str | os.PathLike[str] | Checkpoint) -> None:
    """Loads published or saved weights into a model: all weights, or none if there is an error.

    The file may have Keras' names or those of PyTorch (torchvision, timm, CIFAR networks). All shapes and types are
    compared before any value is read. All values are read, and checked to be finite, before any variable is assigned.

    If the file has a classifier for another number of classes, the model keeps its own, and a warning is logged. The
    first convolution is adapted to the model's number of channels.

    Args:
        model: a model of this package, or one whose layers have the names of keras.applications.
        source: the path of a file of the same network (Keras HDF5, `.weights.h5`, `.keras`, safetensors, npz, torch);
            or "hf://owner/repository" of a timm model; or a checkpoint of `keras_resnet.weights.find` or `like`.

    Raises:
        ValueError: the file is missing, damaged or unsafe, or belongs to another network; or the model has another
            epsilon or another mean and std of the pixels than the checkpoint. The model is not changed.
        TypeError: `model` is not a `keras.Model`, or `source` has another type.

    Example:
        >>> import keras_resnet as kr
        >>> model = kr.ResNet20(input_shape=(28, 28, 1))
        >>> kr.load_weights(model, kr.weights.find("ResNet20", "fashion_mnist"))  # a file of this package

        A checkpoint of timm on the Hugging Face hub: `kr.load_weights(model, "hf://timm/resnet50.a1_in1k")`.
    """
    if not isinstance(model, keras.Model):
        raise TypeError(f"model must be a keras.Model. Received: {model!r}")
    checkpoint = source if isinstance(source, Checkpoint) else parse_source(source)
    variables = variables_of(model)
    if isinstance(checkpoint, Checkpoint):
        _check_constants(model, checkpoint)
        path = local_file(checkpoint, include_top=HEAD[0] in variables)
        conversions, name = checkpoint.conversions, checkpoint.tag[:100]  # a tag in a file may have any length
    else:
        path, conversions, name = checkpoint, (), str(checkpoint)
    shapes = {key: tuple(variable.shape) for key, variable in variables.items()}
    with readers.open_tensors(path, _bytes(variables) + SPARE) as tensors:
        try:
            named = _in_keras_terms(tensors, model)
            for convert in conversions:
                named = convert(named)
            matched = match_tensors(named, shapes)
        except WeightsError as error:
            raise WeightsError(f"weights: {name} does not fit {model.name!r}: {error}") from None
        values = {key: _value(key, tensor, variables[key].dtype, name) for key, tensor in matched.items()}
    for key, value in values.items():
        variables[key].assign(value)
    if isinstance(checkpoint, Path) and not any("/" in key for key in tensors) and _pads_channels(model):
        logger.warning(
            "weights: %s does not show where its shortcuts put zeros; the model puts them at the end. If the file is "
            'from akamaster\'s code, load weights.like("ResNet20", "akamaster", file).',
            name,
        )
    if HEAD[0] in variables and HEAD[0] not in matched:
        logger.warning(
            "weights: the classifier in %s has another number of classes; that of %s keeps its values.",
            name,
            model.name,
        )


def variables_of(model: keras.Model) -> dict[str, keras.Variable]:
    """The variables of a model by `layer/variable`; a file must have a value for each."""
    variables: dict[str, keras.Variable] = {}
    for layer in flat_layers(model):
        for variable in layer.weights:
            key = f"{layer.name}/{variable.name}"
            if key in variables:
                raise WeightsError(f"model must have a different name for each layer. Received: {layer.name!r} twice")
            variables[key] = variable
    return variables


def _pads_channels(model: keras.Model) -> bool:
    """Whether shortcuts are of option A; names in PyTorch do not show where these put zeros."""
    parsed_names = (parse_block(layer.name) for layer in flat_layers(model))
    return any(parsed is not None and parsed.part == "0_pad" for parsed in parsed_names)


def _in_keras_terms(tensors: dict[str, Tensor], model: keras.Model) -> dict[str, Tensor]:
    if any(name.startswith(UNNAMED) for name in tensors):
        return _named_by_position(tensors, model)
    return in_keras_terms(tensors)


def _named_by_position(tensors: dict[str, Tensor], model: keras.Model) -> dict[str, Tensor]:
    """Names the tensors of a `.weights.h5` without layer names: `conv2d_3` is the fourth convolution of the model."""
    counts: collections.Counter[str] = collections.Counter()
    names = {}
    for layer in model.layers:
        kind = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", type(layer).__name__).lower()
        names[f"{UNNAMED}{kind}_{counts[kind]}" if counts[kind] else f"{UNNAMED}{kind}"] = layer.name
        counts[kind] += 1
    parts = {key: key.split("/") for key in tensors}
    return {f"{names.get(layer, layer)}/{variable}": tensors[key] for key, (layer, variable) in parts.items()}


def _check_constants(model: keras.Model, checkpoint: Checkpoint) -> None:
    """Raises an error if epsilon, or mean and std of the pixels, are not those of the checkpoint."""
    for layer in flat_layers(model):
        if isinstance(layer, keras.layers.BatchNormalization) and layer.epsilon != checkpoint.epsilon:
            raise WeightsError(
                f"norm must have epsilon={checkpoint.epsilon} for weights {checkpoint.tag!r}. "
                f"Received: {layer.epsilon} in {layer.name!r} of {model.name!r}"
            )
        if isinstance(layer, keras.layers.Normalization) and layer.name == "preprocessing":
            if layers.channels(layer.output) != len(checkpoint.mean):
                continue  # no statistics are published for this number of channels
            statistics = [keras.ops.convert_to_numpy(value).ravel() for value in (layer.mean, layer.variance)]
            model_mean, model_std = statistics[0] / 255, np.sqrt(statistics[1]) / 255
            if not np.allclose((checkpoint.mean, checkpoint.std), (model_mean, model_std), atol=1e-6):
                raise WeightsError(
                    f"mean and std must be {checkpoint.mean} and {checkpoint.std} for weights {checkpoint.tag!r}. "
                    f"Received: {model_mean.round(4).tolist()} and {model_std.round(4).tolist()} in {model.name!r}"
                )


def _bytes(variables: dict[str, keras.Variable]) -> int:
    return sum(math.prod(variable.shape) * np.dtype(variable.dtype).itemsize for variable in variables.values())


def _value(name: str, tensor: Tensor, dtype: str, source: str) -> np.ndarray:
    with np.errstate(over="ignore"):  # values that become infinite raise an error below
        value = np.asarray(tensor.read()).astype(dtype, copy=False)
    if value.shape != tensor.shape:
        raise WeightsError(
            f"weights: {source}: {name} must have the declared shape {tensor.shape}. Received: {value.shape}"
        )
    finite = np.isfinite(value)
    if not finite.all():
        raise WeightsError(f"weights: {source}: {name} must have finite values. Received: {value[~finite][0]}")
    if name.endswith("/moving_variance") and (smallest := value.min(initial=0)) < 0:
        raise WeightsError(f"weights: {source}: {name} must have no negative value. Received: {smallest}")
    return value
