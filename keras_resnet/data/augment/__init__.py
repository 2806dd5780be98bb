"""Augmentation of whole batches of uint8 images, repeatable by the seed.

Functions `(images, seed) -> images`, and mixes `(images, targets, seed) -> (images, targets)`, whose options are bound
by `functools.partial`.
"""

from keras_resnet.data.augment.colour import colour_jitter
from keras_resnet.data.augment.erasing import fill_colour, fill_mean, fill_noise, random_erasing
from keras_resnet.data.augment.geometry import flip, pad_and_crop, random_resized_crop, rotate
from keras_resnet.data.augment.mixing import cutmix, mixup, one_of_mixes, smoothed, thresholded
from keras_resnet.data.augment.policies import rand_augment, trivial_augment_wide

__all__ = [
    "colour_jitter",
    "cutmix",
    "fill_colour",
    "fill_mean",
    "fill_noise",
    "flip",
    "mixup",
    "one_of_mixes",
    "pad_and_crop",
    "rand_augment",
    "random_erasing",
    "random_resized_crop",
    "rotate",
    "smoothed",
    "thresholded",
    "trivial_augment_wide",
]
