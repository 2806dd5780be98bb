"""Every row of the zoo: exact number of parameters and multiply-accumulates, names, signature, docstring."""

import collections
import functools
import inspect
import math
import pickle
import re
from typing import NamedTuple

import keras
import pytest

import keras_resnet as kr
from benchmarks import models_page
from keras_resnet import zoo
from keras_resnet.cifar import cifar_fields
from keras_resnet.complexity import CONVOLUTIONS, layer_macs
from keras_resnet.constructor import LEADING, Constructor, constructor
from keras_resnet.stages import stage_table
from tests import golden
from tests.conftest import ROOT, quick_among

# Published numbers of trainable parameters; they are not counted with this package. Sources: timm 1.0.31 for the
# ImageNet networks. The papers of the CIFAR networks (He et al. 2015 and 2016) give only millions, so these are the
# counts of their public PyTorch and Torch code. timm has no ResNet200V2: it has 50 blocks more than ResNet50V2, and the
# size of these blocks is known.
PARAMETERS = {
    "ResNet18": 11_689_512,
    "ResNet34": 21_797_672,
    "ResNet50": 25_557_032,
    "ResNet101": 44_549_160,
    "ResNet152": 60_192_808,
    "ResNet200": 64_673_832,
    "ResNet18V2": 11_687_720,
    "ResNet34V2": 21_795_880,
    "ResNet50V2": 25_549_352,
    "ResNet101V2": 44_541_480,
    "ResNet152V2": 60_185_128,
    "ResNet200V2": 64_673_832 - 25_557_032 + 25_549_352,
    "ResNet18D": 11_708_744,
    "ResNet34D": 21_816_904,
    "ResNet50D": 25_576_264,
    "ResNet101D": 44_568_392,
    "ResNet152D": 60_212_040,
    "ResNet200D": 64_693_064,
    "ResNeXt50_32x4d": 25_028_904,
    "ResNeXt101_32x4d": 44_177_704,
    "ResNeXt101_32x8d": 88_791_336,
    "ResNeXt101_64x4d": 83_455_272,
    "WideResNet50_2": 68_883_240,
    "WideResNet101_2": 126_886_696,
    "SEResNet18": 11_779_624,
    "SEResNet34": 21_960_416,
    "SEResNet50": 28_088_024,
    "SEResNet101": 49_326_872,
    "SEResNet152": 66_821_848,
    "SEResNeXt50_32x4d": 27_559_896,
    "SEResNeXt101_32x4d": 48_955_416,
    "ECAResNet50D": 25_576_350,
    "ECAResNet101D": 44_568_563,
    "ResNetRS50": 35_691_912,
    "ResNetRS101": 63_618_696,
    "ResNetRS152": 86_621_576,
    "ResNetRS200": 93_209_992,
    "ResNetRS270": 129_861_448,
    "ResNetRS350": 163_956_168,
    "ResNetRS420": 191_891_656,
    "ResNet20": 269_722,
    "ResNet32": 464_154,
    "ResNet44": 658_586,
    "ResNet56": 853_018,
    "ResNet110": 1_727_962,
    "ResNet1202": 19_421_274,
    "ResNet110V2": 1_727_962,
    "ResNet164": 1_704_154,
    "ResNet164V2": 1_703_258,
    "ResNet1001V2": 10_327_706,
    "WideResNet28_10": 36_479_194,
    "WideResNet40_4": 8_949_210,
}

# GMACs at 224x224 that timm publishes. Batch norm counts two per element.
TIMM_GMACS = {
    "ResNet18": 1.82,
    "ResNet34": 3.67,
    "ResNet50": 4.11,
    "ResNet101": 7.83,
    "ResNet152": 11.56,
    "ResNet200": 15.07,
    "ResNeXt50_32x4d": 4.26,
    "ResNeXt101_32x8d": 16.48,
    "ResNet50V2": 4.11,
}


def test_every_row_has_a_published_count():
    assert list(PARAMETERS) == list(zoo.ROWS) == kr.list_models()


# One network of each family that is quick to build. All other networks are slow.
QUICK = {"ResNet18", "ResNet18V2", "ResNet18D", "SEResNet18", "ResNet20", "ResNet34"}


class Built(NamedTuple):
    """The properties of a network that tests need."""

    stages: list
    macs: int
    timm_macs: int
    activations: int
    input_shape: tuple
    output_shape: tuple
    names: list
    structure: str


@functools.cache
def built(name):
    """Builds a network once for all tests, and keeps only its properties, because the largest network takes 0.8 GB."""
    model = kr.create_model(name)
    return Built(
        stage_table(model),
        kr.macs(model),
        kr.macs(model, batch_norm_macs=2),
        kr.activations(model),
        model.input.shape,
        model.output.shape,
        [layer.name for layer in model.layers],
        golden.structure(model),
    )


