"""What the features of a data set show, as figures, and as files: lists, pictures, and the features themselves."""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from keras_resnet._internal.atomic_files import atomic_write
from keras_resnet._internal.validation import printable
from keras_resnet.data.corrupt import name_corrupt_files
from keras_resnet.data.pipeline import Resize, numbered_pipeline
from keras_resnet.data.preview import plot_images
from keras_resnet.data.sources import ALL
from keras_resnet.data.split import Split
from keras_resnet.evaluation.accuracy import in_channels_of
from keras_resnet.evaluation.embeddings import (
    FOLDS,
    Embeddings,
    duplicates,
    has_cleanlab,
    held_out_probabilities,
    knn_accuracy,
    label_errors,
    neighbors,
    probe_accuracy,
    project,
)
from keras_resnet.inputs import square_side
from keras_resnet.plots.map import plot_map
from keras_resnet.plots.neighbors import Picture, plot_neighbors

# Two images are taken for the same if their features and their pixels are similar. Features alone are not enough: those
# of trousers in Fashion-MNIST have cosine similarities up to 0.99995. Images of 16 x 16 pixels of a photograph and of
# its copies in JPEG quality 40 or half the size differ by at most 0.2 % on average, those of such trousers by 3 %.
SIMILARITY = 0.99
SIDE, DIFFERENCE = 16, 0.02
MAPPED = 2_000  # images of a map; t-SNE takes 10 seconds for them
DRAWN = 24  # likely label errors in a picture
ROWS, COLUMNS = 8, 6  # images whose neighbors are drawn, and neighbors of each


class Pair(NamedTuple):
    """Two images that are nearly the same.

    Attributes:
        split, number: the split of an image, and its number in it.
        other_split, other_number: those of the other image.
        similarity: cosine similarity of their features.
        difference: mean difference of their pixels after both were made small, a fraction of white; 0: the same.
    """

    split: str
    number: int
    other_split: str
    other_number: int
    similarity: float
    difference: float


class LabelError(NamedTuple):
    """An image whose label is probably wrong.

    Attributes:
        number: its number among the images of all splits.
        answer: the class that a linear classifier on the features answers, an index.
        probability: the probability of this class.
        label_probability: the probability of its label.
    """

    number: int
    answer: int
    probability: float
    label_probability: float


class Findings(NamedTuple):
    """What the features show.

    Attributes:
        knn: accuracy of k-nearest-neighbor classification; None without classes.
        probe: accuracy of a linear classifier on the features; None without classes.
        pairs: images that are there twice.
        errors: likely label errors, the most doubtful first; None if they were not searched for.
        notes: sentences that say why something is missing.
    """

    knn: float | None
    probe: float | None
    pairs: Sequence[Pair]
    errors: Sequence[LabelError] | None
    notes: Sequence[str]


def joined(parts: Mapping[str, Embeddings]) -> tuple[Embeddings, np.ndarray]:
    """The images of all splits, one split after the other, and for each image the name of its split (N,)."""
    values, labels, names, _ = zip(*parts.values(), strict=True)
    classes = next(iter(parts.values())).classes
    splits = np.repeat(list(parts), list(map(len, labels)))
    return Embeddings(np.concatenate(values), np.concatenate(labels), tuple(itertools.chain(*names)), classes), splits


def write_embeddings(parts: Mapping[str, Embeddings], path: Path) -> None:
    """Writes features to an .npz file that NumPy reads with `allow_pickle=False`.

    Its arrays are `values` (N, D), `labels` (N,), `names` (N,), `splits` (N,), and `classes`.

    Args:
        parts: the features by the name of the split.
        path: path of the file; an old one is replaced.
    """
    everything, splits = joined(parts)
    arrays = {**everything._asdict(), "names": np.array(everything.names, str), "splits": splits}
    with atomic_write(path) as temporary:
        np.savez(temporary, **{**arrays, "classes": np.array(everything.classes, str)})


