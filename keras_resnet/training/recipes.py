"""The table of recipes.

A row is the default recipe with a few fields changed. To change more fields, use
`dataclasses.replace(RECIPES["one_cycle"], epochs=5)`.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from keras_resnet._internal.validation import known
from keras_resnet.training.recipe import Recipe


def _changed(recipe: Recipe, **fields: Any) -> Recipe:
    return dataclasses.replace(recipe, **fields)


# The fields that all ImageNet recipes share. The papers train on all training images.
IMAGENET = Recipe(
    epochs=90,
    batch_size=256,
    learning_rate=0.1,
    warmup=0.0,
    weight_decay=1e-4,
    label_smoothing=0.0,
    pad_and_crop=0.0,
    crop="random_resized",
    flip=True,
    crop_pct=0.875,
    validation_split=0.0,
)
# Wightman et al. 2021 (arXiv:2110.00476), table 2, with timm's options.
A2 = _changed(
    IMAGENET,
    epochs=300,
    batch_size=2048,
    optimizer="lamb",
    learning_rate=5e-3,
    warmup=5 / 300,
    weight_decay=0.02,
    clip_norm=1.0,
    loss="binary_crossentropy",
    target_threshold=0.2,
    repeated_augmentation=3,
    auto_augment="rand_augment",
    mixup=0.1,
    cutmix=1.0,
    stochastic_depth=0.05,
    crop_pct=0.95,
)

RECIPES = {
    # Short, for small images and machines without a GPU: one cycle of the learning rate (arXiv:1708.07120).
    "one_cycle": Recipe(),
    # For photographs. The learning rate is low, so that the pretrained weights change little.
    "fine_tune": Recipe(
        epochs=10,
        learning_rate=0.01,
        warmup=0.1,
        weight_decay=1e-4,
        pad_and_crop=0.0,
        crop="random_resized",
        crop_scale=0.35,
        flip=True,
    ),
    # For CIFAR-10 in half an hour on two cores: small images at first (progressive resizing, as in fastai's), one cycle
    # of a high learning rate. `benchmarks/speedrun.py` measures what it reaches.
    "cifar_half_hour": Recipe(
        epochs=20,
        batch_size=128,
        learning_rate=0.2,
        warmup=0.2,
        label_smoothing=0.05,
        flip=True,
        train_sizes=(24, 28, 32),
        validation_split=0.0,
    ),
    # He et al. 2015 (arXiv:1512.03385), section 4.2: the rate is 0.1, and is divided by 10 after 32,000 and 48,000 of
    # 64,000 steps.
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
        validation_split=0.1,
    ),
    # The same paper, section 3.4: 60 x 10^4 steps of 256 images. The paper divides the rate when the error stops
    # falling; here the rate is divided after one half and three quarters, as for CIFAR. The color augmentation of the
    # paper is left out.
    "he2015_imagenet": _changed(
        IMAGENET, iterations=600_000, schedule="steps", milestones=(0.5, 0.75), nesterov=False, crop="scale_jitter"
    ),
    # Goyal et al. 2017 (arXiv:1706.02677): the rate is 0.1 for each 256 images of a batch, with 5 epochs of warm-up.
    "goyal2017": _changed(
        IMAGENET,
        batch_size=8192,
        learning_rate=3.2,
        schedule="steps",
        warmup=5 / 90,
        milestones=(30 / 90, 60 / 90, 80 / 90),
    ),
    # torchvision's references, the second weights of ResNet-50. Erased parts are filled with noise; torchvision fills
    # them with the mean.
    "torchvision_v2": _changed(
        IMAGENET,
        epochs=600,
        batch_size=1024,
        learning_rate=0.5,
        warmup=5 / 600,
        nesterov=False,
        weight_decay=2e-5,
        label_smoothing=0.1,
        repeated_augmentation=4,
        auto_augment="trivial_augment_wide",
        random_erase=0.1,
        mixup=0.2,
        cutmix=1.0,
        # torchvision averages every 32nd step by 1 - 2e-5 * (8 GPUs * 128 images * 32 / 600 epochs).
        ema_decay=(1 - 2e-5 * 8 * 128 * 32 / 600) ** (1 / 32),
        train_sizes=(176,),
        eval_size=224,
        crop_pct=224 / 232,
    ),
    "timm_a1": _changed(A2, epochs=600, warmup=5 / 600, weight_decay=0.01, label_smoothing=0.1, mixup=0.2),
    "timm_a2": A2,
    "timm_a3": _changed(
        A2,
        epochs=100,
        learning_rate=8e-3,
        warmup=5 / 100,
        repeated_augmentation=1,
        magnitude=6.0,
        stochastic_depth=0.0,
        train_sizes=(160,),
        eval_size=224,
    ),
}


def recipe_named(recipe: Recipe | str) -> Recipe:
    """The recipe of the table with this name; a recipe itself is returned.

    Raises:
        ValueError: the table has no such recipe.
    """
    if not isinstance(recipe, str):
        return recipe
    return RECIPES[known("recipe", recipe, RECIPES, "keras_resnet.training.RECIPES")]
