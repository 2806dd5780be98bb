"""keras_resnet: residual networks for Keras 3. `import keras_resnet as kr; kr.ResNet50()`.

Names are loaded on first use, so that the command line answers `--help` at once, and nobody who builds a model waits
for the data and plotting libraries. They are those of `keras_resnet.api`, the rows of `keras_resnet.zoo`, and the
packages `data`, `training`, `export`, `tuning` and `weights`.
"""

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

PACKAGES = ("data", "export", "training", "tuning", "weights")

if TYPE_CHECKING:
    from keras_resnet import data as data
    from keras_resnet import export as export
    from keras_resnet import training as training
    from keras_resnet import tuning as tuning
    from keras_resnet import weights as weights
    from keras_resnet.api import *  # noqa: F403
    from keras_resnet.tuning import HyperResNet as HyperResNet
    from keras_resnet.zoo import *  # noqa: F403
else:

    def __getattr__(name: str) -> Any:
        if not name.startswith("_") and importlib.util.find_spec(f"{__name__}.{name}"):
            # A module as itself: ours import each other by these names while the public ones are still being loaded.
            return importlib.import_module(f"{__name__}.{name}")
        if name == "HyperResNet":  # alone, as it imports KerasTuner
            return importlib.import_module("keras_resnet.tuning").HyperResNet
        if name == "__all__" or not name.startswith("_"):
            api = importlib.import_module("keras_resnet.api")
            zoo = importlib.import_module("keras_resnet.zoo")
            if name == "__all__":
                return [*api.__all__, *zoo.ROWS, "HyperResNet", *PACKAGES]
            for module, names in ((api, api.__all__), (zoo, zoo.ROWS)):
                if name in names:
                    return getattr(module, name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted([*globals(), *__getattr__("__all__")])
