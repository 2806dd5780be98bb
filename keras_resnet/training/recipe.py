"""A recipe: everything that a training needs besides model and images, with the range of each field."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from keras_resnet._internal.validation import boolean, integer, number, one_of

AUTO = "auto"  # the precision that is replaced by the quickest one before a training begins
CHOICES = {
    "optimizer": ("sgd", "adam", "adamw", "lamb"),
    "schedule": ("cosine", "steps"),
    "precision": ("float32", "bfloat16", "float16", AUTO),
    "loss": ("categorical_crossentropy", "binary_crossentropy", "focal"),
    "class_weights": ("none", "balanced", "effective_number"),
    "crop": ("center", "random_resized", "scale_jitter"),
    "auto_augment": ("", "rand_augment", "trivial_augment_wide", "aug_mix"),
}

# Names in files that earlier versions wrote.
RENAMED_FIELDS = {
    "accumulate": "gradient_accumulation_steps",
    "colour_jitter": "color_jitter",
    "ema": "ema_decay",
    "erase": "random_erase",
    "held_out": "validation_split",
    "policy": "auto_augment",
    "shift": "pad_and_crop",
    "sizes": "train_sizes",
    "test_size": "eval_size",
}
RENAMED_CHOICES = {"cross_entropy": "categorical_crossentropy", "binary": "binary_crossentropy", "centre": "center"}


def check_choice(name: str, value: Any) -> None:
    """Raises a `ValueError` unless a field has one of its `CHOICES`."""
    one_of(name, value, CHOICES[name])


def _check_milestones(name: str, values: Any) -> None:
    if not all(0 < earlier < later < 1 for earlier, later in zip((1e-9, *values), values)):
        raise ValueError(f"{name} must be in (0, 1) and increase. Received: {name}={values}")


def check_sizes(name: str, values: Any) -> None:
    """Raises an error unless a field is a sequence, maybe an empty one, of integers of at least 1."""
    if isinstance(values, str) or not isinstance(values, Sequence):
        raise TypeError(f"{name} must be a sequence of integers, () for none. Received: {name}={values!r}")
    for size in values:
        integer(name, size)


natural = functools.partial(integer, minimum=0)


def within(interval: str) -> Callable[[str, Any], Any]:
    """A check that a number is in an interval, see `_internal.validation.number`."""
    return functools.partial(number, interval=interval)


def recipe_field(default: Any, check: Callable[[str, Any], Any], help: str) -> Any:
    """A field with the check of its values, which raises an error, and its text in `--help`."""
    return dataclasses.field(default=default, metadata={"check": check, "help": help})


@dataclasses.dataclass(frozen=True)
class BaseRecipe:
    """The fields that recipes of classifiers and of detectors share: length, optimizer, learning rate and precision.

    Weight decay is applied to kernels, and not to batch norm and biases (Goyal et al. 2017, arXiv:1706.02677; He et
    al. 2018, arXiv:1812.01187). All randomness comes from `seed`: initial weights, data order, augmentation, dropout.

    Raises:
        ValueError: a value is outside its range.
        TypeError: a value has the wrong type.
    """

    epochs: int = recipe_field(15, integer, "Passes over the training images.")
    iterations: int = recipe_field(
        0, natural, "Steps to train for, rounded to whole epochs; replaces epochs. 0: epochs are used."
    )
    batch_size: int = recipe_field(32, integer, "Images per step, on all devices together.")
    seed: int = recipe_field(0, natural, "Random seed for initial weights, data order, augmentation and dropout.")

    optimizer: str = recipe_field(
        "sgd",
        check_choice,
        "sgd, adam, adamw or lamb. In sgd and adam, weight decay is an L2 penalty in the gradient, as in torch.",
    )
    learning_rate: float = recipe_field(0.2, within("(0, inf)"), "Highest learning rate of the schedule.")
    schedule: str = recipe_field(
        "cosine", check_choice, "cosine: falls to zero; steps: falls to a tenth after each milestone."
    )
    milestones: tuple[float, ...] = recipe_field(
        (), _check_milestones, "For the schedule steps: fractions of the training, for example 0.5 and 0.75."
    )
    momentum: float = recipe_field(0.9, within("[0, 1)"), "Momentum of sgd, in [0, 1).")
    nesterov: bool = recipe_field(True, boolean, "Use Nesterov momentum in sgd.")
    weight_decay: float = recipe_field(5e-4, within("[0, inf)"), "Weight decay of kernels.")
    clip_norm: float = recipe_field(
        0.0, within("[0, inf)"), "Largest norm of the gradient of all variables together. 0: no limit."
    )
    gradient_accumulation_steps: int = recipe_field(1, integer, "Steps whose gradients are averaged for one update.")
    ema_decay: float = recipe_field(
        0.0,
        within("[0, 1)"),
        "Decay of an exponential moving average of the weights, which is the result. 0: no average.",
    )
    precision: str = recipe_field(
        "float32",
        check_choice,
        "Type in which the network computes: float32, bfloat16, float16. auto: the one of these that trains the "
        "quickest on this machine, with the loss of float32; it is measured before the training, and the run stores "
        "it.",
    )

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            field.metadata["check"](field.name, getattr(self, field.name))

    def epochs_of(self, steps: int) -> int:
        """Number of epochs, if an epoch has so many steps."""
        return max(1, round(self.iterations / steps)) if self.iterations else self.epochs


AnyRecipe = TypeVar("AnyRecipe", bound=BaseRecipe)


@dataclasses.dataclass(frozen=True)
class Recipe(BaseRecipe):
    """How to train. Every field is also an option of `keras-resnet train`, and its `--help` explains each.

    Weight decay is applied to kernels, and not to batch norm and biases (Goyal et al. 2017, arXiv:1706.02677; He et
    al. 2018, arXiv:1812.01187). All randomness comes from `seed`: initial weights, data order, augmentation, dropout.

    Raises:
        ValueError: a value is outside its range.
        TypeError: a value has the wrong type.

    Example:
        >>> import dataclasses
        >>> from keras_resnet.training import RECIPES
        >>> short = dataclasses.replace(RECIPES["one_cycle"], epochs=5)
        >>> short.epochs, short.optimizer
        (5, 'sgd')
    """

    layer_decay: float = recipe_field(
        1.0,
        within("(0, 1]"),
        "Factor by which the learning rate falls from each block to the one before it, in (0, 1]; the head has the "
        "whole rate. 1: all layers have the same rate.",
    )
    warmup: float = recipe_field(
        0.25, within("[0, 1)"), "Fraction of the steps in which the learning rate rises from zero, in [0, 1)."
    )
    sam: float = recipe_field(
        0.0,
        within("[0, inf)"),
        "Sharpness-aware minimization: the distance rho at which each step computes a second gradient, for example "
        "0.05. A step takes twice the time. 0: off.",
    )

    loss: str = recipe_field(
        "categorical_crossentropy",
        check_choice,
        "categorical_crossentropy: softmax; binary_crossentropy: a sigmoid for each class; focal: softmax, images that "
        "are right already count less.",
    )
    class_weights: str = recipe_field(
        "none",
        check_choice,
        "For uneven classes, weights of their images in the loss. balanced: each class counts the same; "
        "effective_number: between none and balanced.",
    )
    balanced_sampling: bool = recipe_field(
        False, boolean, "For uneven classes: repeat images of rare ones, until each has as many as the largest one."
    )
    label_smoothing: float = recipe_field(
        0.1, within("[0, 1)"), "Fraction of the target that is spread evenly over all classes, in [0, 1)."
    )
    target_threshold: float = recipe_field(
        0.0, within("[0, 1)"), "For binary_crossentropy: targets above it become 1, others 0. 0: targets do not change."
    )

    distillation_weight: float = recipe_field(
        0.9, within("(0, 1]"), "With a teacher: its weight in the loss, in (0, 1]; the labels have the rest."
    )
    distillation_temperature: float = recipe_field(
        4.0, within("(0, inf)"), "With a teacher: both networks' logits are divided by it. Higher: softer targets."
    )

    repeated_augmentation: int = recipe_field(
        1,
        integer,
        "How many times each image is in its batch, each time augmented in another way. With 3, an epoch has a third "
        "of the images, and as many steps as with 1.",
    )
    crop: str = recipe_field(
        "center",
        check_choice,
        "center: the center square; random_resized: any part of the image; scale_jitter: a square of random scale.",
    )
    crop_scale: float = recipe_field(
        0.08, within("(0, 1]"), "For random_resized: smallest fraction of the image's area, in (0, 1]."
    )
    flip: bool = recipe_field(False, boolean, "Mirror half of the images left to right; wrong for digits and letters.")
    pad_and_crop: float = recipe_field(
        1 / 8, within("[0, 1)"), "Pad each side by this fraction and crop at random, which shifts images, in [0, 1)."
    )
    rotate: float = recipe_field(0.0, within("[0, inf)"), "Largest random rotation in degrees.")
    color_jitter: float = recipe_field(
        0.0, within("[0, 1)"), "How much brightness, contrast and saturation change at random, in [0, 1)."
    )
    auto_augment: str = recipe_field(
        "",
        check_choice,
        "Augmentation policy: rand_augment, trivial_augment_wide, or aug_mix (severity 3, without its "
        "Jensen-Shannon loss).",
    )
    magnitude: float = recipe_field(7.0, within("[0, 10]"), "Magnitude of rand_augment, 0 to 10.")
    random_erase: float = recipe_field(
        0.0, within("[0, 1)"), "Probability that a part of an image is erased, in [0, 1)."
    )
    mixup: float = recipe_field(
        0.0, within("[0, inf)"), "Alpha of MixUp. 0: off. With cutmix, each batch gets one of the two."
    )
    cutmix: float = recipe_field(0.0, within("[0, inf)"), "Alpha of CutMix. 0: off.")

    stochastic_depth: float = recipe_field(
        0.0, within("[0, 1)"), "Probability that the last block is dropped, in [0, 1)."
    )
    drop_rate: float = recipe_field(0.0, within("[0, 1)"), "Dropout before the classifier, in [0, 1).")
    remat: bool = recipe_field(
        False, boolean, "Compute blocks again in the backward pass: less memory, a third more time."
    )

    train_sizes: tuple[int, ...] = recipe_field(
        (),
        check_sizes,
        "Sizes of the training images in pixels, used one after the other for equal parts of training.",
    )
    eval_size: int = recipe_field(
        0, natural, "Size of the images in evaluation and export, in pixels. 0: as in training."
    )
    crop_pct: float = recipe_field(
        1.0, within("(0, 1]"), "In evaluation: fraction of the resized image's shorter side that is used, in (0, 1]."
    )
    validation_split: float = recipe_field(
        0.1,
        within("[0, 1)"),
        "Fraction of the training images that is held out to choose the best epoch, if the data has no validation "
        "images, in [0, 1). 0: none is held out, and the last epoch is the result.",
    )

    unfreeze_epochs: int = recipe_field(
        0,
        natural,
        "Gradual unfreezing: train the head alone for so many epochs, then add one stage after each so many epochs, "
        "from the last stage to the first. 0: train all from the beginning.",
    )
    early_stopping: int = recipe_field(
        0,
        natural,
        "End the training when the validation accuracy has not risen for so many epochs. The learning rate follows the "
        "schedule of all epochs nevertheless. 0: train all epochs.",
    )


def recipe_of(fields: Mapping[str, Any]) -> Recipe:
    """A recipe from the fields in a JSON file; missing fields have their defaults.

    Fields and values that earlier versions wrote under other names are accepted.

    Raises:
        ValueError: there is no such field, or a value is outside its range.
        TypeError: a value has the wrong type.
    """
    return of_fields(Recipe, current_names(fields))


def of_fields(kind: type[AnyRecipe], fields: Mapping[str, Any]) -> AnyRecipe:
    """A recipe of a kind, from fields as JSON holds them; missing fields have their defaults.

    Raises:
        ValueError: there is no such field, or a value is outside its range.
        TypeError: a value has the wrong type.
    """
    if unknown := sorted(set(fields) - {field.name for field in dataclasses.fields(kind)}):
        public = f"{kind.__module__.rpartition('.')[0]}.{kind.__name__}"
        raise ValueError(f"a recipe must have the fields of {public}. Received: also {unknown}")
    return kind(**with_tuples(fields))


def with_tuples(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Fields with tuples in place of lists, in which JSON and the command line have several values."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}


def current_names(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of a recipe in a file of an earlier version, as this version writes them.

    Fields that the file does not have yet get their defaults: a new field changes nothing by default.

    Raises:
        ValueError: a field is there under its old and its new name.
        TypeError: `fields` is not a mapping.
    """
    if not isinstance(fields, Mapping):
        raise TypeError(f"a recipe must be an object with fields. Received: {fields!r:.100}")
    if twice := sorted(old for old, new in RENAMED_FIELDS.items() if old in fields and new in fields):
        raise ValueError(f"a recipe must have each field once. Received: {twice[0]} and {RENAMED_FIELDS[twice[0]]}")
    defaults = json.loads(json.dumps(dataclasses.asdict(Recipe())))
    defaults["validation_split"] = 0.0  # as it was when files without this field were written
    renamed = {**defaults, **{RENAMED_FIELDS.get(name, name): value for name, value in fields.items()}}
    for name in ("loss", "crop"):
        if isinstance(renamed[name], str):
            renamed[name] = RENAMED_CHOICES.get(renamed[name], renamed[name])
    return renamed
