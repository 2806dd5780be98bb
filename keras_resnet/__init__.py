"""Residual networks for Keras 3: `import keras_resnet as kr; kr.ResNet50()`.

Names are imported on first use. So `keras-resnet --help` answers at once, and a program that only builds models does
not import the libraries for data and plots.
"""

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# By public name, the module that defines it; "" if the name is a module itself. The zoo's models are in `zoo.ROWS`.
MODULES = {
    "CifarResNet": "cifar",
    "HyperResNet": "tuning",
    "ResNet": "resnet",
    "activations": "complexity",
    "bottleneck_block": "blocks",
    "create_model": "zoo",
    "data": "",
    "decode_predictions": "classes",
    "detection": "",
    "evaluation": "",
    "explain": "",
    "export": "",
    "freeze": "stages",
    "gates": "",
    "layers": "",
    "list_models": "zoo",
    "list_weights": "zoo",
    "load_weights": "weights",
    "macs": "complexity",
    "orderings": "",
    "plot_architecture": "plots",
    "preprocess_input": "inputs",
    "pyramid": "stages",
    "residual_block": "blocks",
    "shortcuts": "",
    "stage_table": "stages",
    "stems": "",
    "strides": "",
    "training": "",
    "tuning": "",
    "weights": "",
}

if TYPE_CHECKING:
    from keras_resnet import data as data
    from keras_resnet import detection as detection
    from keras_resnet import evaluation as evaluation
    from keras_resnet import explain as explain
    from keras_resnet import export as export
    from keras_resnet import gates as gates
    from keras_resnet import layers as layers
    from keras_resnet import orderings as orderings
    from keras_resnet import shortcuts as shortcuts
    from keras_resnet import stems as stems
    from keras_resnet import strides as strides
    from keras_resnet import training as training
    from keras_resnet import tuning as tuning
    from keras_resnet import weights as weights
    from keras_resnet.blocks import bottleneck_block as bottleneck_block
    from keras_resnet.blocks import residual_block as residual_block
    from keras_resnet.cifar import CifarResNet as CifarResNet
    from keras_resnet.classes import decode_predictions as decode_predictions
    from keras_resnet.complexity import activations as activations
    from keras_resnet.complexity import macs as macs
    from keras_resnet.inputs import preprocess_input as preprocess_input
    from keras_resnet.plots import plot_architecture as plot_architecture
    from keras_resnet.resnet import ResNet as ResNet
    from keras_resnet.stages import freeze as freeze
    from keras_resnet.stages import pyramid as pyramid
    from keras_resnet.stages import stage_table as stage_table
    from keras_resnet.tuning import HyperResNet as HyperResNet
    from keras_resnet.weights import load_weights as load_weights
    from keras_resnet.zoo import *  # noqa: F403
else:

    def __getattr__(name: str) -> Any:
        if MODULES.get(name):
            return getattr(importlib.import_module(f"{__name__}.{MODULES[name]}"), name)
        if not name.startswith("_"):
            # Modules come before the zoo: the package's own files import them while the zoo is being loaded.
            if importlib.util.find_spec(f"{__name__}.{name}"):
                return importlib.import_module(f"{__name__}.{name}")
            zoo = importlib.import_module("keras_resnet.zoo")
            if name in zoo.ROWS:
                return getattr(zoo, name)
        if name == "__all__":
            return sorted([*MODULES, *importlib.import_module("keras_resnet.zoo").ROWS])
        if name.startswith("_"):
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        nearest = importlib.import_module("keras_resnet._internal.validation").nearest
        hint = nearest(name, __getattr__("__all__"))
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}.{hint}")

    def __dir__() -> list[str]:
        return __getattr__("__all__")
