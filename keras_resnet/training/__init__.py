"""Training: recipes, the fit itself, and the directory that a run leaves behind."""

from typing import TYPE_CHECKING

from keras_resnet._internal.lazy_names import lazy_names

__all__ = ["RECIPES", "Recipe", "evaluate", "fit"]

if TYPE_CHECKING:
    from keras_resnet.evaluation.accuracy import evaluate
    from keras_resnet.training.fitting import fit
    from keras_resnet.training.recipe import Recipe
    from keras_resnet.training.recipes import RECIPES
else:
    # On first use: `keras-resnet --help` reads the recipes, and must not wait for Keras.
    MODULES = {"RECIPES": "recipes", "Recipe": "recipe", "evaluate": ".evaluation.accuracy", "fit": "fitting"}
    __getattr__, __dir__ = lazy_names(__name__, MODULES)
