"""A design, one point of a search, and the knobs that turn it into others.

A knob is one hyperparameter: the values it can have, the one that leaves the design as it is, and the function that
gives a design another. It knows nothing of KerasTuner, so that the same space serves other tuners.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from keras_resnet.complexity import Cost
from keras_resnet.resnet import DEFAULTS, cost
from keras_resnet.training.recipe import Recipe
from keras_resnet.zoo import Row

Value = int | float | str
SIZE, FORM, TRAINING = "size", "form", "training"


@dataclasses.dataclass(frozen=True)
class Design:
    """A point of a space: a row that says everything about the network, and the recipe to train it by."""

    row: Row
    recipe: Recipe

    def field(self, name: str) -> Any:
        """An argument of `ResNet`: the row's, or the default."""
        return self.row.fields.get(name, DEFAULTS[name])

    def with_fields(self, **fields: Any) -> Design:
        """Another network, trained in the same way."""
        row = dataclasses.replace(self.row, fields={**self.row.fields, **fields})
        return dataclasses.replace(self, row=row)

    def with_recipe(self, **fields: Any) -> Design:
        """The same network, trained in another way."""
        return dataclasses.replace(self, recipe=dataclasses.replace(self.recipe, **fields))

    @property
    def cost(self) -> Cost:
        """What the network costs, without building it; a `ValueError` where it could not be built."""
        return cost(self.row.fields, self.row.fields["input_shape"])


@dataclasses.dataclass(frozen=True)
class Dimension:
    """A hyperparameter.

    Attributes:
        name: of the hyperparameter.
        values: that it can have; numbers climb.
        default: the value of the design that the space is around.
        turn: gives a design another value.
        kind: SIZE, where a greater value costs more; FORM, where values differ in cost; TRAINING, where in none.
        given: the name of the knob before it on which this depends, and the values with which it is there; or None.
    """

    name: str
    values: tuple[Value, ...]
    default: Value
    apply: Callable[[Design, Any], Design]
    kind: str = TRAINING
    given: tuple[str, tuple[Value, ...]] | None = None

    def is_active(self, values: Mapping[str, Value]) -> bool:
        """Whether this is there, the knobs before it being set to `values`."""
        return self.given is None or values.get(self.given[0]) in self.given[1]


def apply_values(base: Design, dimensions: Sequence[Dimension], values: Mapping[str, Value]) -> Design:
    """The design at a point of the space; a knob without a value, or at its default, changes nothing."""
    design = base
    for dimension in dimensions:
        if values.get(dimension.name, dimension.default) != dimension.default and dimension.is_active(values):
            design = dimension.apply(design, values[dimension.name])
    return design
