"""THE ZOO: a table with one row for each public model."""

from __future__ import annotations

import dataclasses
import fnmatch
import functools
import re
from collections.abc import Mapping
from typing import Any

import keras

from keras_resnet import gates, shortcuts, stems
from keras_resnet._internal.validation import known
from keras_resnet.blocks import BASIC_DEPTHS, RS_DEPTHS, bottleneck_block, residual_block
from keras_resnet.cifar import SMALL_IMAGES, cifar_fields
from keras_resnet.constructor import Constructor, constructor
from keras_resnet.resnet import DEFAULTS
from keras_resnet.weights import Checkpoint
from keras_resnet.weights.fetch import HUB, parse_source
from keras_resnet.weights.resolution import same_network
from keras_resnet.weights.table import checkpoints_of


@dataclasses.dataclass(frozen=True)
class Row:
    """What is known about a model without building it. Tests compare both numbers with the built network.

    Attributes:
        name: public name of the model.
        paper: authors, year, title and arXiv number of its source.
        parameters: number of trainable parameters with the default top.
        macs: multiply-accumulates for one image of the default size.
        fields: the arguments of `ResNet` that build the model.
    """

    name: str
    paper: str
    parameters: int
    macs: int
    fields: Mapping[str, Any]

    @property
    def depth(self) -> int:
        """The depth that is in the name."""
        return int(re.search(r"\d+", self.name)[0])  # type: ignore[index]

    @property
    def size(self) -> int:
        """Side of the default input in pixels."""
        return self.fields.get("default_size", 224)


ROWS: dict[str, Row] = {}
_CONSTRUCTORS: dict[str, Constructor] = {}

V1 = "He et al. 2015, Deep Residual Learning for Image Recognition, arXiv:1512.03385"
V2 = "He et al. 2016, Identity Mappings in Deep Residual Networks, arXiv:1603.05027"
TRICKS = "He et al. 2018, Bag of Tricks for Image Classification, arXiv:1812.01187"
RESNEXT = "Xie et al. 2016, Aggregated Residual Transformations, arXiv:1611.05431"
WIDE = "Zagoruyko and Komodakis 2016, Wide Residual Networks, arXiv:1605.07146"
SE = "Hu et al. 2017, Squeeze-and-Excitation Networks, arXiv:1709.01507"
ECA = "Wang et al. 2019, ECA-Net, arXiv:1910.03151"
RS = "Bello et al. 2021, Revisiting ResNets, arXiv:2103.07579"

DOC = """{name}: {millions:.2f} million parameters, {giga:.2f} GMACs at {size}x{size}.

Source: {paper}.

Args:
    include_top: whether the model ends in average pooling and a classifier.
    weights: None (random); "imagenet", "cifar10" or "fashion_mnist" for the recommended checkpoint; another tag that
        `keras_resnet.list_weights("{name}")` lists; "hf://timm/<model>"; or the path of a file.
    input_tensor: a Keras tensor (N, H, W, C) that the network starts from, or None.
    input_shape: (H, W, C) without the batch; sides may be None. None: {size}x{size}x3 with the top, (None, None, 3)
        without.
    pooling: without the top: None for (N, H, W, C), "avg" or "max" for (N, C).
    classes: outputs of the classifier, at least 1.
    classifier_activation: name of a Keras activation; None gives logits.
    name: name of the model; if it is not given, the name of this function in lower case.
    include_preprocessing: whether the model takes raw pixels, 0 to 255.

    Every other argument of `keras_resnet.ResNet` can be given by keyword, and replaces the value in this model's row.

Returns:
    A functional `keras.Model`, as from `keras_resnet.ResNet`.

Raises:
    ValueError: an argument is outside its range, there are no such weights, or they do not fit the arguments.
    TypeError: an argument has the wrong type, or `keras_resnet.ResNet` has no such argument.

Example::

    model = keras_resnet.{name}(classes=10)
"""


