"""Makes trainings small, for tests that do not measure how well a network learns."""

import contextlib
import functools

import pytest
import tensorflow as tf

from keras_resnet import zoo
from keras_resnet.training import results, run


def of_one_block(patch):
    """Makes ResNet20 a network of one block. A training has the same steps, and takes a fifth of the time.

    Args:
        patch: a `pytest.MonkeyPatch`.
    """
    patch.setitem(zoo._CONSTRUCTORS, "ResNet20", functools.partial(zoo.ResNet20, depths=(1,), filters=(8,)))


def without_export(patch):
    """Leaves the SavedModel and the report out of runs, which saves half of their time. For tests that use neither."""
    patch.setattr(results, "saved_model", lambda *_, **__: None)
    patch.setattr(run, "write_run_report", lambda *_: None)


@contextlib.contextmanager
def small_and_eager():
    """Both in the block, which runs without tracing: to trace a step takes longer than the few steps themselves."""
    tf.config.run_functions_eagerly(True)
    with pytest.MonkeyPatch.context() as patch:
        of_one_block(patch)
        without_export(patch)
        yield
    tf.config.run_functions_eagerly(False)
