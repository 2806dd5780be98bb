"""The grammar of layer names, and what it tells about a network: stage table, feature pyramid, freezing.

Layer names are those of keras.applications:

    conv1_*, pool1_*                    the stem
    conv{stage}_block{block}_{part}     a block; stages are counted from 2, blocks from 1
    post_bn, post_relu                  between the last block and the head of a pre-activation network
    avg_pool, max_pool, predictions     the head
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import keras

from keras_resnet._internal.validation import one_of
from keras_resnet.complexity import flat_layers, layer_macs, parameters

CLASSIFIER = "predictions"
POST = "post"
HEAD = (f"{POST}_", "avg_pool", "max_pool", CLASSIFIER)
_BLOCK = re.compile(r"conv(\d+)_block(\d+)_(.+)")


class BlockLayer(NamedTuple):
    """What the name of a layer in a block says."""

    stage: int
    block: int
    part: str  # the rest of the name: "1_conv", "0_bn", "out", ...


def block_name(stage: int, block: int) -> str:
    """The prefix of the names of a block's layers: `conv2_block1`."""
    return f"conv{stage}_block{block}"


def parse_block(layer: str) -> BlockLayer | None:
    """The parts of a layer's name, or of `layer/variable`; None for a layer outside the blocks.

    Example:
        >>> from keras_resnet.stages import parse_block
        >>> parse_block("conv4_block6_out")
        BlockLayer(stage=4, block=6, part='out')
    """
    match = _BLOCK.match(layer)
    return BlockLayer(int(match[1]), int(match[2]), match[3]) if match else None


class Stage(NamedTuple):
    """One row of the stage table.

    Attributes:
        name: "conv1" (the stem), "conv2_x" and so on, or "head".
        blocks: number of blocks.
        output: shape of the output of the stage's last layer, without the batch.
        parameters: trainable parameters.
        macs: multiply-accumulates for one image.
    """

    name: str
    blocks: int
    output: tuple[int | None, ...]
    parameters: int
    macs: int


def stage_table(model: keras.Model) -> list[Stage]:
    """The stages of a network, as the tables in papers list them.

    Args:
        model: a model of this package with a fixed input size.

    Returns:
        One `Stage` for the stem, one for each group of blocks, and one for the head.

    Raises:
        ValueError: the input size of the model is not known.

    Example:
        >>> import keras_resnet as kr
        >>> [(stage.name, stage.blocks) for stage in kr.stage_table(kr.ResNet20())]
        [('conv1', 0), ('conv2_x', 3), ('conv3_x', 3), ('conv4_x', 3), ('head', 0)]
    """
    groups: dict[str, list[keras.Layer]] = {}
    for layer in flat_layers(model):
        groups.setdefault(_stage_name(layer.name), []).append(layer)
    return [
        Stage(
            name,
            len({found.block for layer in layers if (found := parse_block(layer.name))}),
            layers[-1].output.shape[1:],
            parameters(layers),
            sum(map(layer_macs, layers)),
        )
        for name, layers in groups.items()
    ]


def _stage_name(layer: str) -> str:
    if found := parse_block(layer):
        return f"conv{found.stage}_x"
    return "head" if layer.startswith(HEAD) else "conv1"


def pyramid(model: keras.Model) -> dict[str, keras.KerasTensor]:
    """The last features at each stride, for detection and segmentation.

    In an ImageNet network these are "C2" to "C5", at strides 4, 8, 16 and 32. With `output_stride` the later stages
    keep that stride. A CIFAR network has "C2" to "C4", at strides 1, 2 and 4.

    If the last block of a stage has a stride (`strides.in_last_block`), the features are those of the block before it.
    The last level is the input of the head: in a pre-activation network the output of `post_bn` and `post_relu`.

    Args:
        model: a model of this package, also one that was loaded from a `.keras` file.

    Returns:
        Keras tensors (N, H, W, C) by name, the finest first. Use them as outputs: `keras.Model(model.input, ...)`.

    Raises:
        ValueError: no layer of the model has the name of a block's layer.

    Example:
        >>> import keras_resnet as kr
        >>> {name: x.shape for name, x in kr.pyramid(kr.ResNet20(include_top=False, input_shape=(64, 64, 3))).items()}
        {'C2': (None, 64, 64, 16), 'C3': (None, 32, 32, 32), 'C4': (None, 16, 16, 64)}
    """
    blocks: dict[int, dict[int, keras.KerasTensor]] = {}
    for layer in model.layers:
        found = parse_block(layer.name)
        if found and found.part == "out":
            blocks.setdefault(found.stage, {})[found.block] = layer.output
    if not blocks:
        raise _no_blocks(model)
    features = {
        f"C{stage}": blocks[stage][_last_at_stride(model, stage, len(blocks[stage]))] for stage in sorted(blocks)
    }
    names = [layer.name for layer in model.layers]
    for end in (f"{POST}_relu", f"{POST}_bn"):
        if end in names:
            features[f"C{max(blocks)}"] = model.get_layer(end).output
            break
    return features


def _no_blocks(model: keras.Model) -> ValueError:
    return ValueError(
        "model must have layers that are named like those of a ResNet's blocks: conv2_block1_out and so on. "
        f"Received: {model.name!r}"
    )


def _last_at_stride(model: keras.Model, stage: int, depth: int) -> int:
    """The last block of a stage, or the one before it if the last one has a stride."""
    last = f"{block_name(stage, depth)}_"
    has_stride = any(layer.name.startswith(last) and max(getattr(layer, "strides", (1,))) > 1 for layer in model.layers)
    return depth - 1 if has_stride and depth > 1 else depth