def examine(parts: Mapping[str, Embeddings], images: Mapping[str, Images]) -> Findings:
    """Finds out what the features show.

    Accuracies are measured on "test" after training on "train". With other splits each image is answered after training
    on other images: all others for the nearest neighbors, four fifths of them for the linear classifier. Duplicates and
    label errors are searched in all splits.

    Args:
        parts: the features by the name of the split.
        images: the images by the name of the split.
    """
    pairs = _pairs(parts, images)
    everything, _ = joined(parts)
    if not everything.classes:
        note = "the images have no classes, so there are no accuracies and no label errors"
        return Findings(None, None, pairs, None, [note])
    train, test = _compared(parts, everything)
    if len(np.unique(train.labels)) < 2:
        note = "the images for training have one class only, so there are no accuracies and no label errors"
        return Findings(None, None, pairs, None, [note])
    rows, examined = _of_frequent_classes(everything)
    enough, searched = len(np.unique(examined.labels)) > 1, has_cleanlab()
    notes = list(_notes(len(everything.labels) - len(rows), enough, searched))
    probabilities = held_out_probabilities(examined) if enough and (searched or train is test) else None
    probe = None
    if train is not test:
        probe = probe_accuracy(train, test)
    elif probabilities is not None:
        probe = float(np.mean(_answers(examined, probabilities) == examined.labels))
    errors = None if probabilities is None or not searched else _errors(rows, examined, probabilities)
    return Findings(knn_accuracy(train, test), probe, pairs, errors, notes)


def write_report(
    parts: Mapping[str, Embeddings],
    images: Mapping[str, Images],
    findings: Findings,
    directory: Path,
) -> list[str]:
    """Writes metrics.json, duplicates.csv, label_errors.csv, and pictures of label errors, neighbors and the map.

    Args:
        parts: the features by the name of the split.
        images: the images by the name of the split.
        findings: the result of `examine`.
        directory: a directory that exists.

    Returns:
        Sentences that say why a file is missing.
    """
    everything, split_of = joined(parts)
    shape, pairs, errors = everything.values.shape, findings.pairs, findings.errors
    figures = {
        "images": {name: len(part.labels) for name, part in parts.items()},
        "features": shape[1],
        "classes": len(everything.classes),
        "knn_accuracy": findings.knn,
        "probe_accuracy": findings.probe,
        "duplicates": len(pairs),
        "duplicates_across_splits": across(pairs),
        "label_errors": None if errors is None else len(errors),
    }
    with atomic_write(directory / "metrics.json") as temporary:
        temporary.write_text(json.dumps(figures, indent=2) + "\n", "utf-8")
    _write_duplicates(parts, pairs, directory / "duplicates.csv")
    if errors is not None:
        _write_errors(everything, split_of, errors, directory / "label_errors.csv")
        if errors:
            _draw_errors(everything, split_of, errors[:DRAWN], images, directory / "label_errors.png")
    if shape[0] < 2:
        return ["one image has no neighbors and no map"]
    _draw_neighbors(parts, images, directory / "neighbors.png")
    rows = np.sort(np.random.default_rng(0).permutation(shape[0])[:MAPPED])
    shown = everything.select(rows)
    which = f"{len(rows):,} of {shape[0]:,} images" if len(rows) < shape[0] else f"{shape[0]:,} images"
    title = f"t-SNE of {which}: similar ones are near each other"
    plot_map(project(shown), shown.labels, everything.classes, title, directory / "map.png")
    return []


def across(pairs: Iterable[Pair]) -> int:
    """The number of pairs whose images are in two splits."""
    return sum(pair.split != pair.other_split for pair in pairs)


