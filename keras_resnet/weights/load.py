"""Loads weights into a model: all weights of a file, or none if there is an error."""

from __future__ import annotations

import collections
import logging
import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence

import keras
import numpy as np

from keras_resnet import layers, strides
from keras_resnet._internal.validation import printable
from keras_resnet.complexity import flat_layers
from keras_resnet.inputs import IMAGENET_MEAN
from keras_resnet.stages import parse_block
from keras_resnet.weights import readers
from keras_resnet.weights.conversion import Conversion, Tensors
from keras_resnet.weights.fetch import local_file, parse_source
from keras_resnet.weights.kinds import DETECTOR, Kind, kind_of
from keras_resnet.weights.matching import Shape, match_tensors
from keras_resnet.weights.readers.hdf5 import UNNAMED
from keras_resnet.weights.recognition import example_of, form_of, is_torch
from keras_resnet.weights.sets import is_head
from keras_resnet.weights.table import Checkpoint, table
from keras_resnet.weights.tensors import Tensor, WeightsError
from keras_resnet.weights.torch_names import classifiers
from keras_resnet.weights.variants import VARIANTS

SPARE = 200 * 2**20  # bytes of memory that a file may need in addition to its weights

logger = logging.getLogger("keras_resnet")


def load_weights(model: keras.Model, source: str | os.PathLike[str] | Checkpoint, state: str = "") -> None:
    """Loads published or saved weights into a model: all weights, or none if there is an error.

    The file may have Keras' names or those of PyTorch (torchvision, timm, CIFAR networks; torchvision's Faster R-CNN).
    All shapes and types are compared before any value is read. All values are read, and checked to be finite, before
    any variable is assigned.

    If the file has no classifier, another head or a classifier for another number of classes, the model keeps its own,
    and a warning is logged. The classifier of a detector is the layer of its classes and that of its boxes. The first
    convolution is adapted to the model's number of channels.

    Args:
        model: a model of this package, also a detector, or one whose layers have the names of keras.applications.
        source: the path of a file of the same network (Keras HDF5, `.weights.h5`, `.keras`, safetensors, npz, torch);
            or "hf://owner/repository" of a timm model; or a checkpoint of `keras_resnet.weights.find` or `like`.
        state: name of the set of weights, if the file has several, see `keras_resnet.weights.like`; "": the usual one.

    Raises:
        ValueError: the file is missing, damaged or unsafe, or belongs to another network; or the model has another
            epsilon or another mean and std of the pixels than the checkpoint. The model is not changed.
        TypeError: `model` is not a `keras.Model`, or `source` or `state` has another type.

    Example:
        >>> import keras_resnet as kr
        >>> model = kr.ResNet20(input_shape=(28, 28, 1))
        >>> kr.load_weights(model, kr.weights.find("ResNet20", "fashion_mnist"))  # a file of this package

        A checkpoint of timm on the Hugging Face hub: `kr.load_weights(model, "hf://timm/resnet50.a1_in1k")`.
    """
    if not isinstance(model, keras.Model):
        raise TypeError(f"model must be a keras.Model. Received: {model!r}")
    if not isinstance(state, str):
        raise TypeError(f"state must be a string. Received: state={state!r:.60}")
    checkpoint = source if isinstance(source, Checkpoint) else parse_source(source)
    variables = variables_of(model)
    kind = kind_of(variables)
    if isinstance(checkpoint, Checkpoint):
        _check_constants(model, checkpoint)
        path = local_file(checkpoint, include_top=kind.head[0] in variables)
        state, name = state or checkpoint.state, checkpoint.tag[:100]  # a tag in a file may have any length
    else:
        path, name = checkpoint, printable(checkpoint)
    # A checkpoint without a model is one of the hub, whose network is known.
    known = checkpoint if isinstance(checkpoint, Checkpoint) and (checkpoint.form or not checkpoint.model) else None
    shapes = {key: tuple(variable.shape) for key, variable in variables.items()}
    limit = _bytes(variables) + SPARE
    with readers.open_tensors(path, limit, state, first_layers=kind.first_layers) as tensors:
        try:
            named = _in_keras_terms(tensors, model, kind)
            conversions = known.conversions if known else _assumed(model, is_torch(tensors), named, shapes)
            for convert in conversions:
                named = convert(named)
            matched = match_tensors(named, shapes, kind.head)
        except WeightsError as error:
            raise WeightsError(f"weights: {name} does not fit {model.name!r}: {error}") from None
        values = {key: _value(key, tensor, variables[key].dtype, name) for key, tensor in matched.items()}
    for key, value in values.items():
        variables[key].assign(value)
    if is_torch(tensors) and not known:
        _tell_of_zeros(model, name)
        if not isinstance(checkpoint, Checkpoint) or tuple(checkpoint.mean) == IMAGENET_MEAN:
            _tell_of_pixels(model, name)
        if kind is DETECTOR:
            _tell_of_epsilon(model, tensors, name)
    if kind.head[0] in matched:
        _tell_of_classifiers(tensors, name)
    _tell_of_heads(model, named, matched, kind.head, name)


