"""Training: recipes, `fit`, and run directories with the results."""

from typing import TYPE_CHECKING

from keras_resnet._internal.lazy_names import lazy_names

__all__ = ["RECIPES", "ProgressBar", "Recipe", "Run", "Task", "evaluate", "find_rate", "fit", "load_run", "train"]

if TYPE_CHECKING:
    from keras_resnet.evaluation.accuracy import evaluate
    from keras_resnet.training.fitting import fit
    from keras_resnet.training.progress import ProgressBar
    from keras_resnet.training.rate_finder import find_rate
    from keras_resnet.training.recipe import Recipe
    from keras_resnet.training.recipes import RECIPES
    from keras_resnet.training.run import train
    from keras_resnet.training.run_directory import Run, Task, load_run
else:
    # Imported on first use: `keras-resnet --help` reads the recipes, and must not wait for the import of Keras.
    MODULES = {
        "RECIPES": "recipes",
        "ProgressBar": "progress",
        "Recipe": "recipe",
        "Run": "run_directory",
        "Task": "run_directory",
        "evaluate": ".evaluation.accuracy",
        "find_rate": "rate_finder",
        "fit": "fitting",
        "load_run": "run_directory",
        "train": "run",
    }
    __getattr__, __dir__ = lazy_names(__name__, MODULES)
