"""`HyperResNet`: a KerasTuner search space of residual networks, which are trained with a recipe of this package."""

from __future__ import annotations

import dataclasses
import math
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import keras_tuner
from keras_tuner.src.engine.tuner_utils import SaveBestEpoch

from keras_resnet import zoo
from keras_resnet._internal.validation import integer, integers, number
from keras_resnet.complexity import macs, parameters
from keras_resnet.constructor import constructor
from keras_resnet.data import Split
from keras_resnet.data.as_split import Data
from keras_resnet.training.fitting import as_splits, fit_prepared, prepare_splits
from keras_resnet.training.losses import ACTIVATIONS
from keras_resnet.training.recipe import AUTO, Recipe
from keras_resnet.training.recipes import recipe_named
from keras_resnet.training.resuming import DivergedError
from keras_resnet.tuning.arguments import (
    Images,
    bind,
    check_objective,
    check_reported,
    errors_are_fatal,
    with_checked_arguments,
)
from keras_resnet.tuning.budget import Budget
from keras_resnet.tuning.design import Design, apply_values
from keras_resnet.tuning.feasibility import check_reachable, nearest
from keras_resnet.tuning.latency import latency
from keras_resnet.tuning.persistence import AtomicCheckpoint
from keras_resnet.tuning.source import code
from keras_resnet.tuning.space import dimensions_of

Reward = Callable[[Mapping[str, float]], float]
TUNE = ("depth", "width", "ordering", "stem", "groups", "gate", "drop", "resolution", "optimizer")