def _row(name: str, paper: str, parameters: int, macs: int, *fields: Mapping[str, Any]) -> Constructor:
    """Adds a row to the zoo and returns its constructor.

    Args:
        name: public name of the model.
        paper: source of the model.
        parameters: number of trainable parameters with the default top.
        macs: multiply-accumulates for one image of the default size.
        fields: arguments of `ResNet`; a later mapping replaces values of an earlier one.
    """
    row = Row(name, paper, parameters, macs, {key: value for part in fields for key, value in part.items()})
    doc = DOC.format(name=name, millions=parameters / 1e6, giga=macs / 1e9, size=row.size, paper=paper)
    ROWS[name] = row
    build = constructor(name, doc, row.fields)
    build.__module__ = __name__  # pickle looks for the function in this module
    _CONSTRUCTORS[name] = build
    return build


def _basic(depth: int) -> dict[str, Any]:
    return {"block": residual_block, "depths": BASIC_DEPTHS[depth]}


def _bottleneck(depth: int) -> dict[str, Any]:
    return {"block": bottleneck_block, "depths": RS_DEPTHS[depth]}


def _wide(blocks: int, factor: int) -> dict[str, Any]:
    """WRN-(6n+4)-k: basic blocks `factor` times as wide as those of a CIFAR ResNet; the stem has 16 filters.

    Args:
        blocks: n, number of blocks in each of the three stages.
        factor: k, widening factor.
    """
    filters = (16 * factor, 32 * factor, 64 * factor)
    return {"block": residual_block, "depths": (blocks,) * 3, "filters": filters, "stem_filters": 16, **SMALL_IMAGES}


B18, B34 = _basic(18), _basic(34)
D50, D101, D152, D200 = map(_bottleneck, (50, 101, 152, 200))
PREACTIVATION = {"ordering": "full_preactivation"}
RESNET_D = {"stem": stems.deep, "shortcut": shortcuts.pool_project}
NEXT_32X4D = {"groups": 32, "base_width": 4}
NEXT_32X8D = {"groups": 32, "base_width": 8}
NEXT_64X4D = {"groups": 64, "base_width": 4}
TWICE_AS_WIDE = {"base_width": 128}
SQUEEZE_EXCITE = {"gate": gates.squeeze_excite}
CHANNEL_ATTENTION = {"gate": gates.efficient_channel_attention}
RESNET_RS = {
    "stem": stems.deep_strided,
    "shortcut": shortcuts.pool_project,
    "gate": functools.partial(gates.squeeze_excite, ratio=0.25),
}

