"""ResNet-20 for CIFAR-10 in torch, trained with the settings of kuangliu's pytorch-cifar.

The network is that of He et al. 2015 (arXiv:1512.03385) with shortcuts without parameters. The settings are SGD with a
rate of 0.1, a momentum of 0.9 and a weight decay of 5e-4 on all parameters, batches of 128 images, a cosine to zero,
padding by four pixels, random crops and mirroring. Images are augmented as whole batches in memory, which is faster
than the `DataLoader` of that repository.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.workers import needs

BATCH, PADDING = 128, 4
# Of pixels / 255, as in that repository.
MEAN, STD = np.array([0.4914, 0.4822, 0.4465], "float32"), np.array([0.2023, 0.1994, 0.2010], "float32")


def network() -> Any:
    """ResNet-20, channels last.

    Raises:
        UnavailableError: torch is not installed.
    """
    needs("torch")
    import torch
    from torch import nn
    from torch.nn import functional

    class Block(nn.Module):
        """Two convolutions of 3x3, and a shortcut that subsamples and appends channels of zeros."""

        def __init__(self, channels: int, filters: int, stride: int) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(channels, filters, 3, stride, 1, bias=False)
            self.conv2 = nn.Conv2d(filters, filters, 3, 1, 1, bias=False)
            self.norm1, self.norm2 = nn.BatchNorm2d(filters), nn.BatchNorm2d(filters)
            self.stride, self.more = stride, filters - channels

        def forward(self, x: Any) -> Any:
            """The output of the block."""
            y = self.norm2(self.conv2(functional.relu(self.norm1(self.conv1(x)))))
            shortcut = functional.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.more))
            return functional.relu(y + shortcut)

    stem = (nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
    sizes = [(16, 16, 1)] * 3 + [(16, 32, 2)] + [(32, 32, 1)] * 2 + [(32, 64, 2)] + [(64, 64, 1)] * 2
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))
    net: Any = nn.Sequential(*stem, *(Block(*size) for size in sizes), *head)
    return net.to(memory_format=torch.channels_last)


def train(net: Any, images: np.ndarray, labels: np.ndarray, epochs: int, seed: int = 0) -> float:
    """Trains a network, and returns the seconds.

    Args:
        net: the network.
        images: uint8 (N, 32, 32, 3).
        labels: integers (N,).
        epochs: number of epochs, over which the rate falls to zero.
        seed: random seed of order and augmentation.
    """
    import torch

    began, rng = time.perf_counter(), np.random.default_rng(seed)
    optimizer = torch.optim.SGD(net.parameters(), 0.1, 0.9, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    net.train()
    for _ in range(epochs):
        for pixels, targets in _batches(images, labels, rng):
            optimizer.zero_grad(set_to_none=True)
            torch.nn.functional.cross_entropy(net(_normalized(pixels)), torch.from_numpy(targets)).backward()
            optimizer.step()
        schedule.step()
    return time.perf_counter() - began


def accuracy(net: Any, images: np.ndarray, labels: np.ndarray) -> float:
    """The fraction of the images that a network classifies correctly."""
    import torch

    net.eval()
    with torch.inference_mode():
        answers = [net(_normalized(images[i : i + 500])).argmax(-1).numpy() for i in range(0, len(images), 500)]
    return float((np.concatenate(answers) == labels).mean())


def _batches(
    images: np.ndarray, labels: np.ndarray, rng: np.random.Generator
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Shuffled batches of an epoch, each image shifted by up to four pixels, and half of them mirrored."""
    padded = np.pad(images, ((0, 0), (PADDING, PADDING), (PADDING, PADDING), (0, 0)))
    order, side = rng.permutation(len(images)), np.arange(images.shape[1])
    for start in range(0, len(order), BATCH):
        numbers = order[start : start + BATCH]
        rows, columns = side + rng.integers(0, 2 * PADDING + 1, (2, len(numbers), 1))
        columns = np.where(rng.random((len(numbers), 1)) < 0.5, columns, columns[:, ::-1])
        yield padded[numbers[:, None, None], rows[:, :, None], columns[:, None, :]], labels[numbers]


def _normalized(pixels: np.ndarray) -> Any:
    """Images (N, H, W, C) as a tensor (N, C, H, W), channels last, with a mean of about 0."""
    import torch

    values = (pixels.astype("float32") / 255 - MEAN) / STD
    return torch.from_numpy(values).permute(0, 3, 1, 2)
