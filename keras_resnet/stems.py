"""Stems: from pixels to the first stage. A stem is a function `(x, filters, words, after) -> tensor`.

`words` applies norm and activation (`layers.Words`), and `after` says which of them the ordering puts
after the stem's last convolution.
"""

from __future__ import annotations

from collections.abc import Callable

from keras_resnet.layers import Tensor, Words, biased_conv, conv, max_pool, zero_padded_max_pool

Stem = Callable[[Tensor, int, Words, str], Tensor]


def imagenet(x: Tensor, filters: int, words: Words, after: str) -> Tensor:
    """7x7 convolution and 3x3 max-pool, stride 4 (He et al. 2015, arXiv:1512.03385)."""
    x = conv(x, filters, 7, 2, name="conv1_conv")
    return max_pool(words(after, x, "conv1"), "pool1")


def imagenet_zero_padded(x: Tensor, filters: int, words: Words, after: str) -> Tensor:
    """`imagenet` as keras.applications' v2 has it: a biased convolution, and zeros around what is pooled."""
    x = biased_conv(x, filters, 7, 2, name="conv1_conv")
    return zero_padded_max_pool(words(after, x, "conv1"), "pool1")


def deep(x: Tensor, filters: int, words: Words, after: str) -> Tensor:
    """Three 3x3 convolutions and 3x3 max-pool, stride 4: ResNet-C and -D (He et al. 2018, arXiv:1812.01187)."""
    return max_pool(_three_convs(x, filters // 2, filters, words, after), "pool1")


def deep_tiered(x: Tensor, filters: int, words: Words, after: str) -> Tensor:
    """`deep` with a narrower first convolution, 24 32 64: timm's ResNet-T."""
    return max_pool(_three_convs(x, 3 * filters // 8, filters, words, after), "pool1")


def deep_strided(x: Tensor, filters: int, words: Words, after: str) -> Tensor:
    """Three 3x3 convolutions and a fourth in place of the max-pool, stride 4: ResNet-RS (arXiv:2103.07579)."""
    x = _three_convs(x, filters // 2, filters, words, "bn relu")
    x = conv(x, filters, 3, 2, name="pool1_conv")
    return words(after, x, "pool1")


def cifar(x: Tensor, filters: int, words: Words, after: str) -> Tensor:
    """One 3x3 convolution, stride 1, for small images (He et al. 2015, arXiv:1512.03385, section 4.2)."""
    return words(after, conv(x, filters, 3, name="conv1_conv"), "conv1")


def _three_convs(x: Tensor, first: int, filters: int, words: Words, after: str) -> Tensor:
    """`first` filters, half, all; the last convolution is `conv1_conv`, so `conv1_bn` ends the stem as elsewhere."""
    x = words("bn relu", conv(x, first, 3, 2, name="conv1_1_conv"), "conv1_1")
    x = words("bn relu", conv(x, filters // 2, 3, name="conv1_2_conv"), "conv1_2")
    return words(after, conv(x, filters, 3, name="conv1_conv"), "conv1")
