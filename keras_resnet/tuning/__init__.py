"""Architecture search: depth, width and more around a model of the zoo, within a budget of parameters and MACs."""

from typing import TYPE_CHECKING

from keras_resnet._internal.lazy_names import lazy_names

__all__ = [
    "TUNABLES",
    "BayesianOptimization",
    "GridSearch",
    "HyperResNet",
    "Hyperband",
    "RandomSearch",
    "TrialResult",
    "code",
    "join",
    "mnasnet_reward",
    "pareto_front",
    "trial_results",
]

MODULES = {
    "HyperResNet": "hypermodel",
    "TUNABLES": "space",
    "code": "source",
    "mnasnet_reward": "rewards",
    "RandomSearch": "tuners",
    "BayesianOptimization": "tuners",
    "Hyperband": "tuners",
    "GridSearch": "tuners",
    "join": "workers",
    "TrialResult": "results",
    "trial_results": "results",
    "pareto_front": "results",
}

if TYPE_CHECKING:
    from keras_resnet.tuning.hypermodel import HyperResNet
    from keras_resnet.tuning.results import TrialResult, pareto_front, trial_results
    from keras_resnet.tuning.rewards import mnasnet_reward
    from keras_resnet.tuning.source import code
    from keras_resnet.tuning.space import TUNABLES
    from keras_resnet.tuning.tuners import BayesianOptimization, GridSearch, Hyperband, RandomSearch
    from keras_resnet.tuning.workers import join
else:
    # Imported on first use: the import of KerasTuner takes seconds, and a user who only builds models does not need it.
    __getattr__, __dir__ = lazy_names(__name__, MODULES)
