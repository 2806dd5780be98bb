"""Recipes: a table of what a training run needs to know beside the network and the images.

A row is the default plus a few lines. Another value of a field: `dataclasses.replace(RECIPES["one_cycle"], epochs=5)`.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

from keras_resnet.arguments import integer, one_of, rate

CHOICES = {
    "optimizer": ("sgd", "adamw", "lamb"),
    "schedule": ("cosine", "steps"),
    "precision": ("float32", "bfloat16", "float16"),
    "loss": ("cross_entropy", "binary"),
    "crop": ("centre", "random_resized", "scale_jitter"),
    "policy": ("", "rand_augment", "trivial_augment_wide"),
}


def _choice(name: str, value: Any) -> None:
    one_of(name, value, CHOICES[name])


def _flag(name: str, value: Any) -> None:
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False. Received: {name}={value!r}")


def _number(name: str, value: Any, within: Callable[[float], bool], interval: str) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be a number. Received: {name}={value!r}")
    if not within(value):
        raise ValueError(f"{name} must be in {interval}. Received: {name}={value!r}")


def _milestones(name: str, values: Any) -> None:
    if not all(0 < earlier < later < 1 for earlier, later in zip((1e-9, *values), values)):
        raise ValueError(f"{name} must be in (0, 1) and climb. Received: {name}={values}")


def _sizes(name: str, values: Any) -> None:
    for size in values:
        integer(name, size)


_natural = functools.partial(integer, minimum=0)
_amount = functools.partial(_number, within=lambda value: 0 <= value < math.inf, interval="[0, inf)")
_positive = functools.partial(_number, within=lambda value: 0 < value < math.inf, interval="(0, inf)")
_share = functools.partial(_number, within=lambda value: 0 < value <= 1, interval="(0, 1]")
_magnitude = functools.partial(_number, within=lambda value: 0 <= value <= 10, interval="[0, 10]")


def _field(default: Any, check: Callable[[str, Any], Any], help: str) -> Any:
    """A field with its check, which raises for what is not allowed, and the words of the command line's `--help`."""
    return dataclasses.field(default=default, metadata={"check": check, "help": help})


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How to train: every field is an option of `keras-resnet train` too, and `--help` says what each is.

    Weight decay is on kernels only, not on batch norm and biases (Goyal et al. 2017, arXiv:1706.02677; He et al. 2018,
    arXiv:1812.01187). Randomness, of weights, order, augmentation and dropping, comes from `seed` alone.

    Raises:
        ValueError: a value is out of its range.
        TypeError: a value is of the wrong type.

    Example:
        >>> import dataclasses
        >>> from keras_resnet.training import RECIPES
        >>> short = dataclasses.replace(RECIPES["one_cycle"], epochs=5)
        >>> short.epochs, short.optimizer
        (5, 'sgd')
    """

    epochs: int = _field(15, integer, "Passes over the training images.")
    iterations: int = _field(
        0, _natural, "Steps, in place of epochs: as many epochs as come nearest. 0: epochs counts."
    )
    batch_size: int = _field(32, integer, "Images a step, on all devices together.")
    seed: int = _field(0, _natural, "Of weights, order, augmentation and dropping.")

    optimizer: str = _field("sgd", _choice, "sgd, adamw or lamb.")
    learning_rate: float = _field(0.2, _positive, "Its peak.")
    schedule: str = _field("cosine", _choice, "cosine: to zero; steps: to a tenth after each milestone.")
    warmup: float = _field(0.25, rate, "Share of the steps on which the rate climbs from zero to its peak, in [0, 1).")
    milestones: tuple[float, ...] = _field(
        (), _milestones, "Of the schedule steps: shares of the training, such as 0.5 and 0.75."
    )
    momentum: float = _field(0.9, rate, "Of sgd, in [0, 1).")
    nesterov: bool = _field(True, _flag, "Whether the momentum of sgd is Nesterov's.")
    weight_decay: float = _field(5e-4, _amount, "On kernels only.")
    clip_norm: float = _field(0.0, _amount, "Longest gradient, all variables together. 0: any.")
    accumulate: int = _field(1, integer, "Steps whose gradients are averaged for one update.")
    ema: float = _field(0.0, rate, "Decay of a moving average of the weights, which is then the result. 0: none.")
    precision: str = _field("float32", _choice, "What the network computes in: float32, bfloat16 or float16.")

    loss: str = _field("cross_entropy", _choice, "cross_entropy, of a softmax; binary, of a sigmoid for each class.")
    label_smoothing: float = _field(0.1, rate, "Share of the target that goes to all classes alike, in [0, 1).")
    target_threshold: float = _field(0.0, rate, "Of the loss binary: targets above are 1, others 0. 0: as they are.")

    crop: str = _field(
        "centre", _choice, "centre: square; random_resized: any part; scale_jitter: a square of any scale."
    )
    crop_scale: float = _field(0.08, _share, "Of random_resized: smallest share of the image's area, in (0, 1].")
    flip: bool = _field(False, _flag, "Mirror half of the images; wrong for digits and letters.")
    shift: float = _field(1 / 8, rate, "How far images move at random, as a share of their side, in [0, 1).")
    rotate: float = _field(0.0, _amount, "How far images turn at random, in degrees.")
    colour_jitter: float = _field(0.0, rate, "How far brightness, contrast and saturation vary, in [0, 1).")
    policy: str = _field("", _choice, "A policy of augmentations: rand_augment or trivial_augment_wide.")
    magnitude: float = _field(7.0, _magnitude, "Of rand_augment, 0 to 10.")
    erase: float = _field(0.0, rate, "Probability that a part of an image is erased, in [0, 1).")
    mixup: float = _field(0.0, _amount, "Alpha of MixUp. 0: none. With cutmix, one of the two for each batch.")
    cutmix: float = _field(0.0, _amount, "Alpha of CutMix. 0: none.")

    stochastic_depth: float = _field(0.0, rate, "Probability that the last block is dropped, in [0, 1).")
    drop_rate: float = _field(0.0, rate, "Dropout before the classifier, in [0, 1).")
    remat: bool = _field(False, _flag, "Compute blocks again in the backward pass: less memory, a third more time.")

    sizes: tuple[int, ...] = _field((), _sizes, "Sides to train at, in pixels, one after the other in equal parts.")
    test_size: int = _field(0, _natural, "Side to measure and serve at, in pixels. 0: as trained.")
    crop_pct: float = _field(1.0, _share, "Share of the resized image's shorter side that is measured at, in (0, 1].")
    held_out: float = _field(
        0.0, rate, "Share of the training images held out, to choose the best epoch by, in [0, 1)."
    )

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            field.metadata["check"](field.name, getattr(self, field.name))

    def epochs_of(self, steps: int) -> int:
        """How many epochs of `steps` each."""
        return max(1, round(self.iterations / steps)) if self.iterations else self.epochs


def recipe_of(fields: Mapping[str, Any]) -> Recipe:
    """A recipe from what JSON holds of one; fields that are missing have their defaults.

    Raises:
        ValueError: there is no such field, or a value is out of its range.
        TypeError: a value is of the wrong type.
    """
    known = {field.name for field in dataclasses.fields(Recipe)}
    if unknown := sorted(set(fields) - known):
        raise ValueError(f"a recipe must have the fields of keras_resnet.training.Recipe. Received: also {unknown}")
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()
    }
    return Recipe(**values)


def _like(recipe: Recipe, **fields: Any) -> Recipe:
    return dataclasses.replace(recipe, **fields)


# What the recipes for ImageNet share: batches of 256, decay 1e-4, any part of the image, mirrored or not.
IMAGENET = Recipe(
    epochs=90,
    batch_size=256,
    learning_rate=0.1,
    warmup=0.0,
    weight_decay=1e-4,
    label_smoothing=0.0,
    shift=0.0,
    crop="random_resized",
    flip=True,
    crop_pct=0.875,
)
# Wightman et al. 2021 (arXiv:2110.00476), table 2, and timm's options for it. Not repeated augmentation (A1, A2).
A2 = _like(
    IMAGENET,
    epochs=300,
    batch_size=2048,
    optimizer="lamb",
    learning_rate=5e-3,
    warmup=5 / 300,
    weight_decay=0.02,
    clip_norm=1.0,
    loss="binary",
    target_threshold=0.2,
    policy="rand_augment",
    mixup=0.1,
    cutmix=1.0,
    stochastic_depth=0.05,
    crop_pct=0.95,
)

RECIPES = {
    # A short one for small images and no GPU: one cycle of the learning rate (arXiv:1708.07120).
    "one_cycle": Recipe(),
    # The rate is small, so that what was learnt before is not washed away; any photographs.
    "fine_tune": Recipe(
        epochs=10,
        learning_rate=0.01,
        warmup=0.1,
        weight_decay=1e-4,
        shift=0.0,
        crop="random_resized",
        crop_scale=0.35,
        flip=True,
    ),
    # He et al. 2015 (arXiv:1512.03385), section 4.2: 0.1, a tenth of it after 32,000 and 48,000 of 64,000 steps.
    "he2015_cifar": Recipe(
        iterations=64_000,
        batch_size=128,
        learning_rate=0.1,
        schedule="steps",
        warmup=0.0,
        milestones=(0.5, 0.75),
        nesterov=False,
        weight_decay=1e-4,
        label_smoothing=0.0,
        flip=True,
        held_out=0.1,
    ),
    # The same paper, section 3.4: 60 x 10^4 steps of 256 images. It divides the rate when the error no longer falls;
    # here that is at a half and three quarters, as in its CIFAR nets. Not its colour augmentation.
    "he2015_imagenet": _like(
        IMAGENET, iterations=600_000, schedule="steps", milestones=(0.5, 0.75), nesterov=False, crop="scale_jitter"
    ),
    # Goyal et al. 2017 (arXiv:1706.02677): the rate is 0.1 for each 256 images of a batch, with 5 epochs of warm-up.
    "goyal2017": _like(
        IMAGENET,
        batch_size=8192,
        learning_rate=3.2,
        schedule="steps",
        warmup=5 / 90,
        milestones=(30 / 90, 60 / 90, 80 / 90),
    ),
    # torchvision's references, the second weights of ResNet-50. Not repeated augmentation; what is erased is noise,
    # where torchvision takes the mean.
    "torchvision_v2": _like(
        IMAGENET,
        epochs=600,
        batch_size=1024,
        learning_rate=0.5,
        warmup=5 / 600,
        nesterov=False,
        weight_decay=2e-5,
        label_smoothing=0.1,
        policy="trivial_augment_wide",
        erase=0.1,
        mixup=0.2,
        cutmix=1.0,
        # torchvision averages every 32nd step by 1 - 2e-5 * (8 GPUs * 128 images * 32 / 600 epochs).
        ema=(1 - 2e-5 * 8 * 128 * 32 / 600) ** (1 / 32),
        sizes=(176,),
        test_size=224,
        crop_pct=224 / 232,
    ),
    "timm_a1": _like(A2, epochs=600, warmup=5 / 600, weight_decay=0.01, label_smoothing=0.1, mixup=0.2),
    "timm_a2": A2,
    "timm_a3": _like(
        A2,
        epochs=100,
        learning_rate=8e-3,
        warmup=5 / 100,
        magnitude=6.0,
        stochastic_depth=0.0,
        sizes=(160,),
        test_size=224,
    ),
}
