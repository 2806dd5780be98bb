"""Assembly: a stem, stages of blocks and a head make a residual network of any depth and width."""

from __future__ import annotations

import functools
import math
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import keras

from keras_resnet import inputs, layers, stems
from keras_resnet.arguments import integer, integers, one_of, rate
from keras_resnet.blocks import Block, bottleneck_block
from keras_resnet.gates import Gate
from keras_resnet.layers import Activation, Norm, Tensor, Words, batch_norm, relu
from keras_resnet.orderings import ordering_of
from keras_resnet.shortcuts import Shortcut
from keras_resnet.stems import Stem
from keras_resnet.strides import Step, Strides, in_first_block
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
        depths: blocks in each stage; as many stages as entries.
        block: `residual_block`, `bottleneck_block` or a callable of that form (`keras_resnet.blocks.Block`).
        filters: width of the blocks of each stage, one entry a stage.
        stem: a function of `keras_resnet.stems`, or `(x, filters, words, after) -> tensor` of your own.
        stem_filters: channels that leave the stem; None: `filters[0]`.
        strides: which blocks stride, a function of `keras_resnet.strides`: `in_first_block` of a stage, or
            `in_last_block` as keras.applications' v2.
        ordering: "original" (v1), "bn_after_addition", "relu_before_addition", "relu_only_preactivation" or
            "full_preactivation" (v2), for blocks, stem and head (arXiv:1603.05027).
        shortcut, groups, base_width, gate, last_gamma, norm, activation: of every block, see `residual_block`.
        stochastic_depth: probability in [0, 1) of dropping the last block; it grows linearly from 0 at the first
            (arXiv:1603.09382).
        output_stride: None: the network's own; or 8, 16, 32: stages beyond it dilate instead of stride.
        drop_rate: dropout before the classifier, in [0, 1).
        include_preprocessing: whether the model takes raw pixels, 0..255; otherwise `(pixels / 255 - mean) / std`.
        mean, std: of the pixels over 255, a channel each; with another number of channels, their average.
        default_size: side in pixels of the input where `input_shape` is None and `include_top` is True.
        include_top: whether to end in average pooling and a classifier.
        weights: None (random), or what `keras_resnet.load_weights` takes: the path of a file, "hf://timm/<model>",
            or a checkpoint. The zoo's models also take the tags that `keras_resnet.list_weights` lists.
        input_tensor: a Keras tensor (N, H, W, C) to build upon, or None.
        input_shape: (H, W, C) without the batch, (C, H, W) under channels_first; any number of channels, sides
            may be None. None: `default_size` with the top, (None, None, 3) without.
        pooling: without the top: None (N, H, W, C), "avg" or "max" (N, C).
        classes: outputs of the classifier, at least 1.
        classifier_activation: name of a Keras activation; None gives logits.
        name: of the model.

    Returns:
        A functional `keras.Model` of plain Keras layers, named as in keras.applications. Its input is
        float32 (integer pixels are cast). Under a mixed-precision policy what is pooled or classified is float32,
        and features (N, H, W, C) are of the type that the policy computes in.

    Raises:
        ValueError: an argument is out of its range, or the input is smaller than the network's stride.
        TypeError: an argument is of the wrong type.

    Example:
        >>> import keras_resnet as kr
        >>> tiny = kr.ResNet((1, 1), kr.residual_block, filters=(8, 16), stem=kr.stems.cifar,
        ...                  input_shape=(16, 16, 3), classes=10)
        >>> tiny.count_params(), tiny.output.shape
        (5410, (None, 10))
    """
    depths, filters = integers("depths", depths), integers("filters", filters)
    if len(filters) != len(depths):
        raise ValueError(f"filters must have an entry a stage, {len(depths)}. Received: filters={filters}")
    one_of("output_stride", output_stride, (None, 8, 16, 32))
    one_of("pooling", pooling, (None, "avg", "max"))
    order = ordering_of(ordering)
    words = Words(norm, activation)
    inputs.check_data_format()

    side = integer("default_size", default_size) if include_top else None
    image = x = inputs.image_input(input_tensor, input_shape, (side, side, 3))
    if include_preprocessing:
        x = inputs.preprocess(x, mean, std)
    inputs.check_float(x)
    stem_filters = integer("stem_filters", filters[0] if stem_filters is None else stem_filters)

    def start(pixels: Tensor) -> Tensor:
        return stem(pixels, stem_filters, words, order.after)

    stem_stride = _stride(start, layers.channels(x))
    plan = strides(depths, stem_stride, output_stride)
    inputs.check_sides(x, stem_stride * math.prod(step.stride for stage in plan for step in stage))

    make = functools.partial(
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
    x = _stages(start(x), make, filters, plan, rate("stochastic_depth", stochastic_depth))
    x = words(order.before, x, "post")
    if include_top:
        x = _classify(x, integer("classes", classes), classifier_activation, rate("drop_rate", drop_rate))
    else:
        x = _pool(x, pooling)

    let_keras_recurse(blocks=sum(depths))
    source = image if input_tensor is None else keras.utils.get_source_inputs(input_tensor)
    model = keras.Model(source, x, name=name or "resnet")
    if weights is not None:
        load_weights(model, weights)
    return model


def _stride(stem: Callable[[Tensor], Tensor], depth: int) -> int:
    """By how much a stem shrinks a side; tried on an image of known size, so any callable will do."""
    side = 256
    probe = keras.Input((side, side, depth) if layers.channel_axis() == -1 else (depth, side, side))
    height, _ = inputs.sides(stem(probe))
    return round(side / (height or 1))


def _stages(
    x: Tensor,
    make: functools.partial[Tensor],
    filters: Sequence[int],
    plan: Sequence[Sequence[Step]],
    stochastic_depth: float,
) -> Tensor:
    built, last = 0, max(sum(map(len, plan)) - 1, 1)
    for stage, (width, steps) in enumerate(zip(filters, plan), start=2):
        for b, step in enumerate(steps, start=1):
            x = make(
                x,
                width,
                stride=step.stride,
                dilation=step.dilation,
                first_dilation=step.first_dilation,
                stochastic_depth=stochastic_depth * built / last,
                name=f"conv{stage}_block{b}",
            )
            built += 1
    return x


def _classify(x: Tensor, classes: int, activation: str | None, drop_rate: float) -> Tensor:
    x = _pool(x, "avg")
    if drop_rate:
        x = keras.layers.Dropout(drop_rate, dtype=layers.float32_or_wider(), name="predictions_drop")(x)
    return keras.layers.Dense(classes, activation=activation, dtype=layers.float32_or_wider(), name="predictions")(x)


def _pool(x: Tensor, pooling: str | None) -> Tensor:
    dtype = layers.float32_or_wider()
    if pooling == "avg":
        return keras.layers.GlobalAveragePooling2D(dtype=dtype, name="avg_pool")(x)
    if pooling == "max":
        return keras.layers.GlobalMaxPooling2D(dtype=dtype, name="max_pool")(x)
    return x


def let_keras_recurse(blocks: int) -> None:
    """Raises Python's recursion limit for networks of so many blocks, and leaves it raised.

    Keras walks a graph by recursion, from the output along the first input of each layer. Our additions have the
    shortcut first, so that is 1 to 5 calls a block and not one a layer, and only ResNet-1202 of the zoo passes
    Python's 1,000. Sub-models and clones of it are walked again later, hence left raised.
    """
    needed = 500 + 5 * blocks
    if needed > sys.getrecursionlimit():
        sys.setrecursionlimit(needed)
