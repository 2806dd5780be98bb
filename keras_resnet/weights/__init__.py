"""Weights: the table of published weights, and functions that load weight files into models."""

from keras_resnet.weights.load import load_weights
from keras_resnet.weights.table import Checkpoint, find, like
from keras_resnet.weights.tensors import WeightsError

__all__ = ["Checkpoint", "WeightsError", "find", "like", "load_weights"]
