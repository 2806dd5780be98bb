"""Trains the same net on one device and on two virtual ones, which have to be there before any device is used.

`python -m tests.two_devices DIRECTORY` prints, as JSON, how far the results are apart; KERAS_BACKEND says on what.
"""

import dataclasses
import json
import os
import signal
import sys
import tempfile

# Compilation takes longer than what is compiled.
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2 --xla_backend_optimization_level=0"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras
import numpy as np
import tensorflow as tf

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)

import keras_resnet as kr  # noqa: E402
from keras_resnet.data.split import from_arrays  # noqa: E402
from keras_resnet.evaluation.accuracy import evaluate  # noqa: E402
from keras_resnet.training import distribution  # noqa: E402
from keras_resnet.training.resuming import Stopped  # noqa: E402

# An average of the weights, and gradients that are clipped: what Keras itself has wrong, or in another way.
RECIPE = dataclasses.replace(
    kr.training.RECIPES["one_cycle"],
    epochs=3,
    batch_size=16,
    pad_and_crop=0.0,
    learning_rate=0.05,
    ema_decay=0.9,
    clip_norm=0.5,
)


class StopOnce(keras.callbacks.Callback):
    """As Ctrl-C or a cluster would, in the middle of the second epoch."""

    def on_train_batch_begin(self, batch, logs=None):
        if self.model.optimizer.built and batch == 2 and self.epoch == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch


def noisy(count):
    """Images of two classes that overlap."""
    rng, labels = np.random.default_rng(0), np.arange(count) % 2
    images = (labels[:, None, None, None] * 60 + rng.integers(0, 190, (count, 8, 8, 1))).astype("uint8")
    return from_arrays(images, labels, ("dark", "bright"))


def build():
    keras.utils.set_random_seed(0)
    options = {"filters": (8,), "stem": kr.stems.cifar, "input_shape": (8, 8, 1), "classes": 2}
    return kr.ResNet((1,), kr.residual_block, **options)


def train(devices, directory, *callbacks):
    """Validated on 22 images: neither batches nor devices share them evenly."""
    with distribution.devices(devices):
        model = build()
        result = kr.training.fit(model, RECIPE, noisy(64), noisy(22), callbacks, directory)
        return model.get_weights(), result.history, evaluate(model, noisy(22), 16)


def refused(devices, images=64, **fields):
    """The message of the error that a recipe makes on some devices."""
    try:
        with distribution.devices(devices):
            kr.training.fit(build(), dataclasses.replace(RECIPE, **fields), noisy(images))
    except ValueError as error:
        return str(error)


def refused_elsewhere():
    """... and a model that was built on one device."""
    model = build()
    try:
        with distribution.devices(2):
            kr.training.fit(model, RECIPE, noisy(64))
    except ValueError as error:
        return str(error)


def main(directory):
    one = train(1, None)
    try:
        train(2, directory, StopOnce())
    except Stopped as stopped:
        said = str(stopped)
    two = train(2, directory)
    several_of_tensorflow = {
        "accumulation": {"gradient_accumulation_steps": 2},
        "remat": {"remat": True},
    }
    report = {
        "stopped": said,
        "weights": max(float(np.abs(a - b).max()) for a, b in zip(one[0], two[0], strict=True)),
        "history": {name: [one[1][name], two[1][name]] for name in one[1]},
        "evaluated": [one[2], two[2]],
        "refused": {
            "count": refused(3),
            "batch_size": refused(2, batch_size=15),
            "images": refused(2, images=9),
            "place": refused_elsewhere(),
            **(
                {name: refused(2, **fields) for name, fields in several_of_tensorflow.items()}
                if keras.backend.backend() == "tensorflow"
                else {}
            ),
        },
    }
    print(json.dumps(report))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        main(*(sys.argv[1:] or [made]))
