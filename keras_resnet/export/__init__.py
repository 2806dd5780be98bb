"""Export: what a server takes."""

from keras_resnet.export import kit
from keras_resnet.export.folding import fold_batch_norm
from keras_resnet.export.saved_model import saved_model

__all__ = ["fold_batch_norm", "kit", "saved_model"]
