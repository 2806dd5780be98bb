"""Recognition: the form of a network that the names in its file show, and a published example of the form."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from keras_resnet.weights.table import Checkpoint, checkpoints_of, table

NAMES_IN_KERAS = "/"  # stands between layer and variable; torch's names have none


def is_torch(names: Iterable[str]) -> bool:
    """Whether a file has torch's names, which say less about a network than those of Keras."""
    return not any(NAMES_IN_KERAS in name for name in names)


def form_of(names: Iterable[str]) -> str:
    """The variant that networks of keras.applications with these names have; "" if the names show none.

    Args:
        names: `layer/variable` of the tensors in a file with Keras' names, or of the variables of a model.
    """
    found = set(names)
    if "conv2_block1_2_conv/depthwise_kernel" in found:
        return "keras_next"
    if {"conv2_block1_preact_bn/gamma", "conv1_conv/bias", "conv2_block1_3_conv/bias"} <= found:
        return "keras_v2"
    if {"conv1_bn/gamma", "conv1_conv/bias", "conv2_block1_1_conv/bias"} <= found:
        return "keras_v1"
    return ""


def example_of(form: str, model: str = "") -> Checkpoint | None:
    """A published checkpoint of a form: of a zoo model, or of any if `model` is ""; None if there is none."""
    if not form:
        return None
    rows: Sequence[Checkpoint] = checkpoints_of(model) if model else table()
    return next((row for row in rows if row.form == form), None)
