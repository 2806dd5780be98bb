"""Makes trainings small, for tests of what a training does and not of how well it learns."""

import functools

from keras_resnet import zoo
from keras_resnet.training import run


def of_one_block(patch):
    """Gives the name ResNet20 to a net of one block: each step of a training is there, in a fifth of the time.

    Args:
        patch: a `pytest.MonkeyPatch`.
    """
    patch.setitem(zoo._CONSTRUCTORS, "ResNet20", functools.partial(zoo.ResNet20, depths=(1,), filters=(8,)))


def without_export(patch):
    """Leaves the SavedModel out of runs, a third of their time: for tests that do not look at it."""
    patch.setattr(run, "saved_model", lambda *_, **__: None)
