"""Export: what servers and other engines take."""

from keras_resnet.export import kit
from keras_resnet.export.folding import fold_batch_norm
from keras_resnet.export.formats import litert, onnx, openvino
from keras_resnet.export.saved_model import saved_model

__all__ = ["fold_batch_norm", "kit", "litert", "onnx", "openvino", "saved_model"]
