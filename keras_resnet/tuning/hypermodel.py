"""`HyperResNet`: a KerasTuner search space of residual networks, which are trained with a recipe of this package."""

from __future__ import annotations

import dataclasses
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
from keras_resnet.training.fitting import fit, prepare_splits
from keras_resnet.training.losses import ACTIVATIONS
from keras_resnet.training.recipe import Recipe
from keras_resnet.training.recipes import recipe_named
from keras_resnet.training.resuming import DivergedError
from keras_resnet.tuning.budget import Budget
from keras_resnet.tuning.design import Design, apply_values
from keras_resnet.tuning.feasibility import check_reachable, nearest
from keras_resnet.tuning.latency import latency
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
            or the recipe has `train_sizes` or `eval_size`, because the space sets the size of the images.
        TypeError: an argument has the wrong type.

    Example:
        >>> import keras_resnet as kr, keras_tuner
        >>> space = kr.HyperResNet((28, 28, 1), 10, base="ResNet20", max_macs=20e6, tune=("depth", "width"))
        >>> hp = keras_tuner.HyperParameters()
        >>> kr.macs(space.build(hp)) <= 20e6
        True
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

    def fit(
        self,
        hp: keras_tuner.HyperParameters,
        model: keras.Model,
        train: Split,
        validation: Split | None = None,
        *,
        epochs: int | None = None,
        initial_epoch: int = 0,
        callbacks: Sequence[keras.callbacks.Callback] = (),
        verbose: Any = None,
    ) -> keras.callbacks.History:
        """Trains a network with the recipe of its point. KerasTuner calls this with the arguments of `tuner.search`.

        Args:
            hp: the point.
            model: the network that `build` returned for this point.
            train: training images.
            validation: validation images; None: the `validation_split` of the recipe is held out of `train`.
            epochs: number of epochs instead of the recipe's; Hyperband sets it.
            initial_epoch: number of epochs for which the model is trained already. The training lasts for the
                remaining epochs, and the schedule of the learning rate starts again. Hyperband sets it.
            callbacks: Keras callbacks. The checkpoint callback of KerasTuner saves the network at the end of training.
            verbose: not used; `tuner.search` passes it.

        Returns:
            A history with one value for each metric: accuracy, loss, val_accuracy and val_loss of the resulting
            network, "parameters", "macs", "latency" (milliseconds for one image, the shortest of ten predictions on
            this machine), "seconds" (of training), and "reward", if the space has a reward.

        Raises:
            keras_tuner.errors.FailedTrialError: the loss is no longer a finite number.
            keras_tuner.errors.FatalValueError: the images do not fit the space; or there are no validation images and
                the recipe has no `validation_split`.
        """
        recipe = self.design(hp).recipe
        if validation is None and not recipe.validation_split:
            raise keras_tuner.errors.FatalValueError(
                "validation must be images if the recipe has no validation_split. "
                f"Received: validation=None, validation_split={recipe.validation_split}"
            )
        execution = self._executions.get(hp, 0)
        self._executions[hp] = execution + 1
        # If a trial is executed several times, each execution has another seed.
        recipe = dataclasses.replace(recipe, seed=recipe.seed + execution)
        if epochs is not None:
            recipe = dataclasses.replace(recipe, epochs=max(1, epochs - initial_epoch), iterations=0)
        try:
            train, validation = prepare_splits(model, recipe, train, validation)
        except ValueError as error:
            raise keras_tuner.errors.FatalValueError(str(error)) from error
        checkpoints = [callback for callback in callbacks if isinstance(callback, SaveBestEpoch)]
        others = [callback for callback in callbacks if callback not in checkpoints]
        try:
            result = fit(model, recipe, train, validation, others)
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
            metrics["reward"] = float(self.reward(metrics))
        for checkpoint in checkpoints:
            # Saved once at the end: only now the model has the moving average, or the weights of the best epoch.
            checkpoint.set_model(model)
            checkpoint.on_epoch_end(epoch, metrics)
        # KerasTuner computes the sum of several objectives only if it gets a history, not a dictionary.
        history = keras.callbacks.History()
        history.history = {name: [value] for name, value in metrics.items()}
        return history


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
