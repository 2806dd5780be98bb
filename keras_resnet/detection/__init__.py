"""Detection: Faster R-CNN on a residual network finds objects and their classes in images."""

from typing import TYPE_CHECKING

from keras_resnet._internal.lazy_names import lazy_names

__all__ = [
    "C4",
    "FPN",
    "FPN_V2",
    "RECIPES",
    "Design",
    "DetectionRecipe",
    "FasterRCNN",
    "Found",
    "find",
    "fit",
    "list_detectors",
    "training_network",
]

if TYPE_CHECKING:
    from keras_resnet.detection.faster_rcnn import C4, FPN, FPN_V2, Design, FasterRCNN, training_network
    from keras_resnet.detection.finding import Found, find
    from keras_resnet.detection.recipe import DetectionRecipe
    from keras_resnet.detection.recipes import RECIPES
    from keras_resnet.detection.rows import list_detectors
    from keras_resnet.detection.training import fit
else:
    # Imported on first use, as in `keras_resnet.training`.
    MODULES = {
        "C4": "faster_rcnn",
        "FPN": "faster_rcnn",
        "FPN_V2": "faster_rcnn",
        "RECIPES": "recipes",
        "Design": "faster_rcnn",
        "DetectionRecipe": "recipe",
        "FasterRCNN": "faster_rcnn",
        "Found": "finding",
        "find": "finding",
        "fit": "training",
        "list_detectors": "rows",
        "training_network": "faster_rcnn",
    }
    __getattr__, __dir__ = lazy_names(__name__, MODULES)
