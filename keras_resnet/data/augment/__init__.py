"""Augmentation of whole batches of uint8 images; the same images and seed give the same result.

An augmentation is a function `(images, seed) -> images`. A mix is a function
`(images, targets, seed) -> (images, targets)`. Bind further arguments with `functools.partial`, for example
`functools.partial(rotate, degrees=15)`.
"""

from keras_resnet.data.augment.color import color_jitter
from keras_resnet.data.augment.erasing import fill_color, fill_mean, fill_noise, random_erasing
from keras_resnet.data.augment.geometry import flip, pad_and_crop, random_resized_crop, rotate
from keras_resnet.data.augment.mixing import cutmix, label_smoothing, mixup, random_choice, target_threshold
from keras_resnet.data.augment.policies import aug_mix, rand_augment, trivial_augment_wide

__all__ = [
    "aug_mix",
    "color_jitter",
    "cutmix",
    "fill_color",
    "fill_mean",
    "fill_noise",
    "flip",
    "label_smoothing",
    "mixup",
    "pad_and_crop",
    "rand_augment",
    "random_choice",
    "random_erasing",
    "random_resized_crop",
    "rotate",
    "target_threshold",
    "trivial_augment_wide",
]
