"""Converts the names and layouts of the weights of torchvision's Faster R-CNN to those of our detectors.

It is here, and not in `detection`, because the loader of weights needs it, and imports run one way.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from keras_resnet.weights.tensors import Tensor, WeightsError, changed
from keras_resnet.weights.torch_names import NORM, in_keras_terms

BACKBONE = "backbone.body."
ROI = 7  # bins on a side of the features of a region
# The name of a module and what it is here. Files of torchvision before 0.14 lack the second number.
MODULES = (
    (re.compile(r"backbone\.fpn\.inner_blocks\.(\d)(?:\.(\d))?"), "fpn_inner{}", 2),
    (re.compile(r"backbone\.fpn\.layer_blocks\.(\d)(?:\.(\d))?"), "fpn_outer{}", 2),
    (re.compile(r"rpn\.head\.conv\.(\d)\.(0)"), "rpn_{}", 1),
    (re.compile(r"roi_heads\.box_head\.(\d)\.(\d)"), "box_{}", 1),
)
SINGLE = {
    "rpn.head.conv": "rpn_1_conv",
    "rpn.head.cls_logits": "rpn_logits",
    "rpn.head.bbox_pred": "rpn_codes",
    "roi_heads.box_head.fc6": "box_1_dense",
    "roi_heads.box_head.fc7": "box_2_dense",
    "roi_heads.box_head.5": "box_5_dense",
    "roi_heads.box_predictor.cls_score": "box_logits",
    "roi_heads.box_predictor.bbox_pred": "box_codes",
}
AFTER_FLATTENING = ("box_1_dense", "box_5_dense")  # read the flattened features of a region


def detector_in_keras_terms(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a state dict by `layer/variable`, in Keras' layouts.

    Args:
        tensors: the tensors of a file, by their names in torch.

    Returns:
        The tensors by the names of our detectors. A name that is not known stays as it is, and so do tensors that have
        Keras' names already.

    Raises:
        WeightsError: two names mean the same variable.
    """
    if any("/" in name for name in tensors):
        return dict(tensors)
    backbone = {name.removeprefix(BACKBONE): tensor for name, tensor in tensors.items() if name.startswith(BACKBONE)}
    converted = in_keras_terms(backbone)
    for name, tensor in tensors.items():
        if name.startswith(BACKBONE) or name.endswith("num_batches_tracked"):
            continue
        key = _keras_name(name)
        if key in converted:
            raise WeightsError(f"the file must have one tensor for {key!r}. Received: two, the second is {name!r}")
        converted[key] = _in_keras_layout(key, tensor)
    return converted


def _keras_name(name: str) -> str:
    module, _, variable = name.rpartition(".")
    if module in SINGLE:
        return f"{SINGLE[module]}/{'kernel' if variable == 'weight' else variable}"
    for pattern, template, first in MODULES:
        if match := pattern.fullmatch(module):
            layer = template.format(int(match[1]) + first)
            if match[2] == "1":
                return f"{layer}_bn/{NORM.get(variable, variable)}"
            return f"{layer}_conv/{'kernel' if variable == 'weight' else variable}"
    return name


def _in_keras_layout(key: str, tensor: Tensor) -> Tensor:
    shape, (layer, _, variable) = tensor.shape, key.partition("/")
    if variable != "kernel" or len(shape) not in (2, 4):
        return tensor
    if len(shape) == 4:
        return changed(tensor, lambda values: values.transpose(2, 3, 1, 0), (shape[2], shape[3], shape[1], shape[0]))
    if layer in AFTER_FLATTENING and shape[1] % ROI**2 == 0:

        def channels_last(values: np.ndarray) -> np.ndarray:
            """From channel, row, column to row, column, channel."""
            return values.reshape(shape[0], -1, ROI, ROI).transpose(2, 3, 1, 0).reshape(-1, shape[0])

        return changed(tensor, channels_last, (shape[1], shape[0]))
    return changed(tensor, lambda values: values.T, (shape[1], shape[0]))