class HyperResNet(keras_tuner.HyperModel):
    """Search space of residual networks around a model of the zoo, within a budget: a `keras_tuner.HyperModel`.

    The default of every hyperparameter is the base's value, so the first point of a grid is the base. A point over the
    budget is not built, and its trial does not fail: it stands for the nearest network within the budget, whose sizes
    are reduced step by step until it fits. `design` returns this network; its cost is computed without building it.

    Args:
        input_shape: (H, W, C) of the images; H must equal W.
        classes: number of outputs, at least 2.
        base: a name of `keras_resnet.list_models()`, or a row such as those in `keras_resnet.zoo.ROWS`.
        max_params: largest number of trainable parameters; None: no limit.
        max_macs: largest number of multiply-accumulates for one image; None: no limit.
        tune: names of what is tuned: "depth" and "width" (of each stage), "block" (residual or bottleneck), "ordering",
            "stem", "groups" (of bottleneck blocks, with their width), "gate" (and the ratio of squeeze-and-excitation),
            "drop" (stochastic depth, dropout), "resolution", "optimizer" (and the momentum of sgd), "learning_rate",
            "weight_decay".
        recipe: recipe of the training: a name of `keras_resnet.training.RECIPES`, or a `Recipe`.
        reward: None, or a function of a trial's metrics, for example from `keras_resnet.tuning.mnasnet_reward`. Its
            result is the metric "reward".

    Raises:
        ValueError: a name in `tune`, or the name `base` or `recipe`, is unknown; no point of the space is within the
            budget (the error says what the smallest network costs); the base uses functions from outside this package;
            the recipe has `train_sizes` or `eval_size`, because the space sets the size of the images; or its
            precision is "auto".
        TypeError: an argument has the wrong type.

    Example:
        >>> import keras_resnet as kr, keras_tuner
        >>> space = kr.HyperResNet((28, 28, 1), 10, base="ResNet20", max_macs=20e6, tune=("depth", "width"))
        >>> hp = keras_tuner.HyperParameters()
        >>> kr.macs(space.build(hp)) <= 20e6
        True

        A search is a call as in KerasTuner, with arrays, a `tf.data.Dataset` or a `Split`:

        >>> tuner = kr.tuning.RandomSearch(space, "val_accuracy", max_trials=20)  # doctest: +SKIP
        >>> tuner.search(x, y, validation_data=(xv, yv), epochs=5, batch_size=32)  # doctest: +SKIP
    """

    def __init__(
        self,
        input_shape: Sequence[int],
        classes: int,
        *,
        base: str | zoo.Row = "ResNet50",
        max_params: float | None = None,
        max_macs: float | None = None,
        tune: Sequence[str] = TUNE,
        recipe: str | Recipe = "one_cycle",
        reward: Reward | None = None,
    ) -> None:
        super().__init__()
        self.base = _base(input_shape, classes, base, recipe)
        self.budget = Budget(_limit("max_params", max_params), _limit("max_macs", max_macs))
        self.dimensions = dimensions_of(self.base, tune)
        self.reward = reward
        check_reachable(self.base, self.dimensions, self.budget)
        self._splits: tuple[Images, tuple[Split, Split | None]] | None = None
        self._executions: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()

    @property
    def description(self) -> dict[str, Any]:
        """Describes the search, except for the values of the dimensions, with types that JSON has."""
        return {
            "base": code(self.base.row.fields),
            "recipe": dataclasses.asdict(self.base.recipe),
            "budget": list(self.budget),
            # The name is all that can be stored of the user's own function.
            "reward": getattr(self.reward, "__qualname__", repr(self.reward)),
        }

    def declare_hyperparameters(self, hp: keras_tuner.HyperParameters) -> None:
        """Registers all hyperparameters of the space, conditional ones too."""
        for dimension in self.dimensions:
            parent, values = dimension.given or (None, None)
            hp.Choice(
                dimension.name,
                list(dimension.values),
                default=dimension.default,
                parent_name=parent,
                parent_values=None if values is None else list(values),
            )

    def design(self, hp: keras_tuner.HyperParameters) -> Design:
        """The network and the recipe that a point stands for; nothing is built.

        Args:
            hp: the point, for example `trial.hyperparameters`. A hyperparameter without a value has its default.

        Returns:
            A `Design`. `row` has the arguments of `ResNet`, and the number of parameters and MACs; `recipe` is the
            recipe.

        Raises:
            keras_tuner.errors.FailedTrialError: the argument `hyperparameters` of the tuner allows no network within
                the budget.
        """
        names = {parameter.name for parameter in hp.space}
        if not all(dimension.name in names for dimension in self.dimensions):
            self.declare_hyperparameters(hp)
        values = {dimension.name: hp.get(dimension.name) for dimension in self.dimensions if dimension.name in hp}
        domains = {parameter.name: tuple(parameter.values) for parameter in hp.space}
        allowed_values = nearest(self.base, self.dimensions, values, self.budget, domains)
        if allowed_values is None:
            raise keras_tuner.errors.FailedTrialError(
                f"hyperparameters must allow a network within max_params={self.budget.parameters}, "
                f"max_macs={self.budget.macs}. Received: hyperparameters with the values {domains}; "
                "allow smaller values, or raise the limits"
            )
        design = apply_values(self.base, self.dimensions, allowed_values)
        cost = design.cost
        return dataclasses.replace(
            design, row=dataclasses.replace(design.row, parameters=cost.parameters, macs=cost.macs)
        )

    def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        """Builds the network that a point stands for. The recipe's seed determines the initial weights.

        Args:
            hp: the point.

        Returns:
            A model that is not compiled.

        Raises:
            keras_tuner.errors.FailedTrialError: as in `design`.
        """
        design = self.design(hp)
        keras.utils.set_random_seed(design.recipe.seed + self._executions.get(hp, 0))
        return constructor(design.row.name, "", design.row.fields)()

    @with_checked_arguments
    def fit(
        self,
        hp: keras_tuner.HyperParameters,
        model: keras.Model,
        x: Any = None,
        y: Any = None,
        *,
        validation_data: Data | None = None,
        validation_split: float | None = None,
        batch_size: int | None = None,
        epochs: int | None = None,
        initial_epoch: int = 0,
        callbacks: Sequence[keras.callbacks.Callback] = (),
        verbose: Any = None,
        train: Data | None = None,
        validation: Data | None = None,
    ) -> keras.callbacks.History:
        """Trains a network with the recipe of its point. KerasTuner calls this with the arguments of `tuner.search`.

        Args:
            hp: the point.
            model: the network that `build` returned for this point.
            x: training images: an array (N, H, W, C) of raw pixels, whose labels are `y`; or images with their labels
                in any form that `keras_resnet.training.fit` takes: a `Split`, a `tf.data.Dataset`, a pair (x, y).
            y: labels of `x`: integers (N,) or (N, 1), or one-hot (N, classes). If `x` has labels itself, `y` is the
                validation images.
            validation_data: validation images with their labels, in any form that `keras_resnet.training.fit` takes.
                None: the `validation_split` is held out of `x`.
            validation_split: fraction of `x` to hold out, drawn at random from each class; None: the recipe's.
            batch_size: images per step; None: the recipe's. A dataset in batches is put into batches anew.
            epochs: number of epochs; None: the recipe's. Hyperband sets it.
            initial_epoch: number of epochs for which the model is trained already. The training lasts for the
                remaining epochs, and the schedule of the learning rate starts again. Hyperband sets it.
            callbacks: Keras callbacks. The checkpoint callback of KerasTuner saves the network at the end of training.
            verbose: not used; `tuner.search` passes it.
            train: another name of `x`.
            validation: another name of `validation_data`.

        Returns:
            A history with one value for each metric: accuracy, loss, val_accuracy and val_loss of the resulting
            network, "parameters", "macs", "latency" (milliseconds for one image, the shortest of ten predictions on
            this machine), "seconds" (of training), and "reward", if the space has a reward.

        Raises:
            keras_tuner.errors.FailedTrialError: the loss is no longer a finite number, or the reward is none.
            keras_tuner.errors.FatalValueError: the images do not fit the space; there are no validation images and
                the recipe has no `validation_split`; or no trial reports the objective.
            keras_tuner.errors.FatalTypeError: an argument is unknown or has the wrong type.
        """
        given = Images(x, y, validation_data, train, validation)
        recipe, rest, held_out = self._prepare(hp, model, given, validation_split, batch_size, epochs, initial_epoch)
        self._executions[hp] = self._executions.get(hp, 0) + 1
        checkpoints = [callback for callback in callbacks if isinstance(callback, SaveBestEpoch)]
        others = [callback for callback in callbacks if callback not in checkpoints]
        for checkpoint in checkpoints:
            check_objective(checkpoint.objective, others, self.reward is not None)
        try:
            result = fit_prepared(model, recipe, rest, held_out, others)
        except DivergedError as error:
            raise keras_tuner.errors.FailedTrialError(str(error)) from error
        epoch = (result.best_epoch or len(result.history["loss"])) - 1
        metrics = {name: values[epoch] for name, values in result.history.items()}
        metrics |= {
            "parameters": float(parameters(model.layers)),
            "macs": float(macs(model)),
            "latency": 1000 * latency(model),
            "seconds": result.seconds,
        }
        if self.reward is not None:
            metrics["reward"] = _reward(self.reward, metrics)
        for checkpoint in checkpoints:
            check_reported(checkpoint.objective, tuple(metrics))
            # Saved once at the end: only now the model has the moving average, or the weights of the best epoch.
            checkpoint.set_model(AtomicCheckpoint(model))
            checkpoint.on_epoch_end(epoch, metrics)
        # KerasTuner computes the sum of several objectives only if it gets a history, not a dictionary.
        history = keras.callbacks.History()
        history.history = {name: [value] for name, value in metrics.items()}
        return history

    def check_search(self, objective: keras_tuner.Objective, *arguments: Any, **options: Any) -> None:
        """Raises the errors that each trial of a search would raise. The tuners call it before the first trial.

        Args:
            objective: the objective of the tuner.
            arguments, options: the arguments of `tuner.search`.

        Raises:
            keras_tuner.errors.FatalError: as `fit`.
        """
        given = bind(self.fit, None, None, *arguments, **options).arguments
        if getattr(self.fit, "__func__", None) is not HyperResNet.fit:
            return  # a `fit` of the user's own may report other metrics, and read other images
        check_objective(objective, given["callbacks"], self.reward is not None)
        self.forget_images()  # arrays may have changed since the last search
        hp = keras_tuner.HyperParameters()
        images = Images(*(given[name] for name in Images._fields))
        settings = (given[name] for name in ("validation_split", "batch_size", "epochs", "initial_epoch"))
        self._prepare(hp, self.build(hp), images, *settings)

    def forget_images(self) -> None:
        """Forgets the images of a search, which are kept from one trial to the next."""
        self._splits = None

    def _prepare(
        self,
        hp: keras_tuner.HyperParameters,
        model: keras.Model,
        given: Images,
        validation_split: float | None,
        batch_size: int | None,
        epochs: int | None,
        initial_epoch: int,
    ) -> tuple[Recipe, Split, Split | None]:
        """The recipe of an execution of a trial, and its images; an error ends the search."""
        with errors_are_fatal():
            changes: dict[str, Any] = {"validation_split": validation_split, "batch_size": batch_size}
            if epochs is not None:
                integer("epochs", epochs)
                changes |= {"epochs": max(1, epochs - integer("initial_epoch", initial_epoch, 0)), "iterations": 0}
            recipe = self.design(hp).recipe
            # If a trial is executed several times, each execution has another seed.
            changes["seed"] = recipe.seed + self._executions.get(hp, 0)
            recipe = dataclasses.replace(recipe, **{k: value for k, value in changes.items() if value is not None})
            train, validation = self._read(given)
            if validation is None and not recipe.validation_split:
                raise ValueError(
                    "validation must be images if the recipe has no validation_split. "
                    f"Received: validation=None, validation_split={recipe.validation_split}"
                )
            return recipe, *prepare_splits(model, recipe, train, validation)

    def _read(self, given: Images) -> tuple[Split, Split | None]:
        """The images as splits. They are kept for the next trials: to count a dataset is to read it."""
        if self._splits is None or any(old is not new for old, new in zip(self._splits[0], given, strict=True)):
            self._splits = given, as_splits(*given.pair(), self.base.field("classes"))
        return self._splits[1]


