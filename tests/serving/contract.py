"""The contract with clients: names, types and shapes of the inputs and outputs of each signature.

`python -m tests.serving.contract` writes the file again.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

import keras_resnet as kr
from tests.serving.c_api import Model

COMMAND = "python -m tests.serving.contract"
PATH = Path(__file__).parent.parent / "golden" / "wire.json"


def contract(signatures: Mapping[str, Any]) -> str:
    """The contract as JSON, with one line per tensor."""
    lines = []
    for name in sorted(set(signatures) - {"__saved_model_init_op"}):
        for side in ("inputs", "outputs"):
            for tensor, info in sorted(getattr(signatures[name], side).items()):
                shape = [dim.size for dim in info.tensor_shape.dim]
                lines.append(json.dumps([name, side, tensor, tf.as_dtype(info.dtype).name, shape]))
    return "[\n" + ",\n".join(lines) + "\n]\n"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        PATH.write_text(contract(Model(kr.export.saved_model(kr.ResNet20(), folder, explain=True)).signatures))
    print(PATH)
