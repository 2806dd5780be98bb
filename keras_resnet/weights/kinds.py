"""Kinds of networks: what the loader of weights must know of classifiers, and of detectors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from keras_resnet.weights.detector_names import detector_in_keras_terms
from keras_resnet.weights.matching import HEAD
from keras_resnet.weights.sets import FIRST_LAYERS
from keras_resnet.weights.tensors import Tensor
from keras_resnet.weights.torch_names import in_keras_terms


class Kind(NamedTuple):
    """A kind of networks.

    Attributes:
        first_layers: names in files that each network of the kind has once, see `sets.chosen`.
        head: variables whose shapes follow from the number of classes; the first one is the kernel of the classifier.
        background: outputs of the classifier that are no classes.
        in_keras_terms: function from the tensors of a file to those by `layer/variable`, in Keras' layouts.
    """

    first_layers: tuple[str, ...]
    head: tuple[str, ...]
    background: int
    in_keras_terms: Callable[[Mapping[str, Tensor]], dict[str, Tensor]]


CLASSIFIER = Kind(FIRST_LAYERS, HEAD, 0, in_keras_terms)
# In torchvision and in Keras. The names of its backbone, `backbone.body.layer1...`, are those of a network too.
DETECTOR = Kind(
    ("roi_heads.box_predictor.cls_score.weight", "box_logits/kernel"),
    ("box_logits/kernel", "box_logits/bias", "box_codes/kernel", "box_codes/bias"),
    1,
    detector_in_keras_terms,
)


def kind_of(variables: Iterable[str]) -> Kind:
    """The kind of a network whose variables, `layer/variable`, have these names."""
    return DETECTOR if DETECTOR.head[0] in set(variables) else CLASSIFIER
