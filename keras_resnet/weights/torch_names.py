"""torch's names and layouts of a residual network's weights, in Keras' terms.

Known are the state dicts of torchvision, of timm's `resnet` and `resnetv2`, and of the CIFAR nets that are written
after kuangliu's and akamaster's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from keras_resnet.stages import CLASSIFIER, POST, block_name
from keras_resnet.weights.conversion import fold_biases
from keras_resnet.weights.tensors import Tensor, WeightsError, reshaped, transposed

PREFIXES = ("module.", "_orig_mod.", "model.")  # of DataParallel, torch.compile and Lightning
BLOCK = re.compile(r"layer(\d+)\.(\d+)\.(.+)|stages\.(\d+)\.blocks\.(\d+)\.(.+)")
IN_BLOCK = (  # after the block's prefix; `{}` is what the pattern's group matched
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
    # A deep stem: a Sequential in timm's resnet, numbered words in its resnetv2.
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
    "fc": CLASSIFIER,
    "linear": CLASSIFIER,
    "head.fc": CLASSIFIER,
}
NORM = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}
OLD_HEADS = ("probs", "fc1000")
WITH_BIAS = (CLASSIFIER, "_se_reduce", "_se_expand")  # what else has weights of rank 1


def in_keras_terms(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a state dict by `layer/variable`, in Keras' layouts; those of Keras as they are.

    Raises:
        WeightsError: no name is one of a residual network's, or two mean the same.
    """
    if any("/" in name for name in tensors):
        if len(renamed := {_renamed(name): tensor for name, tensor in tensors.items()}) < len(tensors):
            raise WeightsError("the head is in the file twice, by an old name and a new one")
        return renamed
    ranks = {
        _bare(name).removesuffix(".weight"): len(t.shape) for name, t in tensors.items() if name.endswith(".weight")
    }
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if name.endswith("num_batches_tracked"):
            continue
        key = _key(_bare(name), ranks)
        if key in found:
            raise WeightsError(f"{name!r} is in the file twice")
        found[key] = _laid_out(key, tensor)
    return fold_biases(found)


def _renamed(name: str) -> str:
    """keras-applications, which wrote the official files, calls the head `probs`, and before that `fc1000`."""
    layer, _, variable = name.rpartition("/")
    return f"{CLASSIFIER}/{variable}" if layer in OLD_HEADS else name


def _bare(name: str) -> str:
    while name.startswith(PREFIXES):
        name = name.split(".", 1)[1]
    return name


def _key(name: str, ranks: Mapping[str, int]) -> str:
    """`layer/variable` for a name of torch; a name that is not known stays as it is, and will be told of.

    `ranks` are those of the modules' weights: 1 is a norm's.
    """
    module, _, variable = name.rpartition(".")
    layer = _layer(module)
    if layer is None:
        return name
    if layer.endswith(WITH_BIAS):
        return f"{layer}/{'kernel' if variable == 'weight' else variable}"
    if ranks.get(module) == 1 and variable in NORM:
        return f"{layer}_bn/{NORM[variable]}"
    return f"{layer}_conv/{'kernel' if variable == 'weight' else variable}"


def _layer(module: str) -> str | None:
    if module in OUTSIDE:
        return OUTSIDE[module]
    match = BLOCK.fullmatch(module)
    if match is None:
        return None
    old = match[1] is not None
    stage, block, rest = match.groups()[:3] if old else match.groups()[3:]
    # torch counts a stage's blocks from 0, and timm's v2 its stages too; Keras calls the first stage conv2.
    prefix = block_name(int(stage) + (1 if old else 2), int(block) + 1) + "_"
    for pattern, template in IN_BLOCK:
        if inner := pattern.fullmatch(rest):
            return prefix + _numbered(template.format(*inner.groups()))
    return None


def _numbered(word: str) -> str:
    """In a pre-activation block `norm1` stands before the first convolution, `norm2` after it."""
    if not word.startswith("norm"):
        return word
    number = int(word.removeprefix("norm")) - 1
    return str(number) if number else "preact"


def _laid_out(key: str, tensor: Tensor) -> Tensor:
    rank = len(tensor.shape)
    if rank == 4:  # filters first, then channels; in Keras they are last
        tensor = transposed(tensor, (2, 3, 1, 0))
        if key == f"{CLASSIFIER}/kernel" and tensor.shape[:2] == (1, 1):  # timm's v2 has a 1x1 convolution for a head
            tensor = reshaped(tensor, tensor.shape[2:])
    elif rank in (2, 3):
        tensor = transposed(tensor, tuple(reversed(range(rank))))
    return tensor
