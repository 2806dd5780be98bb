"""Measures whether heat maps mark what a network looks at, on the network for Fashion-MNIST of this package.

Two questions. Does the probability of the class fall faster if the pixels that a map marks are covered first
(deletion), and rise faster if they are shown first (insertion, arXiv:1806.07421), than for maps that look at no
network: random areas, the brightness of the pixels, the distance to the middle, and the map of another image? And does
a map change if the network loses what it has learned (arXiv:1810.03292)? For that the weights of one stage after the
other are shuffled, from the head to the stem.

Run:     TF_ENABLE_ONEDNN_OPTS=1 python examples/heat_maps.py [DATA] [OUT]
         The default of DATA is idx:/usr/share/datasets/fashion-mnist (Debian's package dataset-fashion-mnist)
Time:    more than 10 minutes of processor time
Result:  curves.csv and curves.png in OUT (default: examples/heat_maps), and shuffled.csv, how similar maps are to those
         before the weights were shuffled. `difference` is insertion less deletion, 0 for random maps, and highest for
         occlusion. By deletion alone Grad-CAM is no better than random areas; random pixels, noise, beat all maps
"""

import csv
import functools
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import keras
import numpy as np
from scipy.stats import rankdata

import keras_resnet as kr
from keras_resnet.complexity import flat_layers
from keras_resnet.explain import METHODS, deletion_and_insertion, heat_maps, occlusion
from keras_resnet.explain.faithfulness import Curves
from keras_resnet.plots.style import BLUE, GREEN, GREY, ORANGE, RED, figure, save

STAGES = ("conv2", "conv3", "conv4")
# Stages in the order in which they lose their weights, with the beginning of the names of their layers.
CASCADE = {"head": "predictions", "conv4": "conv4_", "conv3": "conv3_", "conv2": "conv2_", "stem": "conv1_"}
DRAWN = {  # the rows of the table whose curves are drawn
    "occlusion": (GREEN, "-"),
    "gradcam conv4": (BLUE, "-"),
    "layercam conv3": (RED, "-"),
    "brightness": (ORANGE, "--"),
    "middle": (GREY, "--"),
    "random areas 0": ("black", ":"),
}


def all_maps(model: keras.Model, images: np.ndarray, classes: Sequence[int]) -> Iterator[tuple[str, np.ndarray]]:
    """Names and heat maps (N, H, W): each method at each stage, occlusion, and maps that look at no network."""
    for stage in STAGES:
        for name, method in METHODS.items():
            yield f"{name} {stage}", heat_maps(model, images, classes, method=method, layer=stage, batch_size=64)
    yield "occlusion", occlusion(model, images, classes)
    yield "brightness", images.mean(-1)
    rows, columns = np.indices(images.shape[1:3])
    middle = -np.hypot(rows - rows.mean(), columns - columns.mean())
    yield "middle", np.broadcast_to(middle, images.shape[:3])
    yield "another image's gradcam conv4", np.roll(heat_maps(model, images, classes, batch_size=64), 1, axis=0)
    for seed in range(3):
        yield f"random areas {seed}", random_areas(images, seed)
    yield "random pixels", np.random.default_rng(0).random(images.shape[:3])


def random_areas(images: np.ndarray, seed: int) -> np.ndarray:
    """Random maps (N, H, W), as coarse as conv4: single covered pixels are noise, which upsets the network anywhere."""
    coarse = np.random.default_rng(seed).random((len(images), 7, 7, 1), "float32")
    areas = keras.ops.image.resize(coarse, images.shape[1:3], "bilinear")
    return keras.ops.convert_to_numpy(areas)[..., 0]


