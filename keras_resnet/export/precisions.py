"""Precisions: the type in which a network is computed between pixels and features, and how one is chosen."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from keras_resnet.export.int8 import quantised
from keras_resnet.export.int8_kernels import available
from keras_resnet.export.network import (
    Features,
    Part,
    classifier,
    classifier_scores,
    feature_extractor,
    float_features,
    pooled,
)
from keras_resnet.runtime.quickest import HOPELESS, REFERENCE, not_tried, quickest, rate, seconds_of, slowdown

BATCH = 16  # calibration images in one batch
TIMED = 8  # images in the batches that are timed
SIDE = 224  # of these images, if the network takes images of any size
SECONDS, BRIEFLY = 1.0, 0.3  # for which a precision is timed: to choose one, and to warn of one
TURNS = 4  # in which these seconds are spent
CLEARLY = 1.2  # two brief measurements may differ by less
NO_KERNEL = "this TensorFlow has no exact int8 convolution on this CPU (x86 with VNNI has)"
LOGGER = logging.getLogger("keras_resnet.export")


class ServedFeatures(NamedTuple):
    """The function from pixels to features that is served, and the text about its precision in the model card."""

    features: Features
    precision: str


def in_float32(
    model: keras.Model, calibration: np.ndarray | None, agreement: float, part: Part = feature_extractor
) -> ServedFeatures:
    """The network in float32, as it was trained."""
    return ServedFeatures(float_features(model, "float32", part), "float32")


def in_bfloat16(
    model: keras.Model, calibration: np.ndarray | None, agreement: float, part: Part = feature_extractor
) -> ServedFeatures:
    """The network in bfloat16: the range of float32 in half the bytes. If it is slower here, the log says so.

    CPUs with AMX compute its convolutions six times as fast as those of float32, CPUs with AVX512_BF16 0.6 to 2 times.
    """
    features = float_features(model, "bfloat16", part)
    _warn_if_slower("bfloat16", features, model, part)
    return ServedFeatures(features, "bfloat16")


def in_int8(
    model: keras.Model, calibration: np.ndarray | None, agreement: float, part: Part = feature_extractor
) -> ServedFeatures:
    """The network in int8, if it classifies enough of the calibration images as float32 does; otherwise bfloat16.

    Args:
        model: a network with folded batch norms, of float32 layers, that ends in a classifier.
        calibration: raw pixels (N, H, W, C).
        agreement: smallest fraction of the calibration images, in (0, 1], that int8 and float32 must classify alike.
        part: function that gives the layers before the features: `feature_extractor` or `map_extractor`.

    Returns:
        The function that is served, and the text about its precision. The text and the log give the reason if int8
        became bfloat16. If the result is slower than float32 here, the log says so.

    Raises:
        ValueError: `calibration` is None.
    """
    if calibration is None:
        raise ValueError("calibration must be images if precision is 'int8'. Received: calibration=None")
    reason = NO_KERNEL
    if available():
        features = quantised(model, calibration, part)
        fraction, result = _kept(model, features, calibration)
        if fraction >= agreement:
            _warn_if_slower("int8", features, model, part)
            return ServedFeatures(features, f"int8; {result}")
        reason = f"only {result}, which is less than agreement={agreement}"
    LOGGER.warning("int8 became bfloat16: %s", reason)
    precision = in_bfloat16(model, calibration, agreement, part)
    return precision._replace(precision=f"bfloat16, in place of int8: {reason}")


def in_auto(
    model: keras.Model, calibration: np.ndarray | None, agreement: float, part: Part = feature_extractor
) -> ServedFeatures:
    """The network in the precision that is the quickest on this machine, of those that keep the answers.

    Each is timed for a second. bfloat16 and int8 keep the answers if they classify enough of the calibration images as
    float32 does; without such images int8 is not tried, and bfloat16 is not compared.

    Args:
        model, calibration, agreement, part: as for `in_int8`; `calibration` may be None.

    Returns:
        The function that is served, and the text about its precision, with the speeds of all that were tried.
    """
    tried, left_out = _candidates(model, calibration, part)
    rates = _images_per_second(tried, model, SECONDS)
    reached, compared = dict(rates), ""
    while (best := quickest(rates)) != REFERENCE and calibration is not None:
        fraction, compared = _kept(model, tried[best], calibration)
        if fraction >= agreement:
            break
        left_out[best] = f"reaches {rate(rates.pop(best))} and is not taken, because only {compared}"
        compared = ""
    others = {name: f"reaches {rate(value)}" for name, value in reached.items() if name != best} | left_out
    kept = "" if rates == reached else " that keeps the answers"
    words = [
        f"{best}, the quickest on the machine of the export{kept}: {rate(reached[best])} in batches of {TIMED}",
        *(f"{name} {text}" for name, text in others.items()),
        *([compared] if compared else []),
    ]
    LOGGER.info("precision %s", "; ".join(words))
    return ServedFeatures(tried[best], "; ".join(words))


def _candidates(
    model: keras.Model, calibration: np.ndarray | None, part: Part
) -> tuple[dict[str, Features], dict[str, str]]:
    """The network in each precision that is worth a measurement, float32 first; and why the others are not."""
    tried, left_out = {REFERENCE: float_features(model, REFERENCE, part)}, {}
    if (factor := slowdown("bfloat16")) > HOPELESS:
        left_out["bfloat16"] = not_tried(factor)
    else:
        tried["bfloat16"] = float_features(model, "bfloat16", part)
    if calibration is None:
        left_out["int8"] = "not tried, because there are no calibration images"
    elif not available():
        left_out["int8"] = f"not tried, because {NO_KERNEL}"
    else:
        try:
            tried["int8"] = quantised(model, calibration, part)
        except ValueError as error:  # layers without an 8-bit form, such as batch norms with fold=False
            left_out["int8"] = f"not tried: {error}"
    return tried, left_out


def _kept(model: keras.Model, features: Features, calibration: np.ndarray) -> tuple[float, str]:
    """The fraction of the calibration images that are classified as in float32, and this in words."""
    expected = choices(model, float_features(model, REFERENCE), calibration)
    fraction = float(np.mean(np.all(choices(model, features, calibration) == expected, axis=-1)))
    return fraction, f"{fraction:.1%} of {len(calibration)} calibration images are classified as in float32"


def _warn_if_slower(name: str, features: Features, model: keras.Model, part: Part) -> None:
    """Warns in the log if features that the user asked for are slower than those of float32 on this machine."""
    if name == "bfloat16" and (factor := slowdown(name)) > HOPELESS:
        reason = f"a convolution takes {factor:.0f} times as long"
    else:
        both = {name: features, REFERENCE: float_features(model, REFERENCE, part)}
        rates = _images_per_second(both, model, BRIEFLY)
        if rates[REFERENCE] <= CLEARLY * rates[name]:
            return
        reason = f"{rate(rates[name])} instead of {rate(rates[REFERENCE])}, in batches of {TIMED}"
    LOGGER.warning(
        "precision=%s is slower than float32 on this machine: %s. The machine that serves may differ; precision=auto "
        "(on the command line --precision auto), typed on a machine like it, takes the quickest",
        *(name, reason),
    )


def _images_per_second(tried: Mapping[str, Features], model: keras.Model, seconds: float) -> dict[str, float]:
    """The speed of functions from pixels to features, in batches of `TIMED` images of noise, for `seconds` each.

    They take turns, and the best turn counts, because other programs may slow the machine down meanwhile.
    """
    shape = (TIMED, *(side or SIDE for side in model.input_shape[1:3]), model.input_shape[-1])
    pixels = tf.constant(np.random.default_rng(0).uniform(0, 255, shape).astype("float32"))
    functions = {name: tf.function(features, autograph=False) for name, features in tried.items()}
    for function in functions.values():
        function(pixels).numpy()  # traces

    def turn(function: Features) -> float:
        return TIMED / seconds_of(lambda: function(pixels).numpy(), seconds / TURNS)

    turns = [{name: turn(function) for name, function in functions.items()} for _ in range(TURNS)]
    return {name: max(rates[name] for rates in turns) for name in tried}


PRECISIONS: dict[str, Callable[[keras.Model, np.ndarray | None, float, Part], ServedFeatures]] = {
    "float32": in_float32,
    "bfloat16": in_bfloat16,
    "int8": in_int8,
    "auto": in_auto,
}


def choices(model: keras.Model, features: Features, images: np.ndarray) -> np.ndarray:
    """What the classifier of a network decides for each image.

    Args:
        model: a network that ends in a classifier.
        features: function from pixels to features, which is used in place of the network's own layers.
        images: raw pixels (N, H, W, C).

    Returns:
        After a softmax the class with the highest probability, int64 (N, 1). After a sigmoid whether the probability
        of each class is above 0.5, bool (N, classes).
    """
    scores = classifier_scores(model)
    decide = DECISIONS[classifier(model).activation]
    choose = tf.function(lambda pixels: decide(scores(pooled(features(pixels)))), autograph=False)
    batches = [images[start : start + BATCH].astype("float32") for start in range(0, len(images), BATCH)]
    return np.concatenate([choose(tf.constant(batch)).numpy() for batch in batches])


DECISIONS: dict[Callable[[tf.Tensor], tf.Tensor], Callable[[tf.Tensor], tf.Tensor]] = {
    tf.nn.softmax: lambda probabilities: tf.argmax(probabilities, axis=-1)[:, None],
    tf.nn.sigmoid: lambda probabilities: probabilities > 0.5,
}