def agree(name, parameters, macs, timm_macs, activations, input_shape, output_shape):
    """Asserts that costs and shapes of a network are those of its row, of publications and of MODELS.md."""
    row = zoo.ROWS[name]
    assert parameters == row.parameters == PARAMETERS[name]
    assert macs == row.macs
    if name in TIMM_GMACS:
        assert round(timm_macs / 1e9, 2) == TIMM_GMACS[name]
    exact = models_page.line(models_page.exact(row, activations))
    assert exact in (ROOT / "MODELS.md").read_text(), "run: python -m benchmarks table"
    assert input_shape == (None, row.size, row.size, 3)
    assert output_shape == (None, row.fields.get("classes", 1000))


@pytest.mark.parametrize("name", quick_among(golden.NAMES, *QUICK.intersection(golden.NAMES)))
def test_row_and_network_agree(name, cheap_weights):
    row, network = zoo.ROWS[name], built(name)
    parameters = sum(stage.parameters for stage in network.stages)
    costs = (network.macs, network.timm_macs, network.activations)
    agree(name, parameters, *costs, network.input_shape, network.output_shape)
    assert sum(stage.macs for stage in network.stages) == network.macs
    for landmark in ("conv1_conv", "conv2_block1_1_conv", "conv2_block1_out", "conv3_block1_0_", "conv4_block1_out"):
        assert any(found.startswith(landmark) for found in network.names), landmark
    assert network.names[-2:] == ["avg_pool", "predictions"]
    assert ("post_bn" in network.names) is (row.fields.get("ordering") == "full_preactivation")
    assert tuple(stage.blocks for stage in network.stages if stage.blocks) == tuple(row.fields["depths"])


# Rows without a recorded structure. They are built with two blocks per stage: the second block has the cost of each
# further block. test_resnet.py builds a very deep network, and weights/test_parity_timm.py compares the blocks of all
# networks that timm has with those of timm.
DEEPER = [name for name in zoo.ROWS if name not in golden.NAMES]


@functools.cache
def two_blocks_per_stage(**fields):
    """The cost of each layer, with the index of its stage if it is in a second block; the shapes of input and output.

    Rows that differ only in depth share the result.
    """
    model = kr.ResNet(**fields)
    costs = []
    for layer in model.layers:
        second = re.match(r"conv(\d+)_block2_", layer.name)
        cost = {
            "parameters": sum(math.prod(weight.shape) for weight in layer.trainable_weights),
            "macs": layer_macs(layer),
            "timm_macs": layer_macs(layer, batch_norm_macs=2),
            "activations": math.prod(layer.output.shape[1:]) if isinstance(layer, CONVOLUTIONS) else 0,
        }
        costs.append((int(second[1]) - 2 if second else None, cost))
    return costs, {"input_shape": model.input.shape, "output_shape": model.output.shape}


@pytest.mark.parametrize("name", quick_among(DEEPER, *QUICK.intersection(DEEPER)))
def test_a_deeper_row_agrees_with_what_each_block_adds(name, cheap_weights):
    fields = dict(zoo.ROWS[name].fields)
    depths = fields.pop("depths")
    costs, shapes = two_blocks_per_stage(**fields, depths=(2,) * len(depths))
    total = collections.Counter()
    for stage, cost in costs:
        times = 1 if stage is None else depths[stage] - 1
        total.update({kind: times * count for kind, count in cost.items()})
    agree(name, **total, **shapes)


@pytest.mark.parametrize("name", quick_among(golden.NAMES, *QUICK.intersection(golden.NAMES)))
def test_structure_is_as_recorded(name, cheap_weights):
    assert built(name).structure == golden.path(name).read_text(), f"if the change is intended, run: {golden.COMMAND}"


def test_every_family_has_a_recorded_structure():
    """Rows of a family have the same fields, except for depths."""

    def family(row):
        fields = {key: getattr(value, "func", value) for key, value in row.fields.items() if key != "depths"}
        return tuple(sorted((key, str(value)) for key, value in fields.items()))

    recorded = {family(zoo.ROWS[name]) for name in golden.NAMES}
    missing = [name for name, row in zoo.ROWS.items() if family(row) not in recorded]
    # These differ from a recorded network only in width.
    assert missing == ["ResNeXt101_32x8d", "ResNeXt101_64x4d", "WideResNet28_10"]


