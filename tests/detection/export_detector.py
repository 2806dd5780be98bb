"""A small detector whose answers differ from each other, for tests of exports."""

import dataclasses
import functools

import keras
import numpy as np

import keras_resnet as kr
from keras_resnet import layers
from keras_resnet.detection import FPN, FasterRCNN, heads, necks
from keras_resnet.weights.load import variables_of

# With batch norms everywhere, as in torchvision's second version.
DESIGN = dataclasses.replace(
    FPN,
    neck=functools.partial(necks.feature_pyramid, channels=16, norm=layers.batch_norm),
    box_head=functools.partial(heads.convs_and_dense, convs=1, filters=16, units=32),
    pre_nms_top_n=(50, 40),
    post_nms_top_n=(30, 20),
    shorter=64,
    longer=96,
    detections_per_image=12,
)
NAMES = ("cat", "dog", "owl")


def detector():
    """The detector, with random weights."""
    backbone = kr.ResNet((1, 1, 1, 1), filters=(8, 8, 16, 16), include_top=False, input_shape=(None, None, 3))
    net, rng = FasterRCNN(backbone, len(NAMES), DESIGN), np.random.default_rng(0)
    draws = {
        "kernel": lambda shape: rng.normal(0, 1.4 * np.prod(shape[:-1]) ** -0.5, shape),
        "moving_mean": lambda shape: rng.normal(0, 0.1, shape),
        "moving_variance": lambda shape: rng.uniform(0.8, 1.2, shape),
    }
    for key, variable in variables_of(net).items():
        if draw := draws.get(key.partition("/")[2]):
            scale = 0.1 if key.startswith(("box_logits", "box_codes")) else 1
            variable.assign(scale * draw(tuple(variable.shape)))
    return net


def photographs(rng):
    """Two noisy images of different sizes."""
    return [rng.integers(0, 256, shape, "uint8") for shape in ((50, 60, 3), (64, 40, 3))]


def as_one_size(image):
    """Images of one size, as `serving_default` takes them."""
    return keras.ops.convert_to_numpy(image)[None].astype("float32")
