"""Detection: Faster R-CNN on a residual network finds objects and their classes in images."""

from typing import TYPE_CHECKING

from keras_resnet._internal.lazy_names import lazy_names

__all__ = [
    "C4",
    "FPN",
    "FPN_SMALL",
    "FPN_V2",
    "RECIPES",
    "AnnotatedSplit",
    "Design",
    "DetectionRecipe",
    "DetectionRun",
    "DetectionTask",
    "Evaluation",
    "FasterRCNN",
    "Found",
    "Objects",
    "batches_of",
    "create_detector",
    "design_of",
    "draw",
    "evaluate",
    "evaluate_split",
    "evaluation_batches",
    "find",
    "find_in_files",
    "fit",
    "list_detectors",
    "list_weights",
    "load",
    "open_run",
    "openvino",
    "predict",
    "saved_model",
    "train",
    "training_batches",
    "training_network",
    "write_report",
]

if TYPE_CHECKING:
    from keras_resnet.detection.annotations import AnnotatedSplit, Objects
    from keras_resnet.detection.batches import evaluation_batches, training_batches
    from keras_resnet.detection.design import C4, FPN, FPN_SMALL, FPN_V2, Design
    from keras_resnet.detection.drawing import draw
    from keras_resnet.detection.evaluation import Evaluation, evaluate
    from keras_resnet.detection.export import saved_model
    from keras_resnet.detection.faster_rcnn import FasterRCNN, training_network
    from keras_resnet.detection.finding import Found, find, find_in_files
    from keras_resnet.detection.formats import openvino
    from keras_resnet.detection.prediction import evaluate_split, predict
    from keras_resnet.detection.recipe import DetectionRecipe
    from keras_resnet.detection.recipe_batches import batches_of
    from keras_resnet.detection.recipes import RECIPES
    from keras_resnet.detection.report import write_report
    from keras_resnet.detection.rows import create_detector, design_of, list_detectors, list_weights
    from keras_resnet.detection.run import train
    from keras_resnet.detection.run_directory import DetectionRun, DetectionTask, open_run
    from keras_resnet.detection.sources import load
    from keras_resnet.detection.training import fit
else:
    # Imported on first use, as in `keras_resnet.training`.
    MODULES = {
        "AnnotatedSplit": "annotations",
        "C4": "design",
        "Design": "design",
        "DetectionRecipe": "recipe",
        "DetectionRun": "run_directory",
        "DetectionTask": "run_directory",
        "Evaluation": "evaluation",
        "FPN": "design",
        "FPN_SMALL": "design",
        "FPN_V2": "design",
        "FasterRCNN": "faster_rcnn",
        "Found": "finding",
        "Objects": "annotations",
        "RECIPES": "recipes",
        "batches_of": "recipe_batches",
        "create_detector": "rows",
        "design_of": "rows",
        "draw": "drawing",
        "evaluate": "evaluation",
        "evaluate_split": "prediction",
        "evaluation_batches": "batches",
        "find": "finding",
        "find_in_files": "finding",
        "fit": "training",
        "list_detectors": "rows",
        "list_weights": "rows",
        "load": "sources",
        "open_run": "run_directory",
        "openvino": "formats",
        "predict": "prediction",
        "saved_model": "export",
        "train": "run",
        "training_batches": "batches",
        "training_network": "faster_rcnn",
        "write_report": "report",
    }
    __getattr__, __dir__ = lazy_names(__name__, MODULES)
