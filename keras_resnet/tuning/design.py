"""Designs and dimensions: a design is one point of a search space, and a dimension is one of its hyperparameters.

A dimension has a list of values, a default that does not change the design, and a function that sets another value in
a design. This module does not import KerasTuner, so other tuners can use the same space.
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
    """A point of a search space.

    Attributes:
        row: the network, as a row of the zoo.
        recipe: the recipe that trains it.
    """

    row: Row
    recipe: Recipe

    def field(self, name: str) -> Any:
        """The value of an argument of `ResNet`: from the row, or the default of `ResNet`."""
        return self.row.fields.get(name, DEFAULTS[name])

    def with_fields(self, **fields: Any) -> Design:
        """A design with other arguments of `ResNet` and the same recipe."""
        row = dataclasses.replace(self.row, fields={**self.row.fields, **fields})
        return dataclasses.replace(self, row=row)

    def with_recipe(self, **fields: Any) -> Design:
        """A design with the same network and other fields of the recipe."""
        return dataclasses.replace(self, recipe=dataclasses.replace(self.recipe, **fields))

    @property
    def cost(self) -> Cost:
        """Parameters and MACs, computed without building the network. Raises a `ValueError` if it cannot be built."""
        return cost(self.row.fields, self.row.fields["input_shape"])


@dataclasses.dataclass(frozen=True)
class Dimension:
    """A hyperparameter.

    Attributes:
        name: name of the hyperparameter.
        values: its possible values; numbers are sorted in ascending order.
        default: the value of the base design, around which the space lies.
        apply: function `(design, value) -> design` that sets a value.
        kind: SIZE: a larger value costs more. FORM: the values have different costs, in no order. TRAINING: all values
            have the same cost.
        given: condition for this dimension: the name of an earlier dimension, and its values for which this one is
            used. None: no condition.
    """

    name: str
    values: tuple[Value, ...]
    default: Value
    apply: Callable[[Design, Any], Design]
    kind: str = TRAINING
    given: tuple[str, tuple[Value, ...]] | None = None

    def is_active(self, values: Mapping[str, Value]) -> bool:
        """Whether this dimension is used if the earlier dimensions have these values."""
        return self.given is None or values.get(self.given[0]) in self.given[1]


def apply_values(base: Design, dimensions: Sequence[Dimension], values: Mapping[str, Value]) -> Design:
    """The design at a point of the space. A dimension without a value, or at its default, changes nothing."""
    design = base
    for dimension in dimensions:
        if values.get(dimension.name, dimension.default) != dimension.default and dimension.is_active(values):
            design = dimension.apply(design, values[dimension.name])
    return design
