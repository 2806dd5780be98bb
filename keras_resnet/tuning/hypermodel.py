"""`HyperResNet`: residual networks as a search space of KerasTuner, trained as this package trains."""

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
from keras_resnet._internal.validation import integer, integers, known
from keras_resnet.complexity import macs, parameters
from keras_resnet.constructor import constructor
from keras_resnet.data import Split
from keras_resnet.evaluation.accuracy import check_channels, outputs
from keras_resnet.training.fitting import fit
from keras_resnet.training.losses import ACTIVATIONS
from keras_resnet.training.recipe import Recipe
from keras_resnet.training.recipes import RECIPES
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
    """Residual networks around one of the zoo, within a budget: a `keras_tuner.HyperModel`.

    Every hyperparameter has the base's value as its default, so that the first point of a grid is the base. A point
    over the budget is not built and fails no trial: it stands for the nearest network within, sizes stepped down until
    it fits. `design` says which, and its cost is known without building it.

    Args:
        input_shape: (H, W, C) of the images, H equal to W.
        classes: outputs, at least 2.
        base: a name of `keras_resnet.list_models()`, or a row such as `keras_resnet.zoo.ROWS` has.
        max_params: most trainable parameters; None: any number.
        max_macs: most multiply-accumulates of one image; None: any number.
        tune: what is tuned, of "depth" and "width" (of each stage), "block" (residual or bottleneck), "ordering",
            "stem", "groups" (of bottleneck blocks, with their width), "gate" (and the ratio of squeeze-and-excitation),
            "drop" (stochastic depth, dropout), "resolution", "optimizer" (and the momentum of sgd), "learning_rate",
            "weight_decay".
        recipe: to train by: a name of `keras_resnet.training.RECIPES`, or a `Recipe`.
        reward: a function of a trial's metrics, for example from `keras_resnet.tuning.soft_constraint`; its result is
            the metric "reward". Or None.

    Raises:
        ValueError: `tune` or `base` names something that there is not; no point of the space is within the budget, and
            the message says what the smallest costs; the base has functions that are not of this package; or the recipe
            has `train_sizes`, as the side is the space's.
        TypeError: an argument is of the wrong type.

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
        """What is searched beside the values of the knobs, as JSON can hold it."""
        return {
            "base": code(self.base.row.fields),
            "recipe": dataclasses.asdict(self.base.recipe),
            "budget": list(self.budget),
            # Of a function of the caller's own the name is all that is known.
            "reward": getattr(self.reward, "__qualname__", repr(self.reward)),
        }

    def declare_hyperparameters(self, hp: keras_tuner.HyperParameters) -> None:
        """Registers the whole space, what is conditional too."""
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
        """The network and the recipe that a point stands for, by arithmetic alone.

        Args:
            hp: of a trial, say; hyperparameters that it has no values for have their defaults.

        Raises:
            keras_tuner.errors.FailedTrialError: the tuner was given `hyperparameters` that leave nothing within the
                budget.
        """
        names = {parameter.name for parameter in hp.space}
        if not all(dimension.name in names for dimension in self.dimensions):
            self.declare_hyperparameters(hp)
        values = {dimension.name: hp.get(dimension.name) for dimension in self.dimensions if dimension.name in hp}
        domains = {parameter.name: tuple(parameter.values) for parameter in hp.space}
        found = nearest(self.base, self.dimensions, values, self.budget, domains)
        if found is None:
            raise keras_tuner.errors.FailedTrialError(
                f"no network within max_params={self.budget.parameters}, max_macs={self.budget.macs} among the values "
                f"that the hyperparameters were left"
            )
        design = apply_values(self.base, self.dimensions, found)
        cost = design.cost
        return dataclasses.replace(
            design, row=dataclasses.replace(design.row, parameters=cost.parameters, macs=cost.macs)
        )

    def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        """The network that a point stands for, built as the zoo builds its own, with weights of the recipe's seed."""
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
        """Trains a network by the point's recipe; `tuner.search` hands on what it is given.

        Args:
            hp: the point.
            model: that `build` made of it.
            train: what to learn from.
            validation: to measure by; None where the recipe holds images out.
            epochs: in place of the recipe's; Hyperband gives them.
            initial_epoch: after so many the training goes on, with weights that the model has; the learning rate
                runs through its schedule again.
            callbacks: of Keras. The checkpoint of KerasTuner is that of the network that the training results in.
            verbose: not used; what `tuner.search` was given.

        Returns:
            One entry a metric: accuracy, loss, val_accuracy and val_loss of the network that resulted, "parameters",
            "macs", "latency" (milliseconds for one image, median of ten on this machine), "seconds" (of training), and
            "reward", where there is one.

        Raises:
            keras_tuner.errors.FailedTrialError: the loss is no finite number any more.
            keras_tuner.errors.FatalValueError: the images do not fit the space, or there is nothing to measure by.
        """
        recipe = self.design(hp).recipe
        if (validation is None) != (recipe.validation_split > 0):
            raise keras_tuner.errors.FatalValueError(
                "validation must be given to search, or the recipe have validation_split, and not both. "
                f"Received: validation={validation and 'given'}, validation_split={recipe.validation_split}"
            )
        try:
            check_channels(model, train)
            outputs(model, train)
        except ValueError as error:
            raise keras_tuner.errors.FatalValueError(str(error)) from error
        execution = self._executions.get(hp, 0)
        self._executions[hp] = execution + 1
        # Of several executions of a trial each has its own randomness.
        recipe = dataclasses.replace(recipe, seed=recipe.seed + execution)
        if epochs is not None:
            recipe = dataclasses.replace(recipe, epochs=max(1, epochs - initial_epoch), iterations=0)
        checkpoints = [callback for callback in callbacks if isinstance(callback, SaveBestEpoch)]
        others = [callback for callback in callbacks if callback not in checkpoints]
        try:
            result = fit(model, recipe, train, validation, others)
        except DivergedError as error:
            raise keras_tuner.errors.FailedTrialError(str(error)) from error
        chosen = (result.best_epoch or len(result.history["loss"])) - 1
        metrics = {name: values[chosen] for name, values in result.history.items()}
        metrics |= {
            "parameters": float(parameters(model.layers)),
            "macs": float(macs(model)),
            "latency": 1000 * latency(model),
            "seconds": result.seconds,
        }
        if self.reward is not None:
            metrics["reward"] = float(self.reward(metrics))
        for checkpoint in checkpoints:
            # Now, not after each epoch: only now has the model its moving average, or the weights of its best epoch.
            checkpoint.set_model(model)
            checkpoint.on_epoch_end(chosen, metrics)
        # KerasTuner adds up several objectives of a history; of a dictionary it does not.
        history = keras.callbacks.History()
        history.history = {name: [value] for name, value in metrics.items()}
        return history