def _reward(reward: Reward, metrics: Mapping[str, float]) -> float:
    """The reward of a trial, a finite number."""
    try:
        value = float(reward(metrics))
    except (KeyError, TypeError, ValueError) as error:
        raise keras_tuner.errors.FatalValueError(
            f"reward must be a function of the metrics {', '.join(metrics)} that returns a number. "
            f"Received: {type(error).__name__}: {error}"
        ) from error
    if not math.isfinite(value):
        raise keras_tuner.errors.FailedTrialError(f"reward must return a finite number. Received: {value}")
    return value


def _base(input_shape: Sequence[int], classes: int, base: str | zoo.Row, recipe: str | Recipe) -> Design:
    shape = integers("input_shape", input_shape)
    if len(shape) != 3 or shape[0] != shape[1]:
        raise ValueError(f"input_shape must be (side, side, channels). Received: input_shape={tuple(input_shape)}")
    row = zoo.row_of(base) if isinstance(base, str) else base
    if not isinstance(row, zoo.Row):
        raise TypeError(
            "base must be a name of keras_resnet.list_models(), or a row such as those in keras_resnet.zoo.ROWS. "
            f"Received: base={base!r}"
        )
    recipe = recipe_named(recipe)
    if recipe.train_sizes or recipe.eval_size:
        raise ValueError(
            "recipe must have no train_sizes and no eval_size, because input_shape sets the size of the images. "
            f"Received: train_sizes={recipe.train_sizes}, eval_size={recipe.eval_size}"
        )
    if recipe.precision == AUTO:
        raise ValueError(
            "precision must be float32, bfloat16 or float16 in a search, so that all its networks compute alike on all "
            "its machines; a training of the base network with precision='auto' says which is the quickest. "
            "Received: a recipe with precision='auto'"
        )
    rates = {"stochastic_depth": recipe.stochastic_depth, "drop_rate": recipe.drop_rate}
    design = Design(row, recipe).with_fields(
        input_shape=shape,
        default_size=shape[0],
        classes=integer("classes", classes, minimum=2),
        classifier_activation=ACTIVATIONS[recipe.loss],
        **{name: value for name, value in rates.items() if value},  # otherwise the values of the row
    )
    cost = design.cost
    return dataclasses.replace(design, row=dataclasses.replace(design.row, parameters=cost.parameters, macs=cost.macs))


def _limit(name: str, value: float | None) -> int | None:
    """A limit as an integer; the user can give it as a float, for example 50e6."""
    return None if value is None else int(number(name, value, "[1, inf)"))
