"""What a shell completes: names of models and recipes. Keras is not imported, which would take seconds."""

from __future__ import annotations

import importlib.resources
import re

from keras_resnet.training.recipes import RECIPES


def models(incomplete: str) -> list[str]:
    """The names of the zoo's models that begin with what was typed.

    Example:
        >>> from keras_resnet.cli.completion import models
        >>> models("SEResNet5")
        ['SEResNet50']
    """
    # The table of the zoo imports Keras. Each of its rows is a line of its file.
    rows = (importlib.resources.files("keras_resnet") / "zoo.py").read_text(encoding="utf-8")
    names = re.findall(r"^(\w+) = _row\(", rows, re.MULTILINE)
    return [name for name in names if name.startswith(incomplete)]


def recipes(incomplete: str) -> list[str]:
    """The names of the recipes that begin with what was typed."""
    return [name for name in RECIPES if name.startswith(incomplete)]