def _assumed(
    model: keras.Model, in_torch: bool, tensors: Tensors, shapes: Mapping[str, Shape]
) -> tuple[Conversion, ...]:
    """The conversions for a file of which only the names are known.

    Raises:
        WeightsError: the names are those of keras.applications, and the model has not its form.
    """
    if in_torch:
        return VARIANTS["akamaster"].conversions if _pads_at_end(model) else ()
    form = form_of(tensors)
    example = example_of(form)
    if example is None or form == form_of(shapes):  # the model has these layers itself
        return ()
    try:
        _check_constants(model, example)
        _check_strides(model, example)
    except WeightsError as error:
        named = next((row for row in table() if row.form == example.form and row.model.lower() == model.name), example)
        raise WeightsError(
            f"the file is of keras.applications' {named.model}. Build its form: keras_resnet.{named.model}("
            f'weights=keras_resnet.weights.like("{named.model}", "{named.tag}", file)). For this model {error}'
        ) from None
    return example.conversions


def _tell_of_zeros(model: keras.Model, name: str) -> None:
    if _pads_at_end(model):
        logger.warning(
            "weights: the shortcuts in %s are taken to put zeros on both sides, as in akamaster's code. For zeros at "
            'the end load weights.like(model, "zoo", file), or type --like zoo.',
            name,
        )


def _tell_of_pixels(model: keras.Model, name: str) -> None:
    layer = next((layer for layer in flat_layers(model) if layer.name == "preprocessing"), None)
    if isinstance(layer, keras.layers.Normalization):
        mean, std = _statistics(layer)
        logger.warning(
            "weights: %s does not say how its pixels were prepared; the model takes (pixels / 255 - mean) / std with "
            "mean %s and std %s. For others load weights.like(model, tag, file, mean=..., std=...), or type --mean and "
            "--std.",
            name,
            _listed(mean),
            _listed(std),
        )


def _tell_of_epsilon(model: keras.Model, tensors: Tensors, name: str) -> None:
    """Torchvision's frozen batch norms have another epsilon in its network for COCO, which its file does not say."""
    frozen = not any(key.endswith(".num_batches_tracked") for key in tensors)
    epsilons = {layer.epsilon for layer in flat_layers(model) if isinstance(layer, keras.layers.BatchNormalization)}
    if frozen and epsilons - {0.0}:
        logger.warning(
            "weights: %s has frozen batch norms, and does not say their epsilon; the model has %s. torchvision's "
            "weights for COCO, and what was trained from them, have 0: then pass weights=keras_resnet.weights.like("
            '"fasterrcnn_resnet50_fpn", "torchvision_coco", file) to keras_resnet.detection.create_detector.',
            name,
            _listed(sorted(epsilons)),
        )