# fmt: off
ResNet18 = _row("ResNet18", V1, 11_689_512, 1_814_073_344, B18)
ResNet34 = _row("ResNet34", V1, 21_797_672, 3_663_761_408, B34)
ResNet50 = _row("ResNet50", V1, 25_557_032, 4_089_184_256, D50)
ResNet101 = _row("ResNet101", V1, 44_549_160, 7_801_405_440, D101)
ResNet152 = _row("ResNet152", V1, 60_192_808, 11_513_626_624, D152)
ResNet200 = _row("ResNet200", V1, 64_673_832, 15_007_481_856, D200)
ResNet18V2 = _row("ResNet18V2", V2, 11_687_720, 1_814_073_344, B18, PREACTIVATION)
ResNet34V2 = _row("ResNet34V2", V2, 21_795_880, 3_663_761_408, B34, PREACTIVATION)
ResNet50V2 = _row("ResNet50V2", V2, 25_549_352, 4_089_184_256, D50, PREACTIVATION)
ResNet101V2 = _row("ResNet101V2", V2, 44_541_480, 7_801_405_440, D101, PREACTIVATION)
ResNet152V2 = _row("ResNet152V2", V2, 60_185_128, 11_513_626_624, D152, PREACTIVATION)
ResNet200V2 = _row("ResNet200V2", V2, 64_666_152, 15_007_481_856, D200, PREACTIVATION)
ResNet18D = _row("ResNet18D", TRICKS, 11_708_744, 2_053_713_920, B18, RESNET_D)
ResNet34D = _row("ResNet34D", TRICKS, 21_816_904, 3_903_401_984, B34, RESNET_D)
ResNet50D = _row("ResNet50D", TRICKS, 25_576_264, 4_328_824_832, D50, RESNET_D)
ResNet101D = _row("ResNet101D", TRICKS, 44_568_392, 8_041_046_016, D101, RESNET_D)
ResNet152D = _row("ResNet152D", TRICKS, 60_212_040, 11_753_267_200, D152, RESNET_D)
ResNet200D = _row("ResNet200D", TRICKS, 64_693_064, 15_247_122_432, D200, RESNET_D)
ResNeXt50_32x4d = _row("ResNeXt50_32x4d", RESNEXT, 25_028_904, 4_230_479_872, D50, NEXT_32X4D)
ResNeXt101_32x4d = _row("ResNeXt101_32x4d", RESNEXT, 44_177_704, 7_969_996_800, D101, NEXT_32X4D)
ResNeXt101_32x8d = _row("ResNeXt101_32x8d", RESNEXT, 88_791_336, 16_414_015_488, D101, NEXT_32X8D)
ResNeXt101_64x4d = _row("ResNeXt101_64x4d", RESNEXT, 83_455_272, 15_460_270_080, D101, NEXT_64X4D)
WideResNet50_2 = _row("WideResNet50_2", WIDE, 68_883_240, 11_398_021_120, D50, TWICE_AS_WIDE)
WideResNet101_2 = _row("WideResNet101_2", WIDE, 126_886_696, 22_753_050_624, D101, TWICE_AS_WIDE)
SEResNet18 = _row("SEResNet18", SE, 11_779_624, 1_814_161_408, B18, SQUEEZE_EXCITE)
SEResNet34 = _row("SEResNet34", SE, 21_960_416, 3_663_920_128, B34, SQUEEZE_EXCITE)
SEResNet50 = _row("SEResNet50", SE, 28_088_024, 4_091_699_200, D50, SQUEEZE_EXCITE)
SEResNet101 = _row("SEResNet101", SE, 49_326_872, 7_806_148_608, D101, SQUEEZE_EXCITE)
SEResNet152 = _row("SEResNet152", SE, 66_821_848, 11_520_204_800, D152, SQUEEZE_EXCITE)
SEResNeXt50_32x4d = _row("SEResNeXt50_32x4d", SE, 27_559_896, 4_232_994_816, D50, NEXT_32X4D, SQUEEZE_EXCITE)
SEResNeXt101_32x4d = _row("SEResNeXt101_32x4d", SE, 48_955_416, 7_974_739_968, D101, NEXT_32X4D, SQUEEZE_EXCITE)
ECAResNet50D = _row("ECAResNet50D", ECA, 25_576_350, 4_328_912_640, D50, RESNET_D, CHANNEL_ATTENTION)
ECAResNet101D = _row("ECAResNet101D", ECA, 44_568_563, 8_041_220_864, D101, RESNET_D, CHANNEL_ATTENTION)
ResNetRS50 = _row("ResNetRS50", RS, 35_691_912, 4_454_490_112, D50, RESNET_RS)
ResNetRS101 = _row("ResNetRS101", RS, 63_618_696, 8_175_624_192, D101, RESNET_RS)
ResNetRS152 = _row("ResNetRS152", RS, 86_621_576, 11_895_185_408, D152, RESNET_RS)
ResNetRS200 = _row("ResNetRS200", RS, 93_209_992, 15_391_137_792, D200, RESNET_RS)
ResNetRS270 = _row("ResNetRS270", RS, 129_861_448, 20_643_618_816, _bottleneck(270), RESNET_RS)
ResNetRS350 = _row("ResNetRS350", RS, 163_956_168, 26_332_012_544, _bottleneck(350), RESNET_RS)
ResNetRS420 = _row("ResNetRS420", RS, 191_891_656, 31_363_342_336, _bottleneck(420), RESNET_RS)
ResNet20 = _row("ResNet20", V1, 269_722, 40_551_040, cifar_fields(20))
ResNet32 = _row("ResNet32", V1, 464_154, 68_862_592, cifar_fields(32))
ResNet44 = _row("ResNet44", V1, 658_586, 97_174_144, cifar_fields(44))
ResNet56 = _row("ResNet56", V1, 853_018, 125_485_696, cifar_fields(56))
ResNet110 = _row("ResNet110", V1, 1_727_962, 252_887_680, cifar_fields(110))
ResNet1202 = _row("ResNet1202", V1, 19_421_274, 2_829_238_912, cifar_fields(1202))
ResNet110V2 = _row("ResNet110V2", V2, 1_727_962, 252_887_680, cifar_fields(110), PREACTIVATION)
ResNet164 = _row("ResNet164", V2, 1_704_154, 247_646_720, cifar_fields(164, bottleneck_block))
ResNet164V2 = _row("ResNet164V2", V2, 1_703_258, 247_646_720, cifar_fields(164, bottleneck_block), PREACTIVATION)
ResNet1001V2 = _row("ResNet1001V2", V2, 10_327_706, 1_490_995_712, cifar_fields(1001, bottleneck_block), PREACTIVATION)
WideResNet28_10 = _row("WideResNet28_10", WIDE, 36_479_194, 5_243_328_768, _wide(4, 10), PREACTIVATION)
WideResNet40_4 = _row("WideResNet40_4", WIDE, 8_949_210, 1_298_582_016, _wide(6, 4), PREACTIVATION)
# fmt: on

