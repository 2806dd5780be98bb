"""Pictures of image files with heat maps: for each image its most probable classes, or a class that is asked for."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

import keras
import numpy as np

from keras_resnet._internal.validation import known, one_of, printable
from keras_resnet.data.decode import read_image
from keras_resnet.data.pipeline import Resize
from keras_resnet.explain.cam import METHODS
from keras_resnet.explain.covering import occlusion
from keras_resnet.explain.maps import heat_maps
from keras_resnet.inputs import square_side
from keras_resnet.plots.overlay import plot_overlays
from keras_resnet.runtime.probabilities import probabilities_of

Explainer: TypeAlias = Callable[[keras.Model, np.ndarray, list[int]], np.ndarray]
OCCLUSION = "occlusion"


def method_named(name: str, layer: str | None = None) -> Explainer:
    """A function `(model, images, classes) -> heat maps` by its name.

    Args:
        name: one of `METHODS`, or "occlusion".
        layer: name of the layer or stage whose features are used; None: the last one with a map.

    Raises:
        ValueError: there is no such method, or `layer` is given for occlusion, which uses no layer.
    """
    if one_of("method", name, (*METHODS, OCCLUSION)) == OCCLUSION:
        if layer is not None:
            raise ValueError(f"layer must not be given with method='occlusion'. Received: layer={layer!r}")
        return occlusion
    return functools.partial(heat_maps, method=METHODS[name], layer=layer)


def draw(
    model: keras.Model,
    files: Sequence[Path],
    resize: Resize,
    classes: Sequence[str],
    explainer: Explainer,
    path: Path,
    name: str | None = None,
    top: int = 3,
) -> Iterator[str]:
    """Draws images and their heat maps into a PNG file, a line for each image.

    Args:
        model: a model that takes square images of a fixed side.
        files: the image files.
        resize: function that resizes an image to the input size of the model.
        classes: names of the model's outputs.
        explainer: a function of `method_named`.
        path: path of the PNG file.
        name: the class to explain; None: the `top` most probable ones of each image.
        top: how many classes to explain.

    Yields:
        A line of text for each image: its most probable classes.

    Raises:
        ValueError: a file is not a readable image; or there is no such class, method or layer.
    """
    size, channels = square_side(model), model.inputs[0].shape[-1]
    asked = None if name is None else list(classes).index(known("class", name, classes, "the run's run.json"))
    rows, probabilities = [], probabilities_of(model)
    for file in files:
        image = np.asarray(resize(read_image(file, channels), size))
        outputs = probabilities(model.predict_on_batch(image[None]))[0]
        best = [int(index) for index in outputs.argsort()[::-1][:top]]
        explained = best if asked is None else [asked]
        maps = explainer(model, np.repeat(image[None], len(explained), 0), explained)
        titles = [f"{classes[index]}\n{outputs[index]:.1%}" for index in explained]
        rows.append((image, f"{printable(file.name)}\n", list(zip(maps, titles, strict=True))))
        yield f"{printable(file)}: {', '.join(f'{classes[index]} {outputs[index]:.1%}' for index in best)}"
    plot_overlays(rows, path)