class Images:
    """The images of a split as a network gets them.

    Args:
        model: the network.
        split: the images.
        resize: function that resizes an image to the input size of the model.
    """

    def __init__(self, model: keras.Model, split: Split, resize: Resize) -> None:
        self._split, self._size, self._resize = in_channels_of(model, split), square_side(model), resize

    def named(
        self, names: Sequence[str], finish: Callable[[tf.Tensor], tf.Tensor] = tf.identity
    ) -> Iterator[tuple[str, np.ndarray]]:
        """The images with these names, each name once.

        Args:
            names: names of images, in any order.
            finish: function that changes the image of the network, uint8 (H, W, C), in the pipeline.
        """
        numbers = np.unique(self._split.numbers_of(names))
        if not len(numbers):
            return
        part = self._split.part(numbers)
        chosen = numbered_pipeline(part, self._size, 64, lambda image, size: finish(self._resize(image, size)))
        pixels = (image for _, batch, _ in chosen.as_numpy_iterator() for image in batch)
        with name_corrupt_files(part):  # a file may have changed since the features were computed
            yield from zip(self._split.names_of(numbers), pixels, strict=True)


def _compared(parts: Mapping[str, Embeddings], everything: Embeddings) -> tuple[Embeddings, Embeddings]:
    """Training and test images; twice the same object if there are none of one kind."""
    return (parts["train"], parts["test"]) if {"train", "test"} <= parts.keys() else (everything, everything)


def _of_frequent_classes(embeddings: Embeddings) -> tuple[np.ndarray, Embeddings]:
    """Numbers of the images of classes that have images for each fold, and these images."""
    _, places, counts = np.unique(embeddings.labels, return_inverse=True, return_counts=True)
    rows = np.flatnonzero(counts[places] >= FOLDS)
    return rows, embeddings if len(rows) == len(places) else embeddings.select(rows)


def _notes(rare: int, enough: bool, searched: bool) -> Iterator[str]:
    if not enough:
        yield f"label errors were not searched for: fewer than two classes have {FOLDS} images"
    elif rare:
        yield f"images of classes with fewer than {FOLDS} images were not searched for label errors: {rare:,}"
    if not searched:
        yield "label errors were not searched for: pip install cleanlab"


def _answers(embeddings: Embeddings, probabilities: np.ndarray) -> np.ndarray:
    return np.unique(embeddings.labels)[probabilities.argmax(axis=1)]


def _errors(rows: np.ndarray, examined: Embeddings, probabilities: np.ndarray) -> list[LabelError]:
    answers, places = _answers(examined, probabilities), np.searchsorted(np.unique(examined.labels), examined.labels)
    return [
        LabelError(
            int(rows[place]),
            int(answers[place]),
            float(probabilities[place].max()),
            float(probabilities[place, places[place]]),
        )
        for place in label_errors(examined, probabilities=probabilities)
    ]


def _pairs(parts: Mapping[str, Embeddings], images: Mapping[str, Images]) -> list[Pair]:
    found = [
        (one, number, other, match, similarity)
        for one, other in itertools.combinations_with_replacement(parts, 2)
        for number, match, similarity in duplicates(parts[one], None if one == other else parts[other], SIMILARITY)
    ]
    ends = {end for one, number, other, match, _ in found for end in ((one, number), (other, match))}
    small = {}
    for split, part in parts.items():
        names = [part.names[number] for name, number in ends if name == split]
        small.update({(split, name): image for name, image in images[split].named(names, _small)})
    pairs = []
    for one, number, other, match, similarity in found:
        pixels = small[one, parts[one].names[number]] - small[other, parts[other].names[match]]
        if (difference := float(np.abs(pixels).mean())) <= DIFFERENCE:
            pairs.append(Pair(one, number, other, match, similarity, difference))
    return sorted(pairs, key=lambda pair: (pair.difference, -pair.similarity))


def _small(image: tf.Tensor) -> tf.Tensor:
    return tf.image.resize(image, (SIDE, SIDE), "area") / 255