def shuffled(model: keras.Model, stages: Sequence[str], seed: int) -> keras.Model:
    """A copy of a model in which the values of each weight of some stages are in random order."""
    copy, rng = keras.models.clone_model(model), np.random.default_rng(seed)
    copy.set_weights(model.get_weights())
    for layer in flat_layers(copy):
        if layer.name.startswith(tuple(CASCADE[stage] for stage in stages)):
            layer.set_weights([rng.permutation(value.ravel()).reshape(value.shape) for value in layer.get_weights()])
    return copy


def rank_correlation(maps: np.ndarray, others: np.ndarray) -> float:
    """Mean over images of Spearman's correlation of two maps; 0 for an image with a map that is the same everywhere."""
    ranks = [rankdata(part.reshape(len(part), -1), axis=1) for part in (maps, others)]
    first, second = (part - part.mean(1, keepdims=True) for part in ranks)
    size = np.sqrt((first**2).sum(1) * (second**2).sum(1))
    return float(((first * second).sum(1) / np.where(size == 0, 1, size)).mean())


def after_shuffling(model: keras.Model, images: np.ndarray, classes: list[int]) -> Iterator[tuple[str, list[float]]]:
    """Names of methods and the rank correlations with their own maps after each step of the cascade."""
    explainers: dict[str, Callable[..., np.ndarray]] = {
        name: functools.partial(heat_maps, method=method) for name, method in METHODS.items()
    }
    explainers["occlusion"] = occlusion
    copies = [shuffled(model, list(CASCADE)[: step + 1], seed=step + 1) for step in range(len(CASCADE))]
    for name, explain in explainers.items():
        maps = explain(model, images, classes)
        yield name, [rank_correlation(maps, explain(copy, images, classes)) for copy in copies]


def draw(curves: dict[str, Curves], path: Path) -> None:
    """Draws the deletion and the insertion curves of `DRAWN` side by side."""
    drawn = figure(8, 3.4)
    places = drawn.subplots(1, 2, sharey=True)
    for name, (color, line) in DRAWN.items():
        found, label = curves[name], name.removesuffix(" 0")
        for axes, values in zip(places, (found.deletion, found.insertion), strict=True):
            axes.plot(100 * found.fractions, values, color=color, linestyle=line, label=label)
    places[0].set(xlabel="marked pixels that are covered, %", ylabel="mean probability of the class")
    places[1].set(xlabel="marked pixels that are shown, %")
    places[0].set_title("deletion: lower is better", fontsize=10)
    places[1].set_title("insertion: higher is better", fontsize=10)
    drawn.legend(*places[0].get_legend_handles_labels(), loc="outside right center", fontsize=9)
    save(drawn, path)


def main(
    data: str = "idx:/usr/share/datasets/fashion-mnist",
    out: str | Path = "examples/heat_maps",
    *,
    model: keras.Model | None = None,
    count: int = 500,
    shuffled_count: int = 100,
) -> dict[str, Curves]:
    """Prints both tables, and writes them and a picture of the curves into the directory `out`."""
    model, folder = model or kr.ResNet20(weights="fashion_mnist"), Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    images = np.stack([np.asarray(image) for image, _ in kr.data.load(data, "test").examples.take(count)])
    classes = model.predict(images, verbose=0).argmax(-1).tolist()
    curves = {}
    with (folder / "curves.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["map", "deletion", "insertion", "difference"])
        for name, maps in all_maps(model, images, classes):
            found = curves[name] = deletion_and_insertion(model, images, maps, classes)
            row = [name, *(f"{x:.3f}" for x in (found.deletion_area, found.insertion_area, found.difference))]
            print(*row, flush=True)
            rows.writerow(row)
    draw(curves, folder / "curves.png")
    with (folder / "shuffled.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["method", *(f"to {stage}" for stage in CASCADE)])
        for name, correlations in after_shuffling(model, images[:shuffled_count], classes[:shuffled_count]):
            row = [name, *(f"{value:.2f}" for value in correlations)]
            print(*row, flush=True)
            rows.writerow(row)
    return curves


if __name__ == "__main__":
    main(*sys.argv[1:])
