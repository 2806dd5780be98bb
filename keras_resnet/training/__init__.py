"""Training: recipes, the fit itself, and the directory that a run leaves behind."""

from keras_resnet.training.fit import fit
from keras_resnet.training.recipes import RECIPES, Recipe

__all__ = ["RECIPES", "Recipe", "fit"]
