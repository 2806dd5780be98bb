"""Training: recipes, the fit itself, and the directory that a run leaves behind."""

from typing import TYPE_CHECKING

from keras_resnet.lazy import on_first_use

__all__ = ["RECIPES", "Recipe", "evaluate", "fit"]

if TYPE_CHECKING:
    from keras_resnet.training.evaluation import evaluate
    from keras_resnet.training.fitting import fit
    from keras_resnet.training.recipes import RECIPES, Recipe
else:
    # On first use: the command line reads the recipes for its `--help`, which is not to wait for Keras.
    MODULES = {"RECIPES": "recipes", "Recipe": "recipes", "evaluate": "evaluation", "fit": "fitting"}
    __getattr__, __dir__ = on_first_use(__name__, MODULES)
