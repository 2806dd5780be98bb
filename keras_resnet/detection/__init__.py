"""Detection: Faster R-CNN on a residual network finds objects and their classes in images."""

from typing import TYPE_CHECKING

from keras_resnet._internal.lazy_names import lazy_names

__all__ = [
    "C4",
    "FPN",
    "FPN_V2",
    "Design",
    "FasterRCNN",
    "Found",
    "create_detector",
    "design_of",
    "find",
    "list_detectors",
    "list_weights",
    "saved_model",
    "training_network",
]

if TYPE_CHECKING:
    from keras_resnet.detection.export import saved_model
    from keras_resnet.detection.faster_rcnn import C4, FPN, FPN_V2, Design, FasterRCNN, training_network
    from keras_resnet.detection.finding import Found, find
    from keras_resnet.detection.rows import create_detector, design_of, list_detectors, list_weights
else:
    # Imported on first use, as in `keras_resnet.training`.
    MODULES = {
        "C4": "faster_rcnn",
        "FPN": "faster_rcnn",
        "FPN_V2": "faster_rcnn",
        "Design": "faster_rcnn",
        "FasterRCNN": "faster_rcnn",
        "Found": "finding",
        "create_detector": "rows",
        "design_of": "rows",
        "find": "finding",
        "list_detectors": "rows",
        "list_weights": "rows",
        "saved_model": "export",
        "training_network": "faster_rcnn",
    }
    __getattr__, __dir__ = lazy_names(__name__, MODULES)
