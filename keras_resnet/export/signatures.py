"""What a server can be asked: pixels, files of images, or `tf.Example`s; for classes, probabilities or an embedding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from keras_resnet.export.network import Features

Answer = dict[str, tf.Tensor]
IMAGE_KEY = "image/encoded"  # of ImageNet's usual records, and TensorFlow's own exports


def flagged(wrong: tf.Tensor) -> tf.Tensor:
    """Lets the others of a request, or of a batch that a server made of several, have their answers."""
    return wrong


def refused(wrong: tf.Tensor) -> tf.Tensor:
    """Fails the request, with what is wrong with the first such image."""
    found = tf.boolean_mask(wrong, wrong != "")
    with tf.control_dependencies([tf.debugging.Assert(tf.size(found) == 0, [found], summarize=1)]):
        return tf.identity(wrong)


ON_INVALID = {"flag": flagged, "raise": refused}


def checked(given: tf.Tensor, spec: tf.TensorSpec) -> tf.Tensor:
    """`given`, of the shape that the signature says, with one row at least; else the request fails.

    TensorFlow's sessions, and servers with them, compare the type alone: pixels of another size, grey ones in place of
    colours and a single image without its batch would all get an answer, which means nothing.
    """
    given = tf.ensure_shape(given, spec.shape)
    some = tf.debugging.Assert(tf.shape(given)[0] > 0, [f"{spec.name} must be one at least. Received: none"])
    with tf.control_dependencies([some]):
        return tf.identity(given)


def encoded(example: tf.Tensor) -> tf.Tensor:
    """The file in a serialized `tf.Example`, "" where there is none."""
    return tf.io.parse_single_example(example, {IMAGE_KEY: tf.io.FixedLenFeature((), tf.string, "")})[IMAGE_KEY]


class Served(tf.Module):
    """The functions of a SavedModel, one for each signature.

    Args:
        features: pixels, float32 (N, H, W, C), to embeddings (N, F).
        scores: embeddings to probabilities (N, classes).
        shape: (H, W, C) of the pixels; sides may be None.
        class_names: one a class.
        top_k: classes that are named, the likeliest first; at most all.
        to_pixels: strings (N), and a function from one of them to the bytes of a file, to uint8 (N, H, W, C) and what
            is wrong with each, "" if nothing.
        on_invalid: one of `ON_INVALID`.
    """

    def __init__(
        self,
        features: Features,
        scores: Callable[[tf.Tensor], tf.Tensor],
        shape: Sequence[int | None],
        class_names: Sequence[str],
        top_k: int,
        to_pixels: Callable[[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]], tuple[tf.Tensor, tf.Tensor]],
        on_invalid: Callable[[tf.Tensor], tf.Tensor],
    ) -> None:
        super().__init__()
        pixels = tf.TensorSpec((None, *shape), tf.float32, "image")
        # Traced once, and called by all signatures: the constants are in the file once.
        self.embed = tf.function(features, input_signature=[pixels], autograph=False)

        def named(probabilities: tf.Tensor) -> Answer:
            best = tf.math.top_k(probabilities, top_k)
            return {"classes": tf.gather(tf.constant(class_names), best.indices), "scores": best.values}

        def read(contents: tf.Tensor, file_of: Callable[[tf.Tensor], tf.Tensor]) -> Answer:
            """Where there is no image, `valid` is False, classes are "", scores and probabilities zero."""
            images, wrong = to_pixels(contents, file_of)
            wrong = on_invalid(wrong)
            valid = wrong == ""
            probabilities = tf.where(valid[:, None], scores(self.embed(tf.cast(images, tf.float32))), 0.0)
            answer = named(probabilities)
            classes = tf.where(valid[:, None], answer["classes"], "")
            return {**answer, "classes": classes, "probabilities": probabilities, "valid": valid, "error": wrong}

        def serving_default(image: tf.Tensor) -> Answer:
            return {"probabilities": scores(self.embed(image))}

        def serving_bytes(image_bytes: tf.Tensor) -> Answer:
            return read(image_bytes, tf.identity)

        def classify(inputs: tf.Tensor) -> Answer:
            answer = read(inputs, encoded)
            return {"classes": answer["classes"], "scores": answer["scores"]}

        def features_of(image: tf.Tensor) -> Answer:
            return {"features": self.embed(image)}

        def endpoint(function: Callable[[tf.Tensor], Answer], spec: tf.TensorSpec) -> Any:
            return tf.function(lambda given: function(checked(given, spec)), input_signature=[spec], autograph=False)

        self.endpoints = {
            "serving_default": endpoint(serving_default, pixels),
            "serving_bytes": endpoint(serving_bytes, tf.TensorSpec((None,), tf.string, "image_bytes")),
            "classify": endpoint(classify, tf.TensorSpec((None,), tf.string, "inputs")),
            "features": endpoint(features_of, pixels),
        }
