"""A start of Keras without the notices of its backend, for the command line."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager


def start_keras() -> None:
    """Imports Keras and opens its device, and drops what the backend's C++ code prints meanwhile.

    TensorFlow 2.21 prints some eight lines that no setting silences (its log is not yet set up then), one of them an
    "E" where there merely is no GPU. If the start fails they are shown after all.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with _stderr_held_back():
        import keras  # noqa: PLC0415

        keras.ops.zeros(())


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
