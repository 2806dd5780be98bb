"""keras_resnet: residual networks for Keras 3. `import keras_resnet as kr; kr.ResNet50()`.

Names are loaded on first use, so that the command line answers `--help` at once, and nobody who builds a model waits
for the data and plotting libraries. The names themselves are listed in `keras_resnet.api`.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from keras_resnet import data as data
    from keras_resnet import export as export
    from keras_resnet import training as training
    from keras_resnet.api import *  # noqa: F403

SUBPACKAGES = ("data", "export", "training")


def __getattr__(name: str) -> Any:
    if name in SUBPACKAGES:
        return importlib.import_module(f"keras_resnet.{name}")
    if name.startswith("__") and name != "__all__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    api = importlib.import_module("keras_resnet.api")
    if name == "__all__":
        return [*api.__all__, *SUBPACKAGES]
    if name not in api.__all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(api, name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__getattr__("__all__")])
