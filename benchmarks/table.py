"""Writes MODELS.md, docs/pareto.png and the speed section of BENCHMARKS.md from the zoo and benchmarks/results."""

from __future__ import annotations

import functools
from unittest import mock

import keras

import keras_resnet as kr
from benchmarks import models_page, pareto, speed_section
from benchmarks.machine import ROOT
from keras_resnet import zoo
from keras_resnet._internal.atomic_files import atomic_write
from keras_resnet.weights import Checkpoint
from keras_resnet.weights.variants import VARIANTS

MODELS, PICTURE, BENCHMARKS = ROOT / "MODELS.md", ROOT / "docs" / "pareto.png", ROOT / "BENCHMARKS.md"


def activations(row: zoo.Row) -> int:
    """Activations of the network of a row."""
    return kr.activations(_built(row.name))


def macs(checkpoint: Checkpoint) -> int:
    """Multiply-accumulates of the network that a checkpoint fits, at the size at which its accuracy was measured."""
    return _macs(checkpoint.model, checkpoint.size, checkpoint.form)


@functools.cache  # many checkpoints fit the same network
def _macs(model: str, size: int, form: str) -> int:
    return kr.macs(_built(model, input_shape=(size, size, 3), **VARIANTS[form].fields))


def _built(name: str, **fields: object) -> keras.Model:
    keras.backend.clear_session()
    # The network is only counted. Random weights for hundreds of millions of parameters would take minutes.
    with mock.patch.object(keras.initializers.VarianceScaling, "__call__", _zeros):
        return kr.create_model(name, **fields)


def _zeros(initializer: object, shape: tuple[int, ...], dtype: str | None = None) -> object:
    return keras.ops.zeros(shape, dtype)


def write() -> None:
    """Writes all three files."""
    rows = zoo.ROWS.values()
    with atomic_write(MODELS) as temporary:
        temporary.write_text(models_page.page(rows, activations, macs))
    pareto.plot_models(pareto.points(rows, macs), PICTURE)
    with atomic_write(BENCHMARKS) as temporary:
        temporary.write_text(speed_section.with_section(BENCHMARKS.read_text()))
    for path in (MODELS, PICTURE, BENCHMARKS):
        print(f"wrote {path.relative_to(ROOT)}")
