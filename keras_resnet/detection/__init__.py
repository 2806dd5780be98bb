"""Detection: Faster R-CNN on a residual network finds objects and their classes in images."""

from typing import TYPE_CHECKING

from keras_resnet._internal.lazy_names import lazy_names

__all__ = [
    "C4",
    "FPN",
    "FPN_V2",
    "Design",
    "Evaluation",
    "FasterRCNN",
    "Found",
    "Objects",
    "draw",
    "evaluate",
    "find",
    "list_detectors",
    "training_network",
    "write_report",
]

if TYPE_CHECKING:
    from keras_resnet.detection.annotations import Objects
    from keras_resnet.detection.drawing import draw
    from keras_resnet.detection.evaluation import Evaluation, evaluate
    from keras_resnet.detection.faster_rcnn import C4, FPN, FPN_V2, Design, FasterRCNN, training_network
    from keras_resnet.detection.finding import Found, find
    from keras_resnet.detection.report import write_report
    from keras_resnet.detection.rows import list_detectors
else:
    # Imported on first use, as in `keras_resnet.training`.
    MODULES = {
        "C4": "faster_rcnn",
        "FPN": "faster_rcnn",
        "FPN_V2": "faster_rcnn",
        "Design": "faster_rcnn",
        "Evaluation": "evaluation",
        "FasterRCNN": "faster_rcnn",
        "Found": "finding",
        "Objects": "annotations",
        "draw": "drawing",
        "evaluate": "evaluation",
        "find": "finding",
        "list_detectors": "rows",
        "training_network": "faster_rcnn",
        "write_report": "report",
    }
    __getattr__, __dir__ = lazy_names(__name__, MODULES)
