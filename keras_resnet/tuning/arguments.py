"""Arguments of `tuner.search`, which KerasTuner passes to `HyperResNet.fit`: mistakes that are the same in each trial.

KerasTuner catches the errors of a trial, and goes on with the next one. Only its own class of fatal errors ends a
search at once.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf
from keras_tuner import Objective
from keras_tuner.errors import FatalError, FatalTypeError, FatalValueError

from keras_resnet._internal.validation import nearest
from keras_resnet.data import Split

METRICS = ("val_accuracy", "val_loss", "accuracy", "loss", "learning_rate", "parameters", "macs", "latency", "seconds")
WITH_KNOWN_LOGS = ("keras", "keras_tuner", "keras_resnet")  # their callbacks log no other metrics
CALLED_BY_KERAS_TUNER = ("hp", "model")  # the user does not give these


class Images(NamedTuple):
    """The images of a search, as the user gave them. `HyperResNet.fit` explains the names."""

    x: Any = None
    y: Any = None
    validation_data: Any = None
    train: Any = None
    validation: Any = None

    def pair(self) -> tuple[Any, Any]:
        """The images for training and for validation, as `keras_resnet.training.fit` takes them.

        Raises:
            TypeError: there are no images for training, or there are images twice.
        """
        train = _only(x=self.x, train=self.train)
        if train is None:
            raise TypeError("x must be images, as in search(x, y) or search(dataset). Received: x=None")
        if self.y is None:
            return train, _only(validation_data=self.validation_data, validation=self.validation)
        if isinstance(train, (Split, tf.data.Dataset, tuple)):  # it has labels, so the second argument is not labels
            return train, _only(y=self.y, validation_data=self.validation_data, validation=self.validation)
        return (train, self.y), _only(validation_data=self.validation_data, validation=self.validation)


def _only(**arguments: Any) -> Any:
    """The one argument that is not None; None if there is none."""
    given = {name: value for name, value in arguments.items() if value is not None}
    if len(given) > 1:
        raise TypeError(
            f"{' and '.join(given)} must not be given together: they are the same images. Received: "
            + ", ".join(f"{name}={type(value).__name__}" for name, value in given.items())
        )
    return next(iter(given.values()), None)


@contextlib.contextmanager
def errors_are_fatal() -> Iterator[None]:
    """Makes a `ValueError` or `TypeError` in the block an error that ends the search."""
    try:
        yield
    except FatalError:
        raise
    except ValueError as error:
        raise FatalValueError(str(error)) from error
    except TypeError as error:
        raise FatalTypeError(str(error)) from error


def with_checked_arguments(fit: Callable[..., Any]) -> Callable[..., Any]:
    """Decorates `fit` of a hypermodel: an argument that it does not have ends the search."""

    @functools.wraps(fit)
    def checked(*arguments: Any, **options: Any) -> Any:
        bind(fit, *arguments, **options)
        return fit(*arguments, **options)

    return checked


def bind(fit: Callable[..., Any], *arguments: Any, **options: Any) -> inspect.BoundArguments:
    """The arguments of a call of `fit` by name, with defaults.

    Raises:
        FatalTypeError: `fit` has no such argument.
    """
    signature = inspect.signature(fit)
    try:
        bound = signature.bind(*arguments, **options)
    except TypeError as error:
        names = [name for name in signature.parameters if name not in ("self", *CALLED_BY_KERAS_TUNER)]
        unknown = [name for name in options if name not in names]
        received = f"{unknown[0]}={options[unknown[0]]!r:.50}" if unknown else str(error)
        hint = nearest(unknown[0], names) if unknown else ""
        raise FatalTypeError(
            f"search must be called with {', '.join(names)}; the recipe of HyperResNet sets everything else.{hint} "
            f"Received: {received}"
        ) from None
    bound.apply_defaults()
    return bound


def callbacks_of(callbacks: Any) -> list[keras.callbacks.Callback]:
    """The callbacks as a list, to which KerasTuner appends its own.

    Raises:
        FatalTypeError: `callbacks` is not None or a sequence of callbacks.
    """
    callbacks = [] if callbacks is None else callbacks
    is_list = isinstance(callbacks, Sequence) and all(isinstance(one, keras.callbacks.Callback) for one in callbacks)
    if not is_list:
        raise FatalTypeError(
            f"callbacks must be a list of Keras callbacks, or None. Received: callbacks={callbacks!r:.100}"
        )
    return list(callbacks)


def check_objective(objective: Objective, callbacks: Iterable[keras.callbacks.Callback], has_reward: bool) -> None:
    """Raises a `FatalValueError` if no trial can report an objective. Callbacks of the user's own may log more metrics.

    Args:
        objective: the tuner's objective.
        callbacks: the callbacks of the search.
        has_reward: whether the hypermodel has a reward.
    """
    if all(type(callback).__module__.partition(".")[0] in WITH_KNOWN_LOGS for callback in callbacks):
        check_reported(objective, (*METRICS, "reward") if has_reward else METRICS)


def check_reported(objective: Objective, names: Sequence[str]) -> None:
    """Raises a `FatalValueError` if an objective is not among the names of the metrics of a trial."""
    for single in getattr(objective, "objectives", [objective]):
        if single.name not in names:
            received = "None" if single.name == "default_objective" else repr(single.name)
            raise FatalValueError(
                f"objective must be a metric of a trial: {', '.join(names)}.{nearest(single.name, names)} "
                f"Received: objective={received}"
            )
