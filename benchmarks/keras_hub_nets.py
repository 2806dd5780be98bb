"""The peers in KerasHub: its ResNet-50s, built from KerasHub's backbone class, because nothing can be downloaded."""

from __future__ import annotations

import keras

from benchmarks.workers import needs


def net(name: str, size: int = 224, classes: int = 1000) -> keras.Model:
    """Builds `ResNet50` or `ResNet50V2`, from normalised pixels to probabilities.

    Raises:
        UnavailableError: keras-hub is not installed.
    """
    needs("keras_hub")
    import keras_hub

    second = name.endswith("V2")
    backbone = keras_hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[7],
        stackwise_num_filters=[64, 128, 256, 512],
        stackwise_num_blocks=[3, 4, 6, 3],
        stackwise_num_strides=[1, 2, 2, 2],
        block_type="bottleneck_block",
        use_pre_activation=second,
        image_shape=(size, size, 3),
    )
    return keras_hub.models.ResNetImageClassifier(
        backbone=backbone, num_classes=classes, activation="softmax", preprocessor=None
    )
