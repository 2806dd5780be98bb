"""Trains the same network on one device and on two virtual devices.

`python -m tests.two_devices DIRECTORY` prints the differences of the results as JSON. KERAS_BACKEND sets the backend.
Virtual devices must be created before any device is used.
"""

import dataclasses
import json
import os
import signal
import sys
import tempfile

# The compilation takes longer than the compiled work.
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2 --xla_backend_optimization_level=0"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras
import numpy as np
import tensorflow as tf

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)

import keras_resnet as kr  # noqa: E402
from keras_resnet.data.constructors import from_arrays  # noqa: E402
from keras_resnet.evaluation.accuracy import evaluate  # noqa: E402
from keras_resnet.training import distribution  # noqa: E402
from keras_resnet.training.resuming import Stopped  # noqa: E402

# With the average of the weights and with gradient clipping: Keras' own versions are wrong or different here. With SAM,
# whose first gradient must be that of the whole batch. With a teacher, of whose loss each device computes a part.
RECIPE = dataclasses.replace(
    kr.training.RECIPES["one_cycle"],
    epochs=3,
    batch_size=16,
    pad_and_crop=0.0,
    learning_rate=0.2,
    ema_decay=0.9,
    clip_norm=0.5,
    sam=0.1,
    loss="binary_crossentropy",
    distillation_weight=0.2,
    validation_split=0.0,
)


class StopOnce(keras.callbacks.Callback):
    """Sends SIGTERM in the middle of the second epoch, as a cluster does."""

    def on_train_batch_begin(self, batch, logs=None):
        if self.model.optimizer.built and batch == 2 and self.epoch == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch


def noisy_images(count):
    """Images of two classes that overlap."""
    rng, labels = np.random.default_rng(0), np.arange(count) % 2
    images = (labels[:, None, None, None] * 60 + rng.integers(0, 190, (count, 8, 8, 1))).astype("uint8")
    return from_arrays(images, labels, ("dark", "bright"))


def build(seed=0):
    keras.utils.set_random_seed(seed)
    options = {"filters": (8,), "stem": kr.stems.cifar, "input_shape": (8, 8, 1), "classes": 2}
    return kr.ResNet((1,), kr.residual_block, **options)


def train(devices, directory, *callbacks):
    """Trains on 64 images and validates on 22, which neither batches nor devices divide evenly."""
    with distribution.devices(devices):
        model, teacher = build(), build(1)
        result = kr.training.fit(model, RECIPE, noisy_images(64), noisy_images(22), callbacks, directory, teacher)
        return model.get_weights(), result.history, evaluate(model, noisy_images(22), 16)


def losses_of_unfreezing(devices):
    """The validation losses of a training whose second epoch trains one stage more."""
    with distribution.devices(devices):
        recipe = dataclasses.replace(RECIPE, epochs=2, sam=0.0, unfreeze_epochs=1)
        return kr.training.fit(build(), recipe, noisy_images(64), noisy_images(22)).history["val_loss"]


def error_of(devices, images=64, **fields):
    """The error message of a training with a recipe on some devices."""
    try:
        with distribution.devices(devices):
            kr.training.fit(build(), dataclasses.replace(RECIPE, **fields), noisy_images(images))
    except ValueError as error:
        return str(error)


def error_of_model_on_one_device():
    """The error message of a training on two devices with a model that was built on one device."""
    model = build()
    try:
        with distribution.devices(2):
            kr.training.fit(model, RECIPE, noisy_images(64))
    except ValueError as error:
        return str(error)


def main(directory):
    one = train(1, None)
    try:
        train(2, directory, StopOnce())
    except Stopped as stopped:
        message = str(stopped)
    two = train(2, directory)
    unsupported_on_tensorflow = {
        "accumulation": {"gradient_accumulation_steps": 2},
        "remat": {"remat": True},
    }
    report = {
        "stopped": message,
        "weights": max(float(np.abs(a - b).max()) for a, b in zip(one[0], two[0], strict=True)),
        "history": {name: [one[1][name], two[1][name]] for name in one[1]},
        "evaluated": [one[2], two[2]],
        # In one process, TensorFlow allows no second MirroredStrategy whose first step adds other tensors.
        "unfreezing": [losses_of_unfreezing(count) for count in (1, 2) if keras.backend.backend() == "jax"],
        "refused": {
            "count": error_of(3),
            "batch_size": error_of(2, batch_size=15),
            "images": error_of(2, images=9),
            "place": error_of_model_on_one_device(),
            **(
                {name: error_of(2, **fields) for name, fields in unsupported_on_tensorflow.items()}
                if keras.backend.backend() == "tensorflow"
                else {}
            ),
        },
    }
    print(json.dumps(report))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        main(*(sys.argv[1:] or [temporary]))