DEEPEST = max(sum(row.fields["depths"]) for row in ROWS.values())  # blocks


def list_models(pattern: str = "*") -> list[str]:
    """Lists the names of the zoo's models, in the order of the zoo.

    Args:
        pattern: shell pattern with `*`, `?` and `[...]`; upper and lower case are the same. The default lists all.

    Returns:
        The names that match the pattern.

    Example:
        >>> import keras_resnet as kr
        >>> kr.list_models("*50V2")
        ['ResNet50V2']
    """
    return [name for name in ROWS if fnmatch.fnmatchcase(name.lower(), pattern.lower())]


def create_model(name: str, /, **overrides: Any) -> keras.Model:
    """Builds a model of the zoo by its name.

    Args:
        name: one of `list_models()`; or "hf://timm/<model>": the network that this repository of the Hugging Face Hub
            describes, with its weights. It need not be in the zoo.
        overrides: arguments of the model's constructor, which are those of `ResNet`.

    Returns:
        A functional `keras.Model`, as from `ResNet`.

    Raises:
        ValueError: there is no such model (the error names the most similar ones), an argument is outside its range, or
            the weights cannot be loaded.
        TypeError: an argument has the wrong type, or `ResNet` has no such argument.

    Example:
        >>> import keras_resnet as kr
        >>> kr.create_model("ResNet20", classes=100).output.shape
        (None, 100)
    """
    if isinstance(name, str) and name.startswith(HUB):
        return _from_hub(name)(**{"weights": name, **overrides})
    return _CONSTRUCTORS[known("model", name, ROWS, "keras_resnet.list_models()")](**overrides)


def list_weights(name: str) -> list[str]:
    """Lists the tags of the checkpoints that are published for a model, the recommended one first.

    `keras_resnet.weights.find(name, tag)` returns the source, licence, accuracy and input size of a checkpoint.

    Args:
        name: one of `list_models()`.

    Returns:
        Tags for the argument `weights`; an empty list if no checkpoint is published.

    Raises:
        ValueError: there is no such model; the error names the most similar ones.

    Example:
        >>> import keras_resnet as kr
        >>> kr.list_weights("ResNet152V2")
        ['keras']
    """
    return [checkpoint.tag for checkpoint in checkpoints_of(row_of(name).name)]


def row_of(name: str) -> Row:
    """The row of a model; a `ValueError` names the most similar models if there is no such model."""
    return ROWS[known("model", name, ROWS, "keras_resnet.list_models()")]


def _from_hub(source: str) -> Constructor:
    """The constructor of the network that a repository of the hub describes; a new one if the zoo has no such row."""
    checkpoint = parse_source(source)
    assert isinstance(checkpoint, Checkpoint)
    for name, row in ROWS.items():
        if same_network(row.fields, checkpoint.fields, DEFAULTS):
            return _CONSTRUCTORS[name]
    return constructor(source.rpartition("/")[2].partition("@")[0], "", checkpoint.fields)
