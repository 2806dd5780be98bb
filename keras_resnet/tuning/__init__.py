"""Searches of depth, width and more around a network of the zoo, within a budget."""

from typing import TYPE_CHECKING

from keras_resnet.lazy import on_first_use

__all__ = [
    "TUNABLES",
    "BayesianOptimization",
    "Finished",
    "GridSearch",
    "HyperResNet",
    "Hyperband",
    "RandomSearch",
    "code",
    "finished",
    "front",
    "join",
    "limited",
]

MODULES = {
    "HyperResNet": "hypermodel",
    "TUNABLES": "space",
    "code": "as_python",
    "limited": "rewards",
    "RandomSearch": "tuners",
    "BayesianOptimization": "tuners",
    "Hyperband": "tuners",
    "GridSearch": "tuners",
    "join": "workers",
    "Finished": "results",
    "finished": "results",
    "front": "results",
}

if TYPE_CHECKING:
    from keras_resnet.tuning.as_python import code
    from keras_resnet.tuning.hypermodel import HyperResNet
    from keras_resnet.tuning.results import Finished, finished, front
    from keras_resnet.tuning.rewards import limited
    from keras_resnet.tuning.space import TUNABLES
    from keras_resnet.tuning.tuners import BayesianOptimization, GridSearch, Hyperband, RandomSearch
    from keras_resnet.tuning.workers import join
else:
    # On first use: KerasTuner takes seconds to import, and is not asked for by those who build a model.
    __getattr__, __dir__ = on_first_use(__name__, MODULES)
