"""Starts Keras for the command line: hides the messages of the backend and turns on fast kernels."""

from __future__ import annotations

import os
import platform
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager


def start_keras(before_devices: Callable[[], None] = lambda: None) -> None:
    """Imports Keras and TensorFlow, opens the device, and hides what C++ code prints to stderr during that time.

    The commands use the data format (N, H, W, C), whatever the user's Keras configuration says. While it starts,
    TensorFlow 2.21 prints about eight lines that no setting silences, because its log is not set up yet. One of them is
    marked as an error ("E") if the machine has no GPU. If the start fails, the hidden lines are printed.

    Args:
        before_devices: function that is called after Keras is imported and before a device is opened.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if platform.machine() == "x86_64":
        # On a processor without AVX-512, TensorFlow leaves oneDNN off. On one with AVX2 only, ResNet-20 trained 2.4
        # times as fast with oneDNN.
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    with _stderr_only_on_error():
        import keras
        import tensorflow as tf

        if keras.backend.backend() != "tensorflow":
            tf.config.set_visible_devices([], "GPU")  # otherwise TensorFlow takes all memory of the GPUs
        before_devices()
        keras.ops.zeros(())
        tf.zeros(())
    keras.config.set_image_data_format("channels_last")


@contextmanager
def _stderr_only_on_error() -> Iterator[None]:
    """Hides what is written to stderr inside the block, and prints it if the block raises an error."""
    # C++ code writes to the file descriptor, so it does not help to replace sys.stderr.
    sys.stderr.flush()
    original = os.dup(2)
    with tempfile.TemporaryFile() as hidden:
        os.dup2(hidden.fileno(), 2)
        try:
            yield
        except BaseException:
            hidden.seek(0)
            os.write(original, hidden.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(original, 2)
            os.close(original)
