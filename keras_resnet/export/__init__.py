"""Export: SavedModel for TF Serving, ONNX, OpenVINO IR and LiteRT; a deployment kit and a client of servers."""

from typing import TYPE_CHECKING

from keras_resnet._internal.lazy_names import lazy_names
from keras_resnet.export import kit

__all__ = ["ask", "ask_detector", "fold_batch_norm", "kit", "litert", "onnx", "openvino", "saved_model"]

if TYPE_CHECKING:
    from keras_resnet.export.client import ask, ask_detector
    from keras_resnet.export.folding import fold_batch_norm
    from keras_resnet.export.formats import litert, onnx, openvino
    from keras_resnet.export.serving import saved_model
else:
    # On first use: a program that only asks a server does not import TensorFlow and Keras.
    MODULES = {
        "ask": "client",
        "ask_detector": "client",
        "fold_batch_norm": "folding",
        "litert": "formats",
        "onnx": "formats",
        "openvino": "formats",
        "saved_model": "serving",
    }
    __getattr__, __dir__ = lazy_names(__name__, MODULES)
