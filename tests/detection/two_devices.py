"""Trains the same detector on one device and on two virtual devices.

`python -m tests.detection.two_devices` prints the losses of each epoch as JSON. KERAS_BACKEND sets the backend. Virtual
devices must be created before any device is used.
"""

import json
import os

# The compilation takes longer than the compiled work.
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2 --xla_backend_optimization_level=0"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import tensorflow as tf

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)

from keras_resnet.detection import DetectionRecipe, fit  # noqa: E402
from keras_resnet.training import distribution  # noqa: E402
from tests.detection.small_detector import DESIGN, batches_from, detector  # noqa: E402

OPTIONS = {"learning_rate": 0.01, "warmup_steps": 1, "ema_decay": 0.5, "frozen_until": "conv1", "frozen_norms": False}
RECIPE = DetectionRecipe(epochs=2, batch_size=4, **OPTIONS)


def losses(devices):
    with distribution.devices(devices):
        return fit(detector(DESIGN), DESIGN, RECIPE, batches_from, 2).history["loss"]


if __name__ == "__main__":
    print(json.dumps([losses(1), losses(2)]))