def _tell_of_classifiers(tensors: Tensors, name: str) -> None:
    found = [module for module in classifiers(tensors) if len(tensors[f"{module}.weight"].shape) > 1]
    if len(found) > 1:
        logger.warning("weights: %s has several classifiers, %s; %s is loaded.", name, ", ".join(found), found[0])


def _tell_of_heads(model: keras.Model, tensors: Tensors, matched: Tensors, head: Sequence[str], name: str) -> None:
    has_head = head[0] in variables_of(model)
    others = [key for key in tensors if key not in matched and is_head(key) and key not in head]
    listed = f" ({', '.join(key[:60] for key in others[:3])})" if others else ""
    if has_head and head[0] not in matched:
        if head[0] in tensors:
            reason = f"the classifier in {name} has another number of classes"
        else:
            reason = f"{name} has no classifier of one layer{listed}"
        logger.warning("weights: %s; that of %s keeps its values.", reason, model.name)
    elif others:
        logger.info("weights: other heads in %s are left out%s.", name, listed)


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


def _pads_at_end(model: keras.Model) -> bool:
    """Whether shortcuts are of option A with zeros at the end; names in torch do not show where these put zeros."""
    parsed = ((layer, parse_block(layer.name)) for layer in flat_layers(model))
    pads = [layer.padding for layer, block in parsed if block is not None and block.part == "0_pad"]
    return any(pads) and all(start == 0 for padding in pads for start, _ in padding)


def _in_keras_terms(tensors: dict[str, Tensor], model: keras.Model, kind: Kind) -> dict[str, Tensor]:
    if any(name.startswith(UNNAMED) for name in tensors):
        return _named_by_position(tensors, model)
    named = kind.in_keras_terms(tensors)
    if kind is DETECTOR and kind.head[0] not in named:
        raise WeightsError(
            "the file must have the weights of a whole detector. Weights of a backbone are loaded into the backbone: "
            "for example keras_resnet.ResNet50(include_top=False, weights=file, input_shape=(None, None, 3))"
        )
    return named


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
            mean, std = _statistics(layer)
            if not np.allclose((checkpoint.mean, checkpoint.std), (mean, std), atol=1e-6):
                raise WeightsError(
                    f"mean and std must be {_listed(checkpoint.mean)} and {_listed(checkpoint.std)} for weights "
                    f"{checkpoint.tag!r}. Received: {_listed(mean)} and {_listed(std)} in {model.name!r}"
                )


def _check_strides(model: keras.Model, checkpoint: Checkpoint) -> None:
    """Raises an error if a bottleneck block has a stride where the form of the checkpoint has none."""
    parsed = [(layer, block) for layer in flat_layers(model) if (block := parse_block(layer.name))]
    depths: dict[int, int] = {}  # of each stage
    for _, block in sorted(parsed, key=lambda pair: pair[1]):
        depths[block.stage] = block.block
    variant = VARIANTS[checkpoint.form]
    place = variant.fields.get("strides", strides.in_first_block)
    plan = dict(zip(depths, place(list(depths.values()), 4, None)))
    for layer, block in parsed:
        if block.part not in ("1_conv", "2_conv") or max(layer.strides) == 1:
            continue
        if block.part != variant.strided:
            raise WeightsError(
                f"{variant.strided} of the blocks must have the stride. Received: a stride in {layer.name!r}"
            )
        if plan[block.stage][block.block - 1].stride == 1:
            raise WeightsError(
                f"strides must be keras_resnet.strides.{place.__name__}. Received: a stride in {layer.name!r}"
            )


def _statistics(layer: keras.layers.Normalization) -> tuple[np.ndarray, np.ndarray]:
    """Mean and std of the pixels / 255."""
    mean, variance = (keras.ops.convert_to_numpy(value).ravel() for value in (layer.mean, layer.variance))
    return mean / 255, np.sqrt(variance) / 255


def _listed(numbers: Iterable[float]) -> str:
    return f"({', '.join(f'{number:.4g}' for number in numbers)})"


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
