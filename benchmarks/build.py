"""How long it takes to build a network, by layer, beside keras.applications; target: at most 2.5 ms a layer.

What a layer costs is Keras' own. ResNet152 takes a quarter longer than theirs because its 60 million weights are drawn
from the normal distribution of He et al. 2015, which is slower to draw from than their uniform one.
"""

from __future__ import annotations

from collections.abc import Callable

import keras

import keras_resnet as kr
from benchmarks.measure import in_turns

TARGET = 2.5  # milliseconds a layer
DEEP = ("ResNet110", "ResNet1001V2", "ResNet1202")


def theirs() -> keras.Model:
    """The same widths and input as ours."""
    return keras.applications.ResNet152(weights=None)


def run() -> dict[str, float]:
    """Milliseconds a layer of each net, and the ratio to keras.applications."""
    subjects: dict[str, Callable[[], keras.Model]] = {"keras.applications.ResNet152": theirs}
    subjects |= {name: getattr(kr, name) for name in ("ResNet152", *DEEP)}
    layers = {}
    for name, build in subjects.items():
        layers[name] = len(build().layers)
    result = {}
    for name, times in in_turns(subjects).items():
        result[f"{name} ms a layer"] = 1000 * times.median / layers[name]
        print(
            f"{name:32} {layers[name]:5} layers   median {times.median:6.2f} s   min {min(times.seconds):6.2f}   "
            f"max {max(times.seconds):6.2f}   {result[f'{name} ms a layer']:5.2f} ms a layer"
        )
    ratio = result["keras.applications.ResNet152 ms a layer"] / result["ResNet152 ms a layer"]
    result["ResNet152 over keras.applications"] = ratio
    slowest = max(result[f"{name} ms a layer"] for name in DEEP)
    print(f"a layer of ResNet152 is built {ratio:.2f} times as fast as theirs")
    print(
        f"slowest of the deep: {slowest:.2f} ms a layer; target {TARGET}: {'holds' if slowest <= TARGET else 'missed'}"
    )
    return result
