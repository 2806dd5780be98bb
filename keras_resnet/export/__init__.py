"""Export: what a server takes."""

from keras_resnet.export.saved_model import saved_model

__all__ = ["saved_model"]