def freeze(model: keras.Model, until: str = CLASSIFIER) -> keras.Model:
    """Freezes all layers before a stage; that stage and all layers after it are trained.

    `until="conv4"` freezes the stem, conv2 and conv3. A frozen batch norm uses its moving statistics in training too,
    and does not change them. Dropout and stochastic depth stay random. Compile the model after this call: Keras trains
    the weights that were trainable when the model was compiled. Layers of a model around the network belong to the
    head, and are trained.

    Args:
        model: a model of this package with any head, or a model around one; also one that was loaded from a `.keras`
            file.
        until: "conv1" (nothing is frozen), "conv2" and so on to the last stage; "post" in a pre-activation network,
            for the norm after its last block; or "predictions", which freezes all but the head.

    Returns:
        `model` itself.

    Raises:
        ValueError: the model has no such stage, or no layer has the name of a block's layer.
        TypeError: `model` is not a `keras.Model`.

    Example:
        >>> import keras_resnet as kr
        >>> model = kr.freeze(kr.ResNet20())
        >>> [weight.path for weight in model.trainable_weights]
        ['predictions/kernel', 'predictions/bias']
    """
    if not isinstance(model, keras.Model):
        raise TypeError(f"model must be a keras.Model. Received: {model!r}")
    names = stage_names(model)
    trained = names[names.index(one_of("until", until, names)) :]
    # A model that is not trainable hides the weights of its layers. Each nested model is set by itself: on TensorFlow,
    # Keras passes nothing down if the outer model was trainable already.
    for part in _models(model):
        part.trainable = True
    for stage, _, layer in _layers_with_stage(model):
        layer.trainable = stage in trained
    return model


def stage_names(model: keras.Model) -> list[str]:
    """The stages that `freeze` knows, from the input to the output.

    Args:
        model: as in `freeze`.

    Raises:
        ValueError: no layer has the name of a block's layer.

    Example:
        >>> import keras_resnet as kr
        >>> from keras_resnet.stages import stage_names
        >>> stage_names(kr.ResNet20())
        ['conv1', 'conv2', 'conv3', 'conv4', 'predictions']
    """
    names = sorted({stage for stage, _, _ in _layers_with_stage(model)}.union([CLASSIFIER]), key=_order)
    if names == [CLASSIFIER]:
        raise _no_blocks(model)
    return names


def groups_of_layers(model: keras.Model) -> list[list[keras.Layer]]:
    """The layers that have weights, in groups from the input to the output, as timm groups them.

    Args:
        model: a model of this package with any head, or a model around one; also one that was loaded from a `.keras`
            file.

    Returns:
        The stem, each block, and the head. The norm after the blocks of a pre-activation network belongs to the last
        block.

    Raises:
        ValueError: no layer has the name of a block's layer.

    Example:
        >>> import keras_resnet as kr
        >>> from keras_resnet.stages import groups_of_layers
        >>> groups = groups_of_layers(kr.ResNet20())
        >>> len(groups), [layer.name for layer in groups[0]]
        (11, ['conv1_conv', 'conv1_bn'])
    """
    groups: dict[tuple[Any, ...], list[keras.Layer]] = {}
    for stage, block, layer in _layers_with_stage(model):
        if layer.weights:
            key = max(groups) if stage == POST else (*_order(stage), block)
            groups.setdefault(key, []).append(layer)
    if not any(block for *_, block in groups):
        raise _no_blocks(model)
    return [groups[key] for key in sorted(groups)]


def trained_part(model: keras.Model) -> tuple[str, bool]:
    """What of a network is trained: the first stage, as `freeze` names it, and whether a batch norm before the head is.

    Args:
        model: as in `groups_of_layers`.

    Example:
        >>> import keras_resnet as kr
        >>> from keras_resnet.stages import trained_part
        >>> trained_part(kr.freeze(kr.ResNet20(), until="conv3"))
        ('conv3', True)
    """
    stages, norms = set(), False
    for stage, _, layer in _layers_with_stage(model):
        if layer.trainable and layer.weights:
            if not isinstance(layer, keras.layers.BatchNormalization):
                stages.add(stage)
            elif stage != CLASSIFIER:
                norms = True
    return min(stages, key=_order, default=CLASSIFIER), norms


def _order(stage: str) -> tuple[bool, bool, int]:
    """Sorts stages: conv1, conv2, ..., conv10, post, predictions."""
    return stage == CLASSIFIER, stage == POST, int(stage.removeprefix("conv")) if stage.startswith("conv") else 0


def _layers_with_stage(model: keras.Model) -> Iterator[tuple[str, int, keras.Layer]]:
    """Each layer with its stage and the number of its block, 0 outside the blocks; layers of nested models too.

    A layer before the blocks of its own model belongs to the stem, whatever its name is; elsewhere to the head.
    """
    before_blocks = any(parse_block(layer.name) for layer in model.layers)
    for layer in model.layers:
        found = parse_block(layer.name)
        inside = list(flat_layers(layer)) if isinstance(layer, keras.Model) else [layer]
        if found:
            before_blocks = False
            stage = f"conv{found.stage}"
        elif any(parse_block(inner.name) for inner in inside):
            yield from _layers_with_stage(layer)
            continue
        elif before_blocks:
            stage = "conv1"
        else:
            stage = POST if layer.name.startswith(f"{POST}_") else CLASSIFIER
        yield from ((stage, found.block if found else 0, inner) for inner in inside)


def _models(model: keras.Model) -> Iterator[keras.Model]:
    """The model and all models that are nested in it."""
    yield model
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _models(layer)
