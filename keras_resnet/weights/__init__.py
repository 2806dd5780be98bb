"""Weights: what is published for the zoo's models, and how it comes into them."""

from keras_resnet.weights.load import load_weights
from keras_resnet.weights.table import Checkpoint, find, like
from keras_resnet.weights.tensors import WeightsError

__all__ = ["Checkpoint", "WeightsError", "find", "like", "load_weights"]