def _base(input_shape: Sequence[int], classes: int, base: str | zoo.Row, recipe: str | Recipe) -> Design:
    shape = integers("input_shape", input_shape)
    if len(shape) != 3 or shape[0] != shape[1]:
        raise ValueError(f"input_shape must be (side, side, channels). Received: input_shape={tuple(input_shape)}")
    row = zoo.row_of(base) if isinstance(base, str) else base
    if not isinstance(row, zoo.Row):
        raise TypeError(f"base must be a name of keras_resnet.list_models() or a row. Received: base={base!r}")
    if isinstance(recipe, str):
        recipe = RECIPES[known("recipe", recipe, RECIPES, "keras_resnet.training.RECIPES")]
    if recipe.train_sizes or recipe.eval_size:
        raise ValueError(
            f"recipe must have no train_sizes and no eval_size. Received: {recipe.train_sizes}, {recipe.eval_size}"
        )
    rates = {"stochastic_depth": recipe.stochastic_depth, "drop_rate": recipe.drop_rate}
    design = Design(row, recipe).with_fields(
        input_shape=shape,
        default_size=shape[0],
        classes=integer("classes", classes, minimum=2),
        classifier_activation=ACTIVATIONS[recipe.loss],
        **{name: value for name, value in rates.items() if value},  # otherwise the row's own
    )
    cost = design.cost
    return dataclasses.replace(design, row=dataclasses.replace(design.row, parameters=cost.parameters, macs=cost.macs))


def _limit(name: str, value: float | None) -> int | None:
    """A budget, which may be typed as 50e6."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be a number or None. Received: {name}={value!r}")
    if not 1 <= value < math.inf:
        raise ValueError(f"{name} must be at least 1. Received: {name}={value!r}")
    return int(value)
