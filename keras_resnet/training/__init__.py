"""Training: recipes, the fit itself, and the directory that a run leaves behind."""

import importlib
from typing import TYPE_CHECKING, Any

__all__ = ["RECIPES", "Recipe", "evaluate", "fit"]

if TYPE_CHECKING:
    from keras_resnet.training.evaluation import evaluate
    from keras_resnet.training.fitting import fit
    from keras_resnet.training.recipes import RECIPES, Recipe
else:
    # On first use: the command line reads the recipes for its `--help`, which is not to wait for Keras.
    MODULES = {"RECIPES": "recipes", "Recipe": "recipes", "evaluate": "evaluation", "fit": "fitting"}

    def __getattr__(name: str) -> Any:
        if name in MODULES:
            return getattr(importlib.import_module(f"{__name__}.{MODULES[name]}"), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted([*globals(), *MODULES])
