"""Loading: all of a file's weights into a model, or none."""

from __future__ import annotations

import collections
import logging
import math
import os
import re
from pathlib import Path

import keras
import numpy as np

from keras_resnet import inputs, layers
from keras_resnet.complexity import flat_layers
from keras_resnet.stages import parse_block
from keras_resnet.weights import readers
from keras_resnet.weights.fetch import local_file, parse_source
from keras_resnet.weights.matching import HEAD, match_tensors
from keras_resnet.weights.readers.hdf5 import UNNAMED
from keras_resnet.weights.table import Checkpoint
from keras_resnet.weights.tensors import Tensor, WeightsError
from keras_resnet.weights.torch_names import in_keras_terms

SPARE = 200 * 2**20  # bytes that a file may take beside the weights themselves

logger = logging.getLogger("keras_resnet")


def load_weights(model: keras.Model, source: str | os.PathLike[str] | Checkpoint) -> None:
    """Loads published or saved weights into a model: all of them, or, if anything is wrong, none.

    Names are Keras' own or torch's (torchvision, timm, CIFAR nets). Shapes and types are compared before a value is
    read, and all values are read and found finite before one is assigned. A head for another number of classes
    is left out, with a line in the log, and the model keeps its own; a first convolution is adapted to the
    model's number of channels.

    Args:
        model: of this package, or one whose layers have the names of keras.applications.
        source: the path of a file of this very network (Keras HDF5, `.weights.h5`, `.keras`, safetensors, npz, torch),
            or "hf://owner/repository" of a timm model, or a checkpoint (`keras_resnet.weights.find`, `like`).

    Raises:
        ValueError: the file is missing, damaged or unsafe, or is of another network, or the model prepares its
            pixels or normalises in another way than the checkpoint; the model is as it was.

    Example::

        keras_resnet.load_weights(model, "hf://timm/resnet50.a1_in1k")
    """
    if not isinstance(model, keras.Model):
        raise TypeError(f"model must be a keras.Model. Received: {model!r}")
    checkpoint = source if isinstance(source, Checkpoint) else parse_source(source)
    variables = variables_of(model)
    if isinstance(checkpoint, Checkpoint):
        _check_constants(model, checkpoint)
        path = local_file(checkpoint, include_top=HEAD[0] in variables)
        conversions, name = checkpoint.conversions, checkpoint.tag[:100]  # a file's card may say anything
    else:
        path, conversions, name = checkpoint, (), str(checkpoint)
    shapes = {key: tuple(variable.shape) for key, variable in variables.items()}
    with readers.open_tensors(path, _bytes(variables) + SPARE) as tensors:
        try:
            named = _in_keras_terms(tensors, model)
            for convert in conversions:
                named = convert(named)
            fits = match_tensors(named, shapes)
        except WeightsError as error:
            raise WeightsError(f"weights: {name} does not fit {model.name!r}: {error}") from None
        staged = [(variables[key], _value(key, tensor, variables[key].dtype, name)) for key, tensor in fits.items()]
    for variable, value in staged:
        variable.assign(value)
    if isinstance(checkpoint, Path) and not any("/" in key for key in tensors) and _pads_channels(model):
        logger.warning(
            "weights: %s does not say where its shortcuts put their zeros; taken at the end. If it is of akamaster's "
            'code, load weights.like("ResNet20", "akamaster", file).',
            name,
        )
    if HEAD[0] in variables and HEAD[0] not in fits:
        logger.warning("weights: the head of %s is of other classes; that of %s starts anew.", name, model.name)


def variables_of(model: keras.Model) -> dict[str, keras.Variable]:
    """The variables that a file has to fill, by `layer/variable`."""
    variables: dict[str, keras.Variable] = {}
    for layer in flat_layers(model):
        for variable in layer.weights:
            key = f"{layer.name}/{variable.name}"
            if key in variables:
                raise WeightsError(f"model must have a name of its own for each layer. Received: {layer.name!r} twice")
            variables[key] = variable
    return variables


def _pads_channels(model: keras.Model) -> bool:
    """Whether shortcuts are of option A, of which torch's names do not tell what it does."""
    names = (parse_block(layer.name) for layer in flat_layers(model))
    return any(name is not None and name.part == "0_pad" for name in names)


def _in_keras_terms(tensors: dict[str, Tensor], model: keras.Model) -> dict[str, Tensor]:
    if any(name.startswith(UNNAMED) for name in tensors):
        return _named_by_position(tensors, model)
    return in_keras_terms(tensors)


def _named_by_position(tensors: dict[str, Tensor], model: keras.Model) -> dict[str, Tensor]:
    """A `.weights.h5` without the layers' names: its `conv2d_3` is the model's fourth convolution."""
    counted: collections.Counter[str] = collections.Counter()
    names = {}
    for layer in model.layers:
        kind = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", type(layer).__name__).lower()
        names[f"{UNNAMED}{kind}_{counted[kind]}" if counted[kind] else f"{UNNAMED}{kind}"] = layer.name
        counted[kind] += 1
    parts = {key: key.split("/") for key in tensors}
    return {f"{names.get(layer, layer)}/{variable}": tensors[key] for key, (layer, variable) in parts.items()}


def _check_constants(model: keras.Model, checkpoint: Checkpoint) -> None:
    """Raises if the model prepares pixels or normalises otherwise than the checkpoint's network."""
    for layer in flat_layers(model):
        if isinstance(layer, keras.layers.BatchNormalization) and layer.epsilon != checkpoint.epsilon:
            raise WeightsError(
                f"norm must have epsilon={checkpoint.epsilon} for weights {checkpoint.tag!r}. "
                f"Received: {layer.epsilon} in {layer.name!r} of {model.name!r}"
            )
        if isinstance(layer, keras.layers.Normalization) and layer.name == "preprocessing":
            channels = layers.channels(layer.output)
            if channels != len(checkpoint.mean):
                continue  # nobody has published any
            mean, std = inputs.statistics(checkpoint.mean, checkpoint.std, channels)
            theirs = [keras.ops.convert_to_numpy(v).ravel() for v in (layer.mean, layer.variance)]
            ours = theirs[0] / 255, np.sqrt(theirs[1]) / 255
            if not np.allclose((mean, std), ours, atol=1e-6):
                raise WeightsError(
                    f"mean and std must be {checkpoint.mean} and {checkpoint.std} for weights {checkpoint.tag!r}. "
                    f"Received: {ours[0].round(4).tolist()} and {ours[1].round(4).tolist()} in {model.name!r}"
                )


def _bytes(variables: dict[str, keras.Variable]) -> int:
    return sum(math.prod(variable.shape) * np.dtype(variable.dtype).itemsize for variable in variables.values())


def _value(name: str, tensor: Tensor, dtype: str, source: str) -> np.ndarray:
    with np.errstate(over="ignore"):  # what becomes infinite is refused below
        value = np.asarray(tensor.read()).astype(dtype, copy=False)
    if value.shape != tensor.shape:
        raise WeightsError(f"weights: {source}: {name} declares {tensor.shape} and holds {value.shape}")
    if not np.isfinite(value).all() or (name.endswith("/moving_variance") and value.min(initial=0) < 0):
        raise WeightsError(
            f"weights: {source}: {name} must be finite, and no variance negative. Received: other values"
        )
    return value