def _write_duplicates(parts: Mapping[str, Embeddings], pairs: Iterable[Pair], path: Path) -> None:
    rows = []
    for pair in pairs:
        one, other = parts[pair.split], parts[pair.other_split]
        first = [printable(one.names[pair.number]), pair.split, _class(one, pair.number)]
        second = [printable(other.names[pair.other_number]), pair.other_split, _class(other, pair.other_number)]
        rows.append([*first, *second, f"{pair.similarity:.6f}", f"{pair.difference:.6f}"])
    header = ["image", "split", "class", "other image", "other split", "other class", "similarity", "pixel difference"]
    _write_csv(path, header, rows)


def _write_errors(embeddings: Embeddings, splits: np.ndarray, errors: Iterable[LabelError], path: Path) -> None:
    rows = [
        [
            printable(embeddings.names[error.number]),
            splits[error.number],
            _class(embeddings, error.number),
            printable(embeddings.classes[error.answer]),
            f"{error.probability:.6f}",
            f"{error.label_probability:.6f}",
        ]
        for error in errors
    ]
    _write_csv(path, ["image", "split", "class", "answer", "probability", "probability of class"], rows)


def _draw_errors(
    embeddings: Embeddings, splits: np.ndarray, errors: Sequence[LabelError], images: Mapping[str, Images], path: Path
) -> None:
    """Draws images with their class and what the classifier answers."""
    chosen = [(splits[error.number], embeddings.names[error.number]) for error in errors]
    pixels = {
        (split, name): image
        for split in images
        for name, image in images[split].named([name for part, name in chosen if part == split])
    }
    titles = [f"{_class(embeddings, e.number)} / {printable(embeddings.classes[e.answer])}?" for e in errors]
    plot_images(np.stack([pixels[key] for key in chosen]), titles, path)


def _class(embeddings: Embeddings, number: int) -> str:
    return printable(embeddings.classes[embeddings.labels[number]]) if embeddings.classes else ""


def _write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    with atomic_write(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])


def _draw_neighbors(parts: Mapping[str, Embeddings], images: Mapping[str, Images], path: Path) -> None:
    """Draws some images of the last split with their neighbors in the first one, which may be the same split."""
    (among_name, among), (of_name, of) = next(iter(parts.items())), list(parts.items())[-1]
    queries = _spread(of.labels)
    if among is of:
        found, similarities = (rows[queries] for rows in neighbors(of, of, COLUMNS))
    else:
        found, similarities = neighbors(among, of.select(queries), COLUMNS)
    asked = dict(images[of_name].named([of.names[row] for row in queries]))
    near = dict(images[among_name].named([among.names[row] for row in found.ravel()]))
    lines = []
    for query, matches, values in zip(queries, found, similarities, strict=True):
        line = [Picture(asked[of.names[query]], _title(of, query))]
        for match, value in zip(matches, values, strict=True):
            agrees = bool(among.labels[match] == of.labels[query]) if of.classes else None
            line.append(Picture(near[among.names[match]], _title(among, match), float(value), agrees))
        lines.append(line)
    left = "some images" if of_name == ALL else f"some images of {of_name}"
    right = "their nearest other images" if among is of else f"the nearest images of {among_name}"
    marks = " (✓ same class, ✗ another class)" if of.classes else ""
    plot_neighbors(lines, f"Left: {left}. Right: {right}{marks}.\nNumbers: cosine similarity", path)


def _spread(labels: np.ndarray) -> list[int]:
    """Numbers of random images of different classes; of few classes several images each."""
    order = np.random.default_rng(0).permutation(len(labels))
    seen: dict[int, int] = {}
    turns = []
    for row in order.tolist():
        turn = seen[labels[row]] = seen.get(labels[row], -1) + 1
        turns.append(turn)
    chosen = order[np.argsort(turns, kind="stable")[:ROWS]]
    return sorted(chosen.tolist(), key=lambda row: labels[row])


def _title(embeddings: Embeddings, row: int) -> str:
    return _class(embeddings, row) or printable(Path(embeddings.names[row]).name)
