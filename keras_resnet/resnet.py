"""Assembly: a stem, stages of blocks and a head make a residual network of any depth and width."""

from __future__ import annotations

import functools
import inspect
import math
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras

from keras_resnet import inputs, layers, stems
from keras_resnet._internal.validation import integer, integers, number, one_of
from keras_resnet.blocks import Block, bottleneck_block
from keras_resnet.complexity import Cost, Sketch, check_cost_known, cost_function
from keras_resnet.gates import Gate
from keras_resnet.layers import Activation, Norm, NormAct, Tensor, batch_norm, relu
from keras_resnet.orderings import Operations, ordering_of
from keras_resnet.shortcuts import Shortcut
from keras_resnet.stages import CLASSIFIER, POST, block_name
from keras_resnet.stems import Stem
from keras_resnet.strides import STRIDES, Strides, in_first_block
from keras_resnet.weights import Checkpoint, load_weights


def ResNet(
    depths: Sequence[int] = (3, 4, 6, 3),
    block: Block = bottleneck_block,
    *,
    filters: Sequence[int] = (64, 128, 256, 512),
    stem: Stem = stems.imagenet,
    stem_filters: int | None = None,
    strides: Strides = in_first_block,
    ordering: str = "original",
    shortcut: Shortcut | None = None,
    groups: int = 1,
    base_width: int = 64,
    gate: Gate | None = None,
    stochastic_depth: float = 0.0,
    last_gamma: str = "zeros",
    norm: Norm = batch_norm,
    activation: Activation = relu,
    output_stride: int | None = None,
    drop_rate: float = 0.0,
    include_preprocessing: bool = True,
    mean: Sequence[float] = inputs.IMAGENET_MEAN,
    std: Sequence[float] = inputs.IMAGENET_STD,
    default_size: int = 224,
    include_top: bool = True,
    weights: str | os.PathLike[str] | Checkpoint | None = None,
    input_tensor: Any = None,
    input_shape: Sequence[int | None] | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | None = "softmax",
    name: str | None = None,
) -> keras.Model:
    """A residual network of any depth and width; the default is ResNet-50.

    Args:
        depths: number of blocks in each stage.
        block: `residual_block`, `bottleneck_block`, or your own function with the arguments of `residual_block`.
        filters: width of the blocks of each stage; as many entries as `depths`.
        stem: a function of `keras_resnet.stems`, or your own `(x, filters, norm_act, after) -> tensor`.
        stem_filters: channels after the stem; None: `filters[0]`.
        strides: which block of a stage has the stride, a function of `keras_resnet.strides`: `in_first_block`, or
            `in_last_block` as in keras.applications' v2.
        ordering: "original" (v1), "bn_after_addition", "relu_before_addition", "relu_only_preactivation" or
            "full_preactivation" (v2), for blocks, stem and head (arXiv:1603.05027).
        shortcut, groups, base_width, gate, last_gamma, norm, activation: of every block, see `residual_block`.
        stochastic_depth: probability in [0, 1) of dropping the last block; it grows linearly from 0 at the first
            block (arXiv:1603.09382).
        output_stride: None: no limit; or 8, 16, 32: stages beyond this stride dilate instead of stride.
        drop_rate: dropout before the classifier, in [0, 1).
        include_preprocessing: whether the model takes raw pixels, 0 to 255; otherwise `(pixels / 255 - mean) / std`.
        mean, std: of the pixels over 255, one number for each channel. If an image has more channels, the further ones
            get the average; if it has fewer, all get it.
        default_size: side in pixels of the input if `input_shape` is None and `include_top` is True.
        include_top: whether the model ends in average pooling and a classifier.
        weights: None (random), or a source for `keras_resnet.load_weights`: the path of a file, "hf://timm/<model>",
            or a checkpoint. The models of the zoo also take the names that `keras_resnet.list_weights` lists.
        input_tensor: a Keras tensor (N, H, W, C) that the network starts from, or None.
        input_shape: (H, W, C) without the batch, (C, H, W) with channels_first. Any number of channels; sides may be
            None. None: `default_size` with the top, (None, None, 3) without.
        pooling: without the top: None for (N, H, W, C), "avg" or "max" for (N, C).
        classes: outputs of the classifier, at least 1.
        classifier_activation: name of a Keras activation; None gives logits.
        name: of the model.

    Returns:
        A functional `keras.Model` of plain Keras layers, with the layer names of keras.applications. Its input is
        float32 (integer pixels are cast). With a mixed-precision policy pooled and classified outputs are float32, and
        features (N, H, W, C) have the compute type of the policy.

    Raises:
        ValueError: an argument is outside its range, or the input is smaller than the stride of the network.
        TypeError: an argument has the wrong type.

    Example:
        >>> import keras_resnet as kr
        >>> tiny = kr.ResNet((1, 1), kr.residual_block, filters=(8, 16), stem=kr.stems.cifar,
        ...                  input_shape=(16, 16, 3), classes=10)
        >>> tiny.count_params(), tiny.output.shape
        (5410, (None, 10))
    """
    depths, filters = integers("depths", depths), integers("filters", filters)
    if len(filters) != len(depths):
        raise ValueError(f"filters must have {len(depths)} entries, as many as depths. Received: filters={filters}")
    one_of("output_stride", output_stride, (None, 8, 16, 32))
    one_of("pooling", pooling, (None, "avg", "max"))
    order = ordering_of(ordering)
    norm_act = NormAct(norm, activation)
    inputs.check_data_format()

    side = integer("default_size", default_size) if include_top else None
    image = x = inputs.image_input(input_tensor, input_shape, (side, side, 3))
    if include_preprocessing:
        x = inputs.preprocess(x, mean, std)
    inputs.check_float(x)
    ends = (integer("stem_filters", filters[0] if stem_filters is None else stem_filters), norm_act, order.after)
    stem_stride = _stride(stem, ends, layers.channels(x))
    plan = strides(depths, stem_stride, output_stride)
    inputs.check_sides(x, stem_stride * math.prod(row.stride for stage in plan for row in stage))

    block = functools.partial(
        block,
        ordering=ordering,
        shortcut=shortcut,
        groups=groups,
        base_width=base_width,
        gate=gate,
        last_gamma=last_gamma,
        norm=norm,
        activation=activation,
    )
    drop_rates = _drop_rates(number("stochastic_depth", stochastic_depth, "[0, 1)"), sum(map(len, plan)))
    x = stem(x, *ends)
    for stage, (width, rows) in enumerate(zip(filters, plan), start=2):
        for b, row in enumerate(rows, start=1):
            x = block(
                x,
                width,
                stride=row.stride,
                dilation=row.dilation,
                first_dilation=row.first_dilation,
                stochastic_depth=next(drop_rates),
                name=block_name(stage, b),
            )
    x = norm_act(order.before, x, POST)
    if include_top:
        drop_rate = number("drop_rate", drop_rate, "[0, 1)")
        x = _classify(x, integer("classes", classes), classifier_activation, drop_rate)
    else:
        x = _pool(x, pooling)

    let_keras_recurse(blocks=sum(depths))
    source = image if input_tensor is None else keras.utils.get_source_inputs(input_tensor)
    model = keras.Model(source, x, name=name or "resnet")
    if weights is not None:
        load_weights(model, weights)
    return model


