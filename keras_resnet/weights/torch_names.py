"""Converts the names and layouts of a residual network's weights in PyTorch to those in Keras.

It knows the state dicts of torchvision, of timm's `resnet` and `resnetv2`, and of CIFAR networks that follow the code
of kuangliu or akamaster.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from keras_resnet.stages import CLASSIFIER, POST, block_name
from keras_resnet.weights.conversion import fold_biases
from keras_resnet.weights.tensors import Tensor, WeightsError, reshaped, transposed

BLOCK = re.compile(r"layer(\d+)\.(\d+)\.(.+)|stages\.(\d+)\.blocks\.(\d+)\.(.+)")
IN_BLOCK = (  # the name after the block's prefix, and the name in Keras; `{}` is the text of the pattern's group
    (re.compile(r"(?:conv|bn)(\d)"), "{}"),
    (re.compile(r"norm(\d)"), "norm{}"),
    (re.compile(r"(?:downsample|shortcut)\.(?:\d+|conv|norm)"), "0"),
    (re.compile(r"se\.fc1"), "se_reduce"),
    (re.compile(r"se\.fc2"), "se_expand"),
    (re.compile(r"se\.conv"), "eca"),
)
OUTSIDE = {
    "conv1": "conv1",
    "bn1": "conv1",
    "stem.conv": "conv1",
    # A deep stem is a Sequential in timm's resnet, and layers with numbered names in its resnetv2.
    "conv1.0": "conv1_1",
    "conv1.1": "conv1_1",
    "conv1.3": "conv1_2",
    "conv1.4": "conv1_2",
    "conv1.6": "conv1",
    "stem.conv1": "conv1_1",
    "stem.norm1": "conv1_1",
    "stem.conv2": "conv1_2",
    "stem.norm2": "conv1_2",
    "stem.conv3": "conv1",
    "maxpool.0": "pool1",
    "maxpool.1": "pool1",
    "norm": POST,
}
# The classifier: in torchvision and timm, kuangliu and akamaster, timm's v2, and programs with a network as a part.
HEADS = ("fc", "linear", "head.fc", "head", "classifier", "last_linear")
COUNTERS = ("num_batches_tracked", "n_averaged")  # of batch norms, and of torch's AveragedModel
NORM = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}
OLD_HEADS = ("probs", "fc1000")
# Layers with a kernel and a bias. In other layers a bias belongs to a batch norm or is folded into one.
WITH_BIAS = (CLASSIFIER, "_se_reduce", "_se_expand")


def in_keras_terms(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a state dict by `layer/variable`, in Keras' layouts.

    Tensors that have Keras' names already stay as they are. A name that is not known stays too; `match_tensors` raises
    an error with it.

    Raises:
        WeightsError: two names mean the same variable.
    """
    if any("/" in name for name in tensors):
        if len(renamed := {_renamed(name): tensor for name, tensor in tensors.items()}) < len(tensors):
            raise WeightsError("the file must have one classifier. Received: two, with an old and a new name")
        return renamed
    ranks = {
        name.removesuffix(".weight"): len(tensor.shape) for name, tensor in tensors.items() if name.endswith(".weight")
    }
    head = next(iter(classifiers(tensors)), "")
    converted: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if name.endswith(COUNTERS):
            continue
        key = _keras_name(name, ranks, head)
        if key in converted:
            raise WeightsError(f"the file must have one tensor for {key!r}. Received: two, the second is {name!r}")
        converted[key] = _in_keras_layout(key, tensor)
    return fold_biases(converted)


def classifiers(names: Iterable[str]) -> list[str]:
    """The modules of a state dict that have usual names of a classifier; the first one is that of the network."""
    found = set(names)
    return [module for module in HEADS if f"{module}.weight" in found]


def _renamed(name: str) -> str:
    """The current name of a classifier that older versions of keras-applications called `probs` or `fc1000`."""
    layer, _, variable = name.rpartition("/")
    return f"{CLASSIFIER}/{variable}" if layer in OLD_HEADS else name


def _keras_name(name: str, ranks: Mapping[str, int], head: str) -> str:
    """`layer/variable` for a name in PyTorch, or `name` itself if it is not known.

    `ranks` has the rank of each module's weight; the weight of a batch norm has rank 1. `head` is the classifier.
    """
    module, _, variable = name.rpartition(".")
    layer = CLASSIFIER if head and module == head else _keras_layer(module)
    if layer is None:
        return name
    if layer.endswith(WITH_BIAS):
        return f"{layer}/{'kernel' if variable == 'weight' else variable}"
    if ranks.get(module) == 1 and variable in NORM:
        return f"{layer}_bn/{NORM[variable]}"
    return f"{layer}_conv/{'kernel' if variable == 'weight' else variable}"


def _keras_layer(module: str) -> str | None:
    if module in OUTSIDE:
        return OUTSIDE[module]
    match = BLOCK.fullmatch(module)
    if match is None:
        return None
    is_v1 = match[1] is not None
    stage, block, rest = match.groups()[:3] if is_v1 else match.groups()[3:]
    # Blocks are counted from 0 in PyTorch, and so are the stages in timm's v2. In Keras the first stage is conv2.
    prefix = block_name(int(stage) + (1 if is_v1 else 2), int(block) + 1) + "_"
    for pattern, template in IN_BLOCK:
        if part := pattern.fullmatch(rest):
            return prefix + _part_in_keras(template.format(*part.groups()))
    return None


def _part_in_keras(part: str) -> str:
    """In a pre-activation block `norm1` is before the first convolution ("preact"), and `norm2` after it ("1")."""
    if not part.startswith("norm"):
        return part
    number = int(part.removeprefix("norm")) - 1
    return str(number) if number else "preact"


def _in_keras_layout(key: str, tensor: Tensor) -> Tensor:
    rank = len(tensor.shape)
    if rank == 4:  # PyTorch has filters and channels first, Keras has them last
        tensor = transposed(tensor, (2, 3, 1, 0))
        if key == f"{CLASSIFIER}/kernel" and tensor.shape[:2] == (1, 1):  # in timm's v2 the head is a 1x1 convolution
            tensor = reshaped(tensor, tensor.shape[2:])
    elif rank in (2, 3):
        tensor = transposed(tensor, tuple(reversed(range(rank))))
    return tensor
