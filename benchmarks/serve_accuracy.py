"""Accuracy that an exported network loses with fewer bits: top-1, and agreement with Keras in float32.

Measured on trained networks: the CIFAR-10 networks next to this checkout, and those that come with the package. Each
figure is the mean of several exports, each calibrated on a hundred images and measured on the others. With 400 images,
one image with another class is 0.25 %; with different calibration images, none to five images had another class.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np

import keras_resnet as kr
from benchmarks.report import Report
from benchmarks.serve import exported
from benchmarks.workers import UnavailableError
from keras_resnet.weights.table import table

PRECISIONS = ("float32", "bfloat16", "int8")
FASHION = Path("/usr/share/datasets/fashion-mnist")  # from Debian's package dataset-fashion-mnist
CIFAR = Path(__file__).parent.parent.parent / "shared" / "data" / "cifar10"


@dataclasses.dataclass(frozen=True)
class Amount:
    """How much is measured: number of exports of each network in each precision."""

    calibrations: int


FULL = Amount(5)
QUICK = Amount(1)


class Trained(NamedTuple):
    """A trained network, and labelled images that it was not trained on."""

    name: str
    model: keras.Model
    images: np.ndarray
    labels: np.ndarray


def trained(report: Report) -> Iterator[Trained]:
    """The trained networks on this machine; nothing is downloaded."""
    if FASHION.is_dir():
        test = kr.data.load(f"idx:{FASHION}", "test")
        images, labels = (np.concatenate(part) for part in zip(*kr.data.pipeline(test, 28, 500).as_numpy_iterator()))
        for name in dict.fromkeys(row.model for row in table() if row.tag == "fashion_mnist"):
            yield Trained(f"{name} on Fashion-MNIST", getattr(kr, name)(weights="fashion_mnist"), images, labels)
    else:
        report.leave_out("Fashion-MNIST", "Debian's package dataset-fashion-mnist is not installed")
    if CIFAR.is_dir():
        with np.load(CIFAR / "test_500.npz") as test:
            images, labels = test["images"], test["labels"].ravel()
        for file in sorted((CIFAR / "weights").glob("*.th")):
            name = f"ResNet{file.name.removeprefix('resnet').split('-')[0]}"
            yield Trained(f"{name} on CIFAR-10", getattr(kr, name)(weights=file), images, labels)
    else:
        report.leave_out("CIFAR-10", "../shared/data with its networks is not next to this repository")


def run(report: Report, amount: Amount) -> None:
    """Measures top-1, and the fraction of images for which the export chooses the same class as Keras in float32."""
    for name, model, images, labels in trained(report):
        wanted = model.predict(images, verbose=0).argmax(-1)
        for precision in PRECISIONS:
            try:
                same, right, exact = cost(model, precision, images, labels, wanted, amount.calibrations)
            except UnavailableError as reason:
                report.leave_out(f"{name}, {precision}", str(reason))
                continue
            report.add(f"{name}, {precision}, chooses as Keras", same)
            report.add(f"{name}, {precision}, top-1", right)
            report.add(f"{name}, {precision}, top-1 lost", exact - right)


def cost(
    model: keras.Model, precision: str, images: np.ndarray, labels: np.ndarray, wanted: np.ndarray, calibrations: int
) -> tuple[float, float, float]:
    """The mean over several exports of three fractions of the images.

    Args:
        model: the trained network.
        precision: precision of the exports.
        images: all images.
        labels: their labels.
        wanted: the class that Keras in float32 chooses for each image.
        calibrations: number of exports, each calibrated on another hundred images.

    Returns:
        The fraction for which the export chooses the class `wanted`, its top-1, and the top-1 of `wanted`.

    Raises:
        UnavailableError: this machine does not support the precision.
    """
    found = []
    for first in range(0, 100 * calibrations, 100):
        chosen, rest = answered(model, precision, images, slice(first, first + 100))
        found.append(
            [np.mean(chosen == wanted[rest]), np.mean(chosen == labels[rest]), np.mean((wanted == labels)[rest])]
        )
    same, right, exact = np.mean(found, axis=0)
    return float(same), float(right), float(exact)


def answered(
    model: keras.Model, precision: str, images: np.ndarray, calibration: slice
) -> tuple[np.ndarray, np.ndarray]:
    """The classes that an export chooses for all images but the calibration images, and the numbers of these images."""
    rest = np.delete(np.arange(len(images)), calibration)
    with tempfile.TemporaryDirectory() as directory:
        answer = exported(model, precision, images[calibration], Path(directory))
        parts = [answer(images[rest[i : i + 100]].astype("float32")) for i in range(0, len(rest), 100)]
    return np.concatenate([part["probabilities"].numpy() for part in parts]).argmax(-1), rest
