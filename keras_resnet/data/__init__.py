"""Images for training and evaluation: where they come from, what happens to them, and batches of them."""

from keras_resnet.data.pipeline import pipeline
from keras_resnet.data.sources import Split, load

__all__ = ["Split", "load", "pipeline"]
