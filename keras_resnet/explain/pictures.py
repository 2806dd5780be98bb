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
from keras_resnet.explain.arguments import check_classifier, outputs_for
from keras_resnet.explain.cam import METHODS
from keras_resnet.explain.covering import occlusion
from keras_resnet.explain.maps import heat_maps
from keras_resnet.inputs import gray_or_color, square_side
from keras_resnet.plots.overlay import plot_overlays
from keras_resnet.runtime.probabilities import probabilities_of

Explainer: TypeAlias = Callable[[keras.Model, np.ndarray, list[int]], np.ndarray]
OCCLUSION = "occlusion"
MOST_IMAGES = 100  # matplotlib draws at most 65,536 pixels in one direction, which are 260 images


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
) -> Iterator[str | ValueError]:
    """Draws images and their heat maps into one picture, which shows of each image what the network sees.

    Args:
        model: a model that takes square images of a fixed side.
        files: the image files, at most `MOST_IMAGES`.
        resize: function that resizes an image to the input size of the model.
        classes: names of the model's outputs.
        explainer: a function of `method_named`.
        path: path of the picture, which `output_file` checked; an old file is replaced.
        name: the class to explain, see `class_named`; None: the `top` most probable ones of each image.
        top: how many classes to explain.

    Yields:
        A line of text for each image: its most probable classes. If a file is not a readable image, or the output is
        not finite, an error that names the file; the picture shows the other images, and is not written if there are
        none.

    Raises:
        ValueError: there is no such class, method or layer; there are too many files; or the model takes other images.
    """
    check_classifier(model)
    size, channels = square_side(model), gray_or_color(model)
    if len(files) > MOST_IMAGES:
        raise ValueError(f"images must be at most {MOST_IMAGES} for one picture. Received: {len(files):,} images")
    asked = None if name is None else class_named(name, classes)
    rows, probabilities = [], probabilities_of(model)
    for file in files:
        try:
            image = np.asarray(resize(read_image(file, channels), size))
        except ValueError as error:
            yield error
            continue
        outputs = probabilities(outputs_for(model, image[None]))[0]
        if not np.isfinite(outputs).all():
            yield ValueError(f"{printable(file)}: the model gives numbers that are not finite")
            continue
        best = [int(index) for index in outputs.argsort()[::-1][:top]]
        explained = best if asked is None else [asked]
        maps = explainer(model, np.repeat(image[None], len(explained), 0), explained)
        titles = [
            f"{classes[index]}\n{outputs[index]:.1%}" + ("" if heat.max() > 0 else ", nothing marked")
            for index, heat in zip(explained, maps, strict=True)
        ]
        rows.append((image, f"{printable(file.name)}\nwhat the network sees", list(zip(maps, titles, strict=True))))
        yield f"{printable(file)}: {', '.join(f'{classes[index]} {outputs[index]:.1%}' for index in best)}"
    if rows:
        plot_overlays(rows, path)


def class_named(name: str, classes: Sequence[str]) -> int:
    """The index of a class.

    Args:
        name: the name of one class, or its index, which a class without a name of its own needs: ImageNet has two
            classes "crane". A name comes before an index: "7" is the class with that name, if there is one.
        classes: names of all classes.

    Raises:
        ValueError: there is no such class, or several have the name.

    Example:
        >>> from keras_resnet.explain.pictures import class_named
        >>> class_named("cat", ("dog", "cat")), class_named("0", ("dog", "cat"))
        (1, 0)
    """
    found = [index for index, other in enumerate(classes) if other == name]
    if len(found) > 1:
        indices = ", ".join(map(str, found))
        raise ValueError(f"class must be an index, {indices}, because these classes have one name. Received: {name!r}")
    if not found and name.isdecimal() and int(name) < len(classes):
        return int(name)
    allowed = f"give a name, or an index from 0 to {len(classes) - 1}; `predict --top {len(classes)}`"
    return list(classes).index(known("class", name, classes, allowed))
