"""Writes a network as a line of Python that builds it again."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from keras_resnet.resnet import DEFAULTS

IMPORTS = "import functools, keras_resnet as kr"
PUBLIC = ("gates", "layers", "shortcuts", "stems", "strides")  # modules that are attributes of `kr`


def code(fields: Mapping[str, Any]) -> str:
    """The call of `kr.ResNet` that builds a network. It runs after the line `import functools, keras_resnet as kr`.

    Args:
        fields: arguments of `ResNet` by name, for example `fields` of a row of the zoo. Arguments that have the default
            value are left out.

    Returns:
        One line of Python.

    Example:
        >>> from keras_resnet import zoo
        >>> from keras_resnet.tuning.source import code
        >>> code(zoo.ROWS["ResNeXt50_32x4d"].fields)
        'kr.ResNet(depths=(3, 4, 6, 3), groups=32, base_width=4)'
    """
    arguments = {name: fields[name] for name in DEFAULTS if name in fields}
    arguments = {name: value for name, value in arguments.items() if name == "depths" or value != DEFAULTS[name]}
    return f"kr.ResNet({', '.join(f'{name}={_expression(value)}' for name, value in arguments.items())})"


def _expression(value: Any) -> str:
    if isinstance(value, functools.partial):
        options = ", ".join(f"{name}={_expression(option)}" for name, option in value.keywords.items())
        return f"functools.partial({_expression(value.func)}, {options})"
    if callable(value):
        module = value.__module__.rpartition(".")[2]
        return f"kr.{module}.{value.__name__}" if module in PUBLIC else f"kr.{value.__name__}"
    return repr(value)
