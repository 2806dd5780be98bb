"""How long the export of a network of 1,001 layers takes, over Keras' own `model.export`; target: 1.8 times as fast."""

from __future__ import annotations

import itertools
import tempfile
from pathlib import Path

import keras

import keras_resnet as kr
from benchmarks.measure import in_turns

TARGET = 1.8


def run() -> dict[str, float]:
    """Seconds of both, and the ratio."""
    model = kr.ResNet1001V2()
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2D):  # as drawn they double what passes with each block, up to infinity
            layer.kernel.assign(0.1 * layer.kernel)
    with tempfile.TemporaryDirectory() as directory:
        numbers = itertools.count(1)
        times = in_turns(
            {
                "stock export": lambda: model.export(Path(directory, "stock"), verbose=False),
                "saved_model": lambda: kr.export.saved_model(model, Path(directory, "ours"), next(numbers)),
            }
        )
    ratio = times["stock export"].median / times["saved_model"].median
    print(f"export of ResNet1001V2 {ratio:.2f}; target {TARGET}: {'holds' if ratio >= TARGET else 'missed'}")
    return {f"export of ResNet1001V2, {name}, s": seconds.median for name, seconds in times.items()} | {
        "export of ResNet1001V2 over stock": ratio
    }
