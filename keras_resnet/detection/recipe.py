"""A recipe for detectors: everything that a training needs besides detector and images."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import Any

from keras_resnet._internal.validation import boolean, number_pair, one_of, text
from keras_resnet.training.recipe import BaseRecipe, check_sizes, natural, of_fields, recipe_field, within

PRECISIONS = ("float32", "bfloat16")


def _other_default(name: str, default: Any) -> Any:
    """A field of `BaseRecipe` with another default."""
    field = next(field for field in dataclasses.fields(BaseRecipe) if field.name == name)
    return dataclasses.field(default=default, metadata=field.metadata)


@dataclasses.dataclass(frozen=True)
class DetectionRecipe(BaseRecipe):
    """How to train a detector. The defaults are those of torchvision's references for COCO.

    Weight decay is applied to kernels, and not to batch norm and biases. All randomness comes from `seed`.

    Raises:
        ValueError: a value is outside its range.
        TypeError: a value has the wrong type.

    Example:
        >>> import dataclasses
        >>> from keras_resnet.detection import RECIPES
        >>> short = dataclasses.replace(RECIPES["torchvision_fpn"], epochs=5)
        >>> short.epochs, short.learning_rate
        (5, 0.02)
    """

    epochs: int = _other_default("epochs", 26)
    batch_size: int = _other_default("batch_size", 16)
    learning_rate: float = _other_default("learning_rate", 0.02)
    schedule: str = _other_default("schedule", "steps")
    milestones: tuple[float, ...] = _other_default("milestones", (16 / 26, 22 / 26))
    nesterov: bool = _other_default("nesterov", False)
    weight_decay: float = _other_default("weight_decay", 1e-4)
    precision: str = recipe_field(
        "float32",
        functools.partial(one_of, allowed=PRECISIONS),
        "Type in which the network computes: float32 or bfloat16. Boxes and losses are float32 in both.",
    )
    warmup_steps: int = recipe_field(1000, natural, "Steps in which the learning rate rises from zero.")

    frozen_until: str = recipe_field(
        "conv3",
        text,
        "The first stage of the backbone that is trained: conv1 to conv5. conv3 for pretrained weights; conv1 trains "
        "all of it.",
    )
    frozen_norms: bool = recipe_field(
        True, boolean, "Do not train the batch norms of the backbone; for pretrained weights and small batches."
    )

    flip: bool = recipe_field(True, boolean, "Mirror half of the images left to right.")
    vertical_flip: bool = recipe_field(
        False, boolean, "Mirror half of the images upside down; for images without an upper side, as of a microscope."
    )
    iou_crop: bool = recipe_field(
        False, boolean, "Take a random part of each image that keeps objects, or the whole image, as SSD does."
    )
    shorter_sides: tuple[int, ...] = recipe_field(
        (),
        check_sizes,
        "Lengths of the shorter side of the training images in pixels, of which one is drawn for each image. None: "
        "the one of the design.",
    )
    scale_jitter: tuple[float, ...] = recipe_field(
        (1.0, 1.0),
        functools.partial(number_pair, most=math.inf),
        "Smallest and largest random factor of the size of an image, for example 0.1 and 2. Of an image that is "
        "larger than jitter_size then, a part is taken.",
    )
    jitter_size: int = recipe_field(
        0,
        natural,
        "With scale_jitter: side of the square into which an image with the factor 1 fits, in pixels. 0: the longer "
        "side of the design.",
    )
    color_jitter: float = recipe_field(
        0.0, within("[0, 1)"), "How much brightness, contrast and saturation change at random, in [0, 1)."
    )

    early_stopping: int = recipe_field(
        0,
        natural,
        "End the training when the mAP of the validation has not risen for so many epochs. The learning rate follows "
        "the schedule of all epochs nevertheless. 0: train all epochs.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.shorter_sides and self.scale_jitter != (1.0, 1.0):
            raise ValueError(
                "shorter_sides must be empty with scale_jitter, which chooses the size of an image too. "
                f"Received: shorter_sides={self.shorter_sides}, scale_jitter={self.scale_jitter}"
            )


def detection_recipe_of(fields: Mapping[str, Any]) -> DetectionRecipe:
    """A recipe from the fields in a JSON file; missing fields have their defaults.

    Raises:
        ValueError: there is no such field, or a value is outside its range.
        TypeError: a value has the wrong type.
    """
    if not isinstance(fields, Mapping):
        raise TypeError(f"a recipe must be an object with fields. Received: {fields!r:.100}")
    return of_fields(DetectionRecipe, fields)
