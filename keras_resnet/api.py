"""The public names beside the zoo's, all in one place; `keras_resnet` hands them out on first use."""

from keras_resnet import gates, layers, orderings, shortcuts, stems, strides
from keras_resnet.blocks import bottleneck_block, residual_block
from keras_resnet.cifar import CifarResNet
from keras_resnet.classes import decode_predictions
from keras_resnet.cost import activations, macs
from keras_resnet.features import pyramid
from keras_resnet.freezing import freeze
from keras_resnet.resnet import ResNet
from keras_resnet.weights import load_weights
from keras_resnet.zoo import create_model, list_models, list_weights

__all__ = [
    "CifarResNet",
    "ResNet",
    "activations",
    "bottleneck_block",
    "create_model",
    "decode_predictions",
    "freeze",
    "gates",
    "layers",
    "list_models",
    "list_weights",
    "load_weights",
    "macs",
    "orderings",
    "pyramid",
    "residual_block",
    "shortcuts",
    "stems",
    "strides",
]