DEFAULTS = {name: argument.default for name, argument in inspect.signature(ResNet).parameters.items()}


def cost(fields: Mapping[str, Any], input_shape: Sequence[int]) -> Cost:
    """What the classifier costs that `ResNet(**fields)` builds. Nothing is built.

    Args:
        fields: arguments of `ResNet`; the others have their defaults.
        input_shape: (H, W, C) of an image.

    Returns:
        Trainable parameters and multiply-accumulates, as `keras_resnet.macs` counts them.

    Raises:
        ValueError: `ResNet` cannot build this, or the cost of one of its parts is not known.

    Example:
        >>> from keras_resnet import zoo
        >>> from keras_resnet.resnet import cost
        >>> cost(zoo.ROWS["ResNet50"].fields, (224, 224, 3))
        Cost(parameters=25557032, macs=4089184256)
    """
    f = {**DEFAULTS, **fields}
    depths, filters = integers("depths", f["depths"]), integers("filters", f["filters"])
    order = ordering_of(f["ordering"])
    for argument, known in (("norm", (batch_norm,)), ("activation", (relu,)), ("strides", STRIDES)):
        check_cost_known(argument, f[argument], known)
    x = Sketch((input_shape[0], input_shape[1]), input_shape[2])
    stem_filters = filters[0] if f["stem_filters"] is None else f["stem_filters"]
    cost_function("stem", f["stem"])(x, stem_filters, order.after)
    stem_stride = stride_of_stem(f["stem"])
    plan = f["strides"](depths, stem_stride, f["output_stride"])
    smallest = stem_stride * math.prod(row.stride for stage in plan for row in stage)
    if min(input_shape[:2]) < smallest:
        raise ValueError(f"input_shape must have sides of at least {smallest}. Received: {tuple(input_shape)}")
    block = cost_function("block", f["block"])
    options = {"groups": f["groups"], "base_width": f["base_width"], "shortcut": f["shortcut"], "gate": f["gate"]}
    for width, stage in zip(filters, plan, strict=True):
        for row in stage:
            block(x, width, row.stride, order=order, **options)
    x.norm(order.before)
    x.dense(integer("classes", f["classes"]))
    return Cost(x.parameters, x.macs)


