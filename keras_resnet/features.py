"""Features: what a backbone hands to detection and segmentation."""

from __future__ import annotations

import re

import keras

from keras_resnet.layers import Tensor

BLOCK_END = re.compile(r"conv(\d+)_block(\d+)_out")


def pyramid(model: keras.Model) -> dict[str, Tensor]:
    """The last features at each stride: "C2" to "C5" at strides 4, 8, 16 and 32 in an ImageNet net.

    Where a stage's last block strides (`strides.in_last_block`), that is the block before it, if there is one.

    The last one is what the head reads: in a pre-activation net after `post_bn` and `post_relu`. With `output_stride`
    the later stages keep that stride; a CIFAR net has "C2" to "C4" at strides 1, 2 and 4.

    Args:
        model: a model of this package, or one loaded from a `.keras` file of such.

    Returns:
        Keras tensors (N, H, W, C) by name, the finest first: outputs for a `keras.Model(model.input, ...)`.

    Raises:
        ValueError: the model has no layers named as a ResNet's blocks.

    Example:
        >>> import keras_resnet as kr
        >>> {name: x.shape for name, x in kr.pyramid(kr.ResNet20(include_top=False, input_shape=(64, 64, 3))).items()}
        {'C2': (None, 64, 64, 16), 'C3': (None, 32, 32, 32), 'C4': (None, 16, 16, 64)}
    """
    blocks: dict[int, dict[int, Tensor]] = {}
    for layer in model.layers:
        if match := BLOCK_END.fullmatch(layer.name):
            stage, block = map(int, match.groups())
            blocks.setdefault(stage, {})[block] = layer.output
    if not blocks:
        raise ValueError(
            f"model must have layers named as a ResNet's blocks, conv2_block1_out and so on. Received: {model.name!r}"
        )
    features = {
        f"C{stage}": blocks[stage][_last_at_stride(model, stage, len(blocks[stage]))] for stage in sorted(blocks)
    }
    names = [layer.name for layer in model.layers]
    for end in ("post_relu", "post_bn"):
        if end in names:
            features[f"C{max(blocks)}"] = model.get_layer(end).output
            break
    return features


def _last_at_stride(model: keras.Model, stage: int, depth: int) -> int:
    """The last block of a stage, or the one before it where the last one strides."""
    last = f"conv{stage}_block{depth}_"
    strided = any(layer.name.startswith(last) and max(getattr(layer, "strides", (1,))) > 1 for layer in model.layers)
    return depth - 1 if strided and depth > 1 else depth
