"""Accuracy of a model on a split, and checks that model and split fit each other."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import keras
import numpy as np

from keras_resnet._internal.keras_graph import functional_graph
from keras_resnet._internal.validation import integers, printable
from keras_resnet.data import Split
from keras_resnet.data.as_split import Data, as_split, numbered
from keras_resnet.data.corrupt import name_corrupt_files
from keras_resnet.data.decode import to_square
from keras_resnet.data.pipeline import Resize, numbered_pipeline
from keras_resnet.data.sources import class_indices
from keras_resnet.evaluation.metrics import NO_ANSWER, Answers
from keras_resnet.evaluation.result import Evaluation, Mistake
from keras_resnet.explain.arguments import outputs_for
from keras_resnet.inputs import square_side
from keras_resnet.runtime.grouped_convolutions import without_xla
from keras_resnet.runtime.probabilities import probabilities_of

MISTAKES = 12  # images with the largest losses whose pixels are kept
BEST = 5  # classes with the highest probabilities that are kept for each image
SMALLEST = 1e-7  # probability of the right class below which the loss does not grow, as in Keras
log = logging.getLogger("keras_resnet.evaluation")


def evaluate(
    model: keras.Model,
    split: Data,
    batch_size: int = 64,
    *,
    resize: Resize = to_square,
    labels: Sequence[int] | None = None,
    class_names: Sequence[str] | None = None,
) -> Evaluation:
    """Top-1 accuracy of a model and, as attributes of the number, what else an evaluation shows.

    Each image is computed once. Per image only the five highest probabilities are kept, so that 50,000 images of 1,000
    classes need 10 MB.

    Args:
        model: a model that takes square images (N, H, W, C) with fixed sides; its output (N, classes) has a score for
            each class: a softmax, a sigmoid or logits.
        split: the images and their labels: a `Split`, a pair of arrays (x, y), or a `tf.data.Dataset`, as in
            `keras_resnet.training.fit`.
        batch_size: images per batch.
        resize: function that resizes an image, as in `keras_resnet.data.pipeline`.
        labels: for each class of the split the index of its output in the model, see
            `keras_resnet.data.sources.class_indices`. The split may have only some of the model's classes; the highest
            of all outputs counts. None: the split has the classes of the model in the same order.
        class_names: names of the model's outputs. None: the names in the split, and numbers for all other outputs.

    Returns:
        The accuracy, a float in [0, 1]: an `Evaluation`, with `top5`, `loss`, `per_class`, `balanced_accuracy`,
        `confusion`, `calibration_error`, confidence intervals, and the answer for each image. The loss is the mean of
        `-log(probability of the right class)`. An image whose outputs are not finite counts as wrong, with a warning.

    Raises:
        ValueError: the model does not fit the images or classes of the split; `labels` has not one entry for each
            class, or an index that the model's output does not have; or a file is not a readable image.
        TypeError: `labels` has an entry that is not an integer, or `split` is something else.

    Example:
        >>> import keras_resnet as kr
        >>> digits = kr.data.load("digits", "test")
        >>> found = kr.evaluation.evaluate(kr.ResNet20(input_shape=(8, 8, 1)), digits)
        >>> 0 <= found <= found.top5 <= 1
        True
        >>> found.confusion.shape
        (10, 10)
    """
    size = square_side(model)
    count = output_count(model) if labels is None else len(integers("labels", labels, minimum=0))
    split = in_channels_of(model, as_split("split", split, numbered(count)))
    output_of_class = outputs(model, split, labels)
    probabilities = probabilities_of(model)
    parts, worst = [], Worst()
    with name_corrupt_files(split), without_xla(model):
        for numbers, images, classes in numbered_pipeline(split, size, batch_size, resize).as_numpy_iterator():
            # Under a MirroredStrategy each device predicts the whole batch, and the predictions are concatenated.
            scores = outputs_for(model, images)[: len(images)]
            right = output_of_class[classes]
            finite = np.isfinite(scores.max(-1))  # logits of -inf are probabilities of 0
            best, values, losses = _best(np.where(finite[:, None], scores, 0), probabilities, right)
            # Of NaN the first class would be the best one, and it may be right.
            best[~finite], values[~finite], losses[~finite] = NO_ANSWER, np.nan, -np.log(SMALLEST)
            worst.look_at(images, losses, best[:, 0] != right)
            parts.append((numbers, right, best, values, losses))
    if not parts:
        raise ValueError(f"split must have at least one readable image. Received: {split}, all of them corrupt")
    numbers, right, best, values, losses = map(np.concatenate, zip(*parts, strict=True))
    classes = _names(model, split, output_of_class, class_names)
    answers = Answers(classes, split.names_of(numbers), right, best, values, losses)
    if bad := np.flatnonzero(answers.not_finite).tolist():
        log.warning(
            "%s of %s images, the first is %s: the outputs of the network are not finite (NaN or infinity); they count "
            "as wrong",
            *(f"{len(bad):,}", f"{len(numbers):,}", printable(answers.names[bad[0]])),
        )
    return Evaluation(answers, worst.mistakes)


def evaluate_by_name(
    model: keras.Model, split: Split, aliases: Sequence[tuple[str, ...]], resize: Resize
) -> Evaluation:
    """`evaluate` for images of all or some of a model's classes, in any order: classes are found by their names.

    Args:
        model: as in `evaluate`.
        split: the images.
        aliases: for each output of the model its names, the one to show first. (): they are not known, and the images
            must have as many classes, in the same order.
        resize: as in `evaluate`.

    Raises:
        ValueError: a class of the images is not one of the model's; and as in `evaluate`.
    """
    labels, shown = labels_by_name(model, split, aliases), [names[0] for names in aliases]
    return evaluate(model, split, resize=resize, labels=labels, class_names=shown or None)


def labels_by_name(model: keras.Model, split: Split, aliases: Sequence[tuple[str, ...]]) -> list[int] | None:
    """The argument `labels` of `evaluate`. It makes the checks of `evaluate` that read no image.

    Args:
        model, split, aliases: as in `evaluate_by_name`.

    Raises:
        ValueError: the model does not fit the images or their classes.
    """
    square_side(model)
    labels = class_indices(split.classes, aliases) if aliases else None
    outputs(model, in_channels_of(model, split), labels)
    return labels


class Worst:
    """Collects the images with the largest losses of wrong answers, batch by batch."""

    def __init__(self) -> None:
        self._found: list[tuple[float, int, np.ndarray]] = []
        self._seen = 0

    def look_at(self, images: np.ndarray, losses: np.ndarray, wrong: np.ndarray) -> None:
        """Takes a batch: pixels, uint8 (N, H, W, C), losses (N,), and which answers are wrong, booleans (N,)."""
        for row in np.flatnonzero(wrong):
            if len(self._found) < MISTAKES or losses[row] > self._found[-1][0]:
                self._found.append((float(losses[row]), self._seen + int(row), images[row].copy()))
                self._found = sorted(self._found, key=lambda entry: -entry[0])[:MISTAKES]
        self._seen += len(images)

    @property
    def mistakes(self) -> tuple[Mistake, ...]:
        """The mistakes, the largest loss first."""
        return tuple(Mistake(index, image) for _, index, image in self._found)


def _best(
    scores: np.ndarray, probabilities_of: Callable[[np.ndarray], np.ndarray], right: np.ndarray
) -> tuple[np.ndarray, ...]:
    """The classes with the highest scores, their probabilities, and the cross-entropy, for each image of a batch."""
    best = np.argsort(-scores, axis=-1, kind="stable")[:, :BEST]  # of equal scores the first one, as in argmax
    rows, probabilities = np.arange(len(scores)), np.clip(probabilities_of(scores), 0, 1)
    losses = -np.log(np.maximum(probabilities[rows, right], SMALLEST))
    return best, probabilities[rows[:, None], best], losses


def _names(
    model: keras.Model, split: Split, output_of_class: np.ndarray, class_names: Sequence[str] | None
) -> tuple[str, ...]:
    """Names of the outputs of a model."""
    names = list(numbered(output_count(model)) if class_names is None else map(str, class_names))
    if len(names) != output_count(model):
        raise ValueError(
            f"class_names must have a name for each of the model's {output_count(model)} outputs. "
            f"Received: {len(names)} names"
        )
    if class_names is None:
        for index, name in zip(output_of_class, split.classes, strict=True):
            names[index] = str(name)
    return tuple(names)


def output_count(model: keras.Model) -> int:
    """Number of outputs of a model, which are its classes.

    Raises:
        TypeError: the model is neither functional nor sequential, or its input is not known.
        ValueError: the output is not (N, classes).
    """
    shapes = [tensor.shape for tensor in functional_graph(model).outputs]
    if len(shapes) != 1 or len(shapes[0]) != 2 or not shapes[0][1]:
        raise ValueError(f"model must have one output (N, classes). Received: a model with the outputs {shapes}")
    return shapes[0][1]


def in_channels_of(model: keras.Model, split: Split) -> Split:
    """The split with the number of channels that the model takes: a model of one channel reads color files in gray.

    Args:
        model: a model that takes images (N, H, W, C).
        split: the images.

    Raises:
        ValueError: the images are pixels in memory with another number of channels, or Keras is set to
            'channels_first'.
    """
    if keras.config.image_data_format() != "channels_last":
        raise ValueError(
            "keras.config.image_data_format() must be 'channels_last': the pipeline gives images (N, H, W, C). "
            f"Received: {keras.config.image_data_format()!r}"
        )
    try:
        return split.with_channels(functional_graph(model).inputs[0].shape[-1])
    except ValueError as error:
        raise ValueError(
            f"model must take images with {split.channels} channels, as in the split. "
            f"Received: a model with the input shape {model.inputs[0].shape}"
        ) from error


def outputs(model: keras.Model, split: Split, labels: Sequence[int] | None = None) -> np.ndarray:
    """For each class of a split the index of its output in a model.

    Args:
        model: a model with the output (N, classes).
        split: the images and their labels.
        labels: the indices; None: the split has the classes of the model in the same order.

    Returns:
        An integer array (classes of the split,).

    Raises:
        ValueError: the output of the model does not fit the classes of the split or `labels`.
        TypeError: `labels` has an entry that is not an integer.
    """
    count, shape = len(split.classes), model.outputs[0].shape
    if labels is None:
        if shape[1:] != (count,):
            raise ValueError(
                f"model must have an output for each of the {count} classes. "
                f"Received: a model with the output shape {shape}"
            )
        return np.arange(count)
    indices = integers("labels", labels, minimum=0)
    if len(indices) != count:
        raise ValueError(f"labels must have an entry for each of the {count} classes. Received: {len(indices)} entries")
    if len(shape) != 2 or max(indices) >= shape[1]:
        raise ValueError(
            f"labels must be indices of the model's output, which has the shape {shape}. Received: index {max(indices)}"
        )
    return np.array(indices)
