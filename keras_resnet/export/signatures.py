"""What a server can be asked: pixels, files of images, or `tf.Example`s; for classes, probabilities or an embedding."""

from __future__ import annotations

from collections.abc import Callable, Sequence

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


class Served(tf.Module):
    """The functions of a SavedModel, one for each signature.

    Args:
        features: pixels, float32 (N, H, W, C), to embeddings (N, F).
        scores: embeddings to probabilities (N, classes).
        shape: (H, W, C) of the pixels; sides may be None.
        class_names: one a class.
        top_k: classes that are named, the likeliest first; at most all.
        to_pixels: the bytes of files, strings (N), to uint8 (N, H, W, C) and what is wrong with each, "" if nothing.
        on_invalid: one of `ON_INVALID`.
    """

    def __init__(
        self,
        features: Features,
        scores: Callable[[tf.Tensor], tf.Tensor],
        shape: Sequence[int | None],
        class_names: Sequence[str],
        top_k: int,
        to_pixels: Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]],
        on_invalid: Callable[[tf.Tensor], tf.Tensor],
    ) -> None:
        super().__init__()
        pixels = tf.TensorSpec((None, *shape), tf.float32, "image")
        # Traced once, and called by all signatures: the constants are in the file once.
        self.embed = tf.function(features, input_signature=[pixels], autograph=False)

        def named(probabilities: tf.Tensor) -> Answer:
            best = tf.math.top_k(probabilities, top_k)
            return {"classes": tf.gather(tf.constant(class_names), best.indices), "scores": best.values}

        def read(contents: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            """Probabilities, zeros where there is no image; whether there is one; and why not."""
            images, wrong = to_pixels(contents)
            wrong = on_invalid(wrong)
            valid = wrong == ""
            probabilities = scores(self.embed(tf.cast(images, tf.float32)))
            return tf.where(valid[:, None], probabilities, 0.0), valid, wrong

        def serving_default(image: tf.Tensor) -> Answer:
            return {"probabilities": scores(self.embed(image))}

        def serving_bytes(image_bytes: tf.Tensor) -> Answer:
            probabilities, valid, wrong = read(image_bytes)
            return {**named(probabilities), "probabilities": probabilities, "valid": valid, "error": wrong}

        def classify(inputs: tf.Tensor) -> Answer:
            example = tf.io.parse_example(inputs, {IMAGE_KEY: tf.io.FixedLenFeature((), tf.string, "")})
            probabilities, valid, _ = read(example[IMAGE_KEY])
            answer = named(probabilities)
            return {**answer, "classes": tf.where(valid[:, None], answer["classes"], "")}

        def features_of(image: tf.Tensor) -> Answer:
            return {"features": self.embed(image)}

        strings = [tf.TensorSpec((None,), tf.string)]
        self.endpoints = {
            name: tf.function(function, input_signature=[spec], autograph=False)
            for name, function, spec in (
                ("serving_default", serving_default, pixels),
                ("serving_bytes", serving_bytes, strings[0]),
                ("classify", classify, strings[0]),
                ("features", features_of, pixels),
            )
        }
