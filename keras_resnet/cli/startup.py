"""A start of Keras for the command line: without the notices of its backend, and on its quick kernels."""

from __future__ import annotations

import os
import platform
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager


def start_keras(before_devices: Callable[[], None] = lambda: None) -> None:
    """Imports Keras and TensorFlow, opens the device, and drops what C++ code prints meanwhile.

    The commands work on (N, H, W, C), whatever the user's Keras configuration says.
    TensorFlow 2.21 prints some eight lines that no setting silences (its log is not yet set up then), one of them an
    "E" where there merely is no GPU. If the start fails they are shown after all.

    Args:
        before_devices: called when Keras is imported and no device is open yet.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if platform.machine() == "x86_64":
        # TensorFlow leaves oneDNN off without AVX-512. With AVX2 alone ResNet-20 trained 2.4 times as fast on it.
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    with _stderr_held_back():
        import keras
        import tensorflow as tf

        if keras.backend.backend() != "tensorflow":
            tf.config.set_visible_devices([], "GPU")  # or it would take all of their memory for itself
        before_devices()
        keras.ops.zeros(())
        tf.zeros(())
    keras.config.set_image_data_format("channels_last")


@contextmanager
def _stderr_held_back() -> Iterator[None]:
    # C++ writes to the file descriptor; replacing sys.stderr would not reach it.
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(kept, held.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)