@pytest.mark.parametrize("name", zoo.ROWS)
def test_constructors_have_a_signature_and_a_docstring_of_their_own(name):
    build, row = getattr(kr, name), zoo.ROWS[name]
    assert build.__name__ == name
    assert pickle.loads(pickle.dumps(build)) is build
    parameters = inspect.signature(build).parameters
    assert tuple(parameters)[: len(LEADING)] == LEADING
    for field, value in row.fields.items():
        assert parameters[field].default == value
    doc = inspect.getdoc(build)
    assert f"{row.parameters / 1e6:.2f} million parameters, {row.macs / 1e9:.2f} GMACs" in doc
    assert "arXiv:" in doc


def test_the_static_signature_is_that_of_resnet():
    static = inspect.signature(Constructor.__call__).parameters
    assert set(static) - {"self"} == set(inspect.signature(kr.ResNet).parameters)
    assert tuple(static)[1 : len(LEADING) + 1] == LEADING


def test_the_first_arguments_may_be_positional_as_in_keras_applications():
    model = kr.ResNet20(False, None, None, (32, 32, 1), "avg")
    assert (model.input.shape, model.output.shape) == ((None, 32, 32, 1), (None, 64))
    assert list(LEADING) == list(inspect.signature(keras.applications.ResNet50).parameters)


@pytest.mark.slow
def test_any_field_of_a_row_can_be_overridden():
    model = kr.ResNet18(stem=kr.stems.cifar, input_shape=(32, 32, 3), classes=10)
    assert sum(stage.parameters for stage in stage_table(model)) == 11_173_962


@pytest.mark.slow
def test_resnext_is_resnet_with_groups(cheap_weights):
    one_block_per_stage = {"depths": (1, 1, 1, 1)}
    grouped = kr.ResNet50(groups=32, base_width=4, **one_block_per_stage)
    assert grouped.count_params() == kr.ResNeXt50_32x4d(**one_block_per_stage).count_params()


def test_list_models_matches_patterns():
    assert kr.list_models("seresnext*") == ["SEResNeXt50_32x4d", "SEResNeXt101_32x4d"]
    assert kr.list_models("nothing") == []


@pytest.mark.slow
def test_create_model_passes_overrides_on():
    assert kr.create_model("ResNet20", classes=3, name="three").output.shape == (None, 3)


def test_an_unknown_model_gives_the_nearest_names():
    message = r"unknown model; .*list_models\(\) lists them. Did you mean .*ResNet50V2.*Received: 'Resnet50_v2'"
    with pytest.raises(ValueError, match=message):
        kr.create_model("Resnet50_v2")


def test_an_unknown_argument_is_named_with_those_that_there_are():
    with pytest.raises(
        TypeError, match=r"ResNet50\(\) got an unexpected keyword argument 'depth'\. Its arguments are include_top"
    ):
        kr.ResNet50(depth=3)


def test_a_row_cannot_have_a_field_that_resnet_does_not_know():
    with pytest.raises(ValueError, match="unknown field of Mine; .* lists them. Did you mean depths"):
        constructor("Mine", "", {"depth": (1, 2)})


# CIFAR networks by depth


@pytest.mark.parametrize(
    ("depth", "block", "blocks"),
    [
        (8, kr.residual_block, 1),
        (11, kr.bottleneck_block, 1),
        pytest.param(14, kr.residual_block, 2, marks=pytest.mark.slow),
        pytest.param(20, kr.bottleneck_block, 2, marks=pytest.mark.slow),
    ],
)
def test_cifar_resnet_has_the_blocks_of_its_depth(depth, block, blocks):
    table = stage_table(kr.CifarResNet(depth, block))
    assert [stage.blocks for stage in table] == [0, blocks, blocks, blocks, 0]
    assert table[0].output == (32, 32, 16)
    assert table[-1].output == (10,)


@pytest.mark.parametrize(("depth", "block", "blocks"), [(110, kr.residual_block, 18), (164, kr.bottleneck_block, 18)])
def test_a_depth_is_that_of_the_papers_tables(depth, block, blocks):
    assert cifar_fields(depth, block)["depths"] == (blocks,) * 3


@pytest.mark.parametrize(
    ("depth", "block", "message"),
    [
        (21, kr.residual_block, r"depth must be 6n\+2 for this block; nearest: 20 and 26. Received: depth=21"),
        (7, kr.residual_block, "nearest: 8. Received: depth=7"),
        (163, kr.bottleneck_block, r"9n\+2 for this block; nearest: 155 and 164. Received: depth=163"),
        (0, kr.residual_block, "depth must be an integer of at least 1"),
    ],
)
def test_an_impossible_depth_gives_the_nearest_ones(depth, block, message):
    with pytest.raises(ValueError, match=message):
        kr.CifarResNet(depth, block)


def test_cifar_resnet_has_a_real_signature():
    parameters = list(inspect.signature(kr.CifarResNet).parameters)
    assert parameters[:4] == ["depth", "block", "include_top", "weights"]
    assert "depths" not in parameters
