"""What all explanations take: a classifier, images for it, and classes; and the outputs of the classifier."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_resnet._internal.keras_graph import functional_graph
from keras_resnet._internal.validation import integer


def check_classifier(model: keras.Model) -> None:
    """Raises an error unless a model takes images alone, (N, H, W, C), and gives one output, (N, classes).

    Raises:
        ValueError: the model has other inputs or outputs.
        TypeError: the model has no graph, as a subclass of `keras.Model`.
    """
    if keras.config.image_data_format() != "channels_last":
        raise ValueError(
            "keras.config.image_data_format() must be 'channels_last' to explain a model. "
            f"Received: {keras.config.image_data_format()!r}"
        )
    graph = functional_graph(model)
    ranks = [[len(tensor.shape) for tensor in tensors] for tensors in (graph.inputs, graph.outputs)]
    if ranks != [[4], [2]]:
        inputs, outputs = (", ".join(str(each.shape) for each in part[:4]) for part in (graph.inputs, graph.outputs))
        raise ValueError(
            "model must have one input, images (N, H, W, C), and one output, (N, classes). Received: a model with "
            f"{len(graph.inputs)} inputs {inputs} and {len(graph.outputs)} outputs {outputs}"
        )


def checked_images(model: keras.Model, images: Any) -> np.ndarray:
    """Images as an array (N, H, W, C) with at least one image, which `model`, a classifier, takes."""
    check_classifier(model)
    pixels = keras.ops.convert_to_numpy(images)
    if pixels.ndim != 4 or not len(pixels):
        raise ValueError(f"images must have the shape (N, H, W, C). Received: images with the shape {pixels.shape}")
    shape = functional_graph(model).inputs[0].shape
    if any(side not in (None, found) for side, found in zip(shape[1:], pixels.shape[1:], strict=True)):
        raise ValueError(
            f"images must have the shape {shape}, which the model takes. Received: images with the shape {pixels.shape}"
        )
    return pixels


def checked_classes(model: keras.Model, classes: int | Sequence[int] | None, images: int) -> np.ndarray | None:
    """One class of the model for each image; None if the class with the highest output is meant."""
    if classes is None:
        return None
    each = [classes] * images if np.ndim(classes) == 0 else list(classes)  # type: ignore[arg-type]
    if len(each) != images:
        raise ValueError(f"classes must have one entry for each of the {images} images. Received: {len(each)} entries")
    indices = np.array([integer("classes", index, minimum=0) for index in each])
    shape = functional_graph(model).outputs[0].shape
    if indices.max() >= shape[-1]:
        raise ValueError(
            f"classes must be indices of the model's output, which has the shape {shape}. "
            f"Received: classes={indices.max()}"
        )
    return indices


def as_input(model: keras.Model, images: Any) -> Any:
    """Images in the structure that a model takes, for example `{"image": images}` if its input has a name."""
    return keras.tree.pack_sequence_as(functional_graph(model).input, [images])


def outputs_for(model: keras.Model, images: np.ndarray) -> np.ndarray:
    """The outputs of a classifier for one batch of images, float32 (N, classes)."""
    return keras.tree.flatten(model.predict_on_batch(as_input(model, images)))[0].astype("float32")
