"""Fitting a model to a split by a recipe."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf

from keras_resnet.arguments import integers
from keras_resnet.data import Split, augment, pipeline, steps_per_epoch, train_pipeline
from keras_resnet.data.corrupt import bad_files_named
from keras_resnet.data.decode import to_square
from keras_resnet.data.pipeline import Resize
from keras_resnet.data.train import Augmentation
from keras_resnet.inputs import square_side
from keras_resnet.training.recipes import Recipe


def fit(
    model: keras.Model,
    recipe: Recipe,
    train: Split,
    test: Split | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> keras.callbacks.History:
    """Compiles `model` for a recipe and trains it.

    Nothing is chosen by its test accuracy: the weights of the last epoch are the result.

    Args:
        model: takes square images (N, H, W, C) with fixed sides, and gives probabilities.
        recipe: one of `RECIPES`, or your own.
        train: what to learn from.
        test: evaluated after each epoch, for the curves; or None.
        callbacks: Keras callbacks.

    Returns:
        Keras' history: loss, accuracy, val_loss, val_accuracy by epoch.

    Raises:
        ValueError: the model does not fit the split's images or classes, those are fewer than two, or a file is no
            readable image.

    Example:
        >>> import keras_resnet as kr
        >>> model = kr.ResNet20(input_shape=(32, 32, 1))
        >>> digits = kr.data.load("digits", "train")
        >>> kr.training.fit(model, kr.training.RECIPES["one_cycle"], digits)  # doctest: +SKIP
    """
    if len(train.classes) < 2:
        raise ValueError(f"train must have at least two classes. Received: {train.classes}")
    size = _side(model, train)
    _outputs(model, train)
    keras.utils.set_random_seed(recipe.seed)
    augmentations = _augmentations(recipe, size)
    batches = train_pipeline(train, size, recipe.batch_size, augmentations=augmentations, seed=recipe.seed)
    steps = steps_per_epoch(train, recipe.batch_size)
    checks = None if test is None else pipeline(test, size, recipe.batch_size).map(_one_hot(len(train.classes)))

    model.compile(
        optimizer=_optimizer(model, recipe, steps=recipe.epochs * steps),
        loss=keras.losses.CategoricalCrossentropy(label_smoothing=recipe.label_smoothing),
        metrics=["accuracy"],
        # On TensorFlow's CPU, XLA halves the speed (measured on ResNet-20); JAX always compiles.
        jit_compile="auto" if keras.backend.backend() != "tensorflow" else False,
    )
    with bad_files_named(train, *([test] if test else [])):
        return model.fit(
            batches,
            validation_data=checks,
            epochs=recipe.epochs,
            steps_per_epoch=steps,
            callbacks=list(callbacks),
            verbose=0,
            shuffle=False,
        )


def evaluate(
    model: keras.Model,
    split: Split,
    batch_size: int = 64,
    *,
    resize: Resize = to_square,
    labels: Sequence[int] | None = None,
) -> float:
    """Share of a split's images whose label is the model's first choice (top-1), in [0, 1].

    Args:
        model: as in `fit`; it need not be compiled.
        split: what to look at.
        batch_size: images at a time.
        resize: as in `keras_resnet.data.pipeline`.
        labels: for each class of the split the index of the model's output that stands for it, as
            `keras_resnet.data.sources.class_indices` finds it; the split may have a part of the model's classes, and
            the model chooses among all its own. None: the same classes in the same order.

    Raises:
        ValueError: the model does not fit the split's images or classes, `labels` are not as many as the classes or
            no outputs of the model, or a file is no readable image.
        TypeError: `labels` are no integers.
    """
    size = _side(model, split)
    output_of = _outputs(model, split, labels)
    batches = pipeline(split, size, batch_size, resize=resize)
    with bad_files_named(split):
        right = [
            model.predict_on_batch(images).argmax(axis=-1) == output_of[classes]
            for images, classes in batches.as_numpy_iterator()
        ]
    return float(np.concatenate(right).mean())


def _side(model: keras.Model, split: Split) -> int:
    """The side of the square images that `model` takes; a `ValueError` if those of `split` cannot be."""
    if keras.config.image_data_format() != "channels_last":
        raise ValueError("keras.config.image_data_format() must be 'channels_last': the pipeline gives (N, H, W, C)")
    side = square_side(model)
    if model.inputs[0].shape[-1] != split.channels:
        raise ValueError(f"model must take the images' {split.channels} channels. Received: {model.inputs[0].shape}")
    return side


def _outputs(model: keras.Model, split: Split, labels: Sequence[int] | None = None) -> np.ndarray:
    """For each class of `split` the index of the output that stands for it; a `ValueError` if there is none."""
    count, shape = len(split.classes), model.output.shape
    if labels is None:
        if shape[1:] != (count,):
            raise ValueError(f"model must have an output for each of the {count} classes. Received: {shape}")
        return np.arange(count)
    indices = integers("labels", labels, minimum=0)
    if len(indices) != count:
        raise ValueError(f"labels must have an entry for each of the {count} classes. Received: {len(indices)} entries")
    if len(shape) != 2 or max(indices) >= shape[1]:
        raise ValueError(f"labels must be indices of the model's outputs, {shape}. Received: up to {max(indices)}")
    return np.array(indices)


def _augmentations(recipe: Recipe, size: int) -> tuple[Augmentation, ...]:
    shift: Augmentation = functools.partial(augment.pad_and_crop, pixels=round(recipe.shift * size))
    return (shift,) * (recipe.shift > 0) + (augment.flip,) * recipe.flip


def _one_hot(classes: int) -> Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
    return lambda images, labels: (images, tf.one_hot(labels, classes))


def _optimizer(model: keras.Model, recipe: Recipe, steps: int) -> keras.optimizers.Optimizer:
    warmup = round(recipe.warmup * steps)
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0, decay_steps=steps - warmup, warmup_target=recipe.learning_rate, warmup_steps=warmup
    )
    sgd = keras.optimizers.SGD(schedule, recipe.momentum, nesterov=True, weight_decay=recipe.weight_decay)
    sgd.exclude_from_weight_decay([weight for weight in model.trainable_variables if len(weight.shape) <= 1])
    return sgd
