"""torchvision: the same weights give the same logits in its networks and in ours."""

import pytest

import keras_resnet as kr
from keras_resnet import zoo
from keras_resnet.weights.table import Checkpoint
from tests import needs
from tests.torch_peers import FROM_TIMM, compare, cut, cut_fields, families, peers, printed, randomised

pytestmark = [pytest.mark.parity, needs.package("torchvision")]

TORCHVISION = {
    "resnet18": "ResNet18",
    "resnet34": "ResNet34",
    "resnet50": "ResNet50",
    "resnet101": "ResNet101",
    "resnet152": "ResNet152",
    "resnext50_32x4d": "ResNeXt50_32x4d",
    "resnext101_32x8d": "ResNeXt101_32x8d",
    "resnext101_64x4d": "ResNeXt101_64x4d",
    "wide_resnet50_2": "WideResNet50_2",
    "wide_resnet101_2": "WideResNet101_2",
}
FAMILY = families({name: zoo.ROWS[model].fields for name, model in TORCHVISION.items()})


def build(name):
    _, _, torchvision = peers()
    return torchvision.models.get_model(name)


def write_as_torchvision(net, path):
    """Writes a file like torchvision's reference script: names from DataParallel, and entries next to the model."""
    torch, _, _ = peers()
    state = {f"module.{name}": value for name, value in net.state_dict().items()}
    torch.save({"model": state, "epoch": 90, "args": None}, path)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(FAMILY.values())))
def test_the_logits_are_those_of_torchvision(name, tmp_path, rng, cheap_weights):
    """Tests the first network of each family, with fewer blocks for each stage."""
    net = randomised(cut(build, name)[0], rng)
    checkpoint = Checkpoint(TORCHVISION[name], "torchvision", "", cut_fields(zoo.ROWS[TORCHVISION[name]].fields))
    compare(getattr(kr, TORCHVISION[name]), net, checkpoint, tmp_path, rng, write_as_torchvision)


@pytest.mark.slow
@pytest.mark.parametrize("name", TORCHVISION)
def test_blocks_and_parameters_are_those_of_torchvision_and_the_rest_is_as_in_the_first_of_the_family(name):
    net, depths, parameters = cut(build, name)
    row = zoo.ROWS[TORCHVISION[name]]
    assert (row.fields["depths"], row.parameters) == (depths, parameters)
    assert repr(net) == printed(build, FAMILY[name])


def test_every_tag_of_torchvision_has_a_case():
    assert {row.model for row in FROM_TIMM if row.tag.startswith("torchvision")} == set(TORCHVISION.values())


@pytest.mark.slow
@pytest.mark.parametrize("name", TORCHVISION)
def test_the_accuracies_are_those_that_torchvision_says(name):
    """timm measured the same weights again with other crops. The accuracies differ by up to 0.25 percentage points."""
    _, _, torchvision = peers()
    published = {
        weight.name: weight.meta["_metrics"]["ImageNet-1K"]["acc@1"]
        for weight in torchvision.models.get_model_weights(name)
    }
    rows = {
        row.tag: row.top1 for row in FROM_TIMM if row.model == TORCHVISION[name] and row.tag.startswith("torchvision")
    }
    assert rows
    for tag, top1 in rows.items():
        version = "IMAGENET1K_V2" if tag.endswith("v2") else "IMAGENET1K_V1"
        assert abs(top1 - published[version]) < 0.3
