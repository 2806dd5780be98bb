"""Signatures of a served model: pixels or image files in; classes, probabilities, embeddings or heat maps out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from keras_resnet.export.network import Features, Kernel, finite_or_nan, pooled

Answer = dict[str, tf.Tensor]
IMAGE_KEY = "image/encoded"  # the key of ImageNet's usual records, and of TensorFlow's own exports


def flagged(wrong: tf.Tensor) -> tf.Tensor:
    """Accepts invalid images: the others of the request, or of the server's batch of several requests, are answered."""
    return wrong


def refused(wrong: tf.Tensor) -> tf.Tensor:
    """Fails the request if an image is invalid. The error is that of the first such image."""
    errors = tf.boolean_mask(wrong, wrong != "")
    with tf.control_dependencies([tf.debugging.Assert(tf.size(errors) == 0, [errors], summarize=1)]):
        return tf.identity(wrong)


ON_INVALID = {"flag": flagged, "raise": refused}


def checked(given: tf.Tensor, spec: tf.TensorSpec) -> tf.Tensor:
    """`given`, if it has the shape of the signature and at least one row; otherwise the request fails.

    TensorFlow's sessions, and so the servers, check the type only. Without this check, pixels of another size, grey
    pixels in place of colour and a single image without the batch axis would get answers without meaning.
    """
    given = tf.ensure_shape(given, spec.shape)
    not_empty = tf.debugging.Assert(tf.shape(given)[0] > 0, [f"{spec.name} must be one at least. Received: none"])
    with tf.control_dependencies([not_empty]):
        return tf.identity(given)


def encoded(example: tf.Tensor) -> tf.Tensor:
    """The image file in a serialized `tf.Example`; "" if it has none."""
    return tf.io.parse_single_example(example, {IMAGE_KEY: tf.io.FixedLenFeature((), tf.string, "")})[IMAGE_KEY]


def or_blank(valid: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
    """`outputs` (N, ...), but 0 or "" in each row that is not `valid`, bool (N,)."""
    rows = tf.reshape(valid, [-1] + [1] * (len(outputs.shape) - 1))
    return tf.where(rows, outputs, tf.zeros_like(outputs))


class Served(tf.Module):
    """The functions of a SavedModel, one for each signature; `endpoints` has them by name.

    Args:
        features: function from pixels, float32 (N, H, W, C), to embeddings (N, F), or to the maps (N, h, w, F) whose
            averages are the embeddings.
        scores: function from embeddings to probabilities (N, classes).
        shape: (H, W, C) of the pixels; H and W may be None.
        class_names: one name for each class.
        top_k: how many classes an answer names, the most probable first; at most the number of classes.
        to_pixels: function of strings (N) and of a function from one string to the bytes of a file. It returns pixels,
            uint8 (N, H, W, C), and for each image an error text, "" if the image is valid.
        on_invalid: one of the functions in `ON_INVALID`.
        kernel: function that gives the weights of the classifier, if `features` gives maps: it adds the signature
            `explain`. None: there is no such signature.
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
        kernel: Kernel | None = None,
    ) -> None:
        super().__init__()
        pixels = tf.TensorSpec((None, *shape), tf.float32, "image")

        # Traced once and called by all signatures, so that the file has the constants once.
        self.features = tf.function(features, input_signature=[pixels], autograph=False)

        def embed(image: tf.Tensor) -> tf.Tensor:
            return finite_or_nan(image, pooled(self.features(image)))

        def most_probable(image: tf.Tensor) -> Answer:
            probabilities = scores(embed(image))
            best = tf.math.top_k(probabilities, top_k)
            classes = tf.gather(tf.constant(class_names), best.indices)
            return {"classes": classes, "scores": best.values, "probabilities": probabilities}

        def read(
            contents: tf.Tensor, file_of: Callable[[tf.Tensor], tf.Tensor], answer: Callable[[tf.Tensor], Answer]
        ) -> Answer:
            """The answer for files. An invalid one gets `valid=False`, and "" or 0 from `answer`."""
            images, wrong = to_pixels(contents, file_of)
            wrong = on_invalid(wrong)
            valid = wrong == ""
            outputs = {name: or_blank(valid, given) for name, given in answer(tf.cast(images, tf.float32)).items()}
            return {**outputs, "valid": valid, "error": wrong}

        def serving_default(image: tf.Tensor) -> Answer:
            return {"probabilities": scores(embed(image))}

        def serving_bytes(image_bytes: tf.Tensor) -> Answer:
            return read(image_bytes, tf.identity, most_probable)

        def classify(inputs: tf.Tensor) -> Answer:
            answer = read(inputs, encoded, most_probable)
            return {"classes": answer["classes"], "scores": answer["scores"]}

        def features_of(image: tf.Tensor) -> Answer:
            return {"features": embed(image)}

        def endpoint(function: Callable[[tf.Tensor], Answer], spec: tf.TensorSpec) -> Any:
            return tf.function(lambda given: function(checked(given, spec)), input_signature=[spec], autograph=False)

        files = tf.TensorSpec((None,), tf.string, "image_bytes")
        self.endpoints = {
            "serving_default": endpoint(serving_default, pixels),
            "serving_bytes": endpoint(serving_bytes, files),
            "classify": endpoint(classify, tf.TensorSpec((None,), tf.string, "inputs")),
            "features": endpoint(features_of, pixels),
        }
        if kernel is None:
            return

        def explained(image: tf.Tensor) -> Answer:
            """The most probable class, and what each place of the map adds to the output of that class."""
            maps = self.features(image)
            best = tf.math.top_k(scores(pooled(maps)))
            index = best.indices[:, 0]
            weights = tf.transpose(tf.gather(kernel(), index, axis=1))  # of the class of each image, (N, F)
            return {
                "class": tf.gather(tf.constant(class_names), index),
                "index": index,
                "score": best.values[:, 0],
                "heat_map": tf.reduce_sum(maps * weights[:, None, None], -1),
            }

        def explain(image_bytes: tf.Tensor) -> Answer:
            return read(image_bytes, tf.identity, explained)

        self.endpoints["explain"] = endpoint(explain, files)