def stride_of_stem(stem: Stem) -> int:
    """The stride of a stem whose cost is known."""
    x = Sketch((256, 256), 3)
    cost_function("stem", stem)(x, 16, ())
    return 256 // x.sides[0]


def _stride(stem: Stem, arguments: tuple[int, NormAct, Operations], channels: int) -> int:
    """The stride of a stem.

    It must be known before the blocks are planned, and a stem may be any function. So it is called once on an input of
    known size.
    """
    side = 256
    probe = keras.Input((side, side, channels) if layers.channel_axis() == -1 else (channels, side, side))
    height, _ = inputs.sides(stem(probe, *arguments))
    return round(side / (height or 1))


def _drop_rates(last: float, blocks: int) -> Iterator[float]:
    """Probabilities of stochastic depth, from 0 at the first block to `last`."""
    return (last * index / max(blocks - 1, 1) for index in range(blocks))


def _classify(x: Tensor, classes: int, activation: str | None, drop_rate: float) -> Tensor:
    x = _pool(x, "avg")
    if drop_rate:
        x = keras.layers.Dropout(drop_rate, dtype=layers.float32_or_wider(), name=f"{CLASSIFIER}_drop")(x)
    return keras.layers.Dense(classes, activation=activation, dtype=layers.float32_or_wider(), name=CLASSIFIER)(x)


def _pool(x: Tensor, pooling: str | None) -> Tensor:
    dtype = layers.float32_or_wider()
    if pooling == "avg":
        return keras.layers.GlobalAveragePooling2D(dtype=dtype, name="avg_pool")(x)
    if pooling == "max":
        return keras.layers.GlobalMaxPooling2D(dtype=dtype, name="max_pool")(x)
    return x


def let_keras_recurse(blocks: int) -> None:
    """Raises Python's recursion limit for a network with so many blocks, and leaves it raised.

    Keras walks a graph by recursion, from the output along the first input of each layer. The first input of our
    additions is the shortcut, so that makes 1 to 5 calls for each block instead of one for each layer. In the zoo only
    ResNet-1202 needs more than Python's limit of 1,000. The limit stays raised because Keras walks the graph again for
    sub-models and clones.
    """
    needed = 500 + 5 * blocks
    if needed > sys.getrecursionlimit():
        sys.setrecursionlimit(needed)
