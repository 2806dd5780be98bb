"""timm networks without a row in the zoo: what `create_model("hf://timm/...")` builds, and what it refuses."""

import pytest

from keras_resnet.constructor import constructor
from keras_resnet.weights.table import Checkpoint
from keras_resnet.weights.tensors import WeightsError
from keras_resnet.weights.timm_models import architecture
from tests import needs
from tests.torch_peers import (
    FROM_TIMM,
    compare,
    cut_fields,
    families,
    peers,
    randomised,
    timm_depths,
    timm_name,
    timm_net,
    timm_printed,
)

pytestmark = [pytest.mark.slow, pytest.mark.parity, needs.package("timm")]

NOT_IN_ZOO = [
    "resnet10t",
    "resnet14t",
    "resnet26",
    "resnet26d",
    "resnet26t",
    "resnet50c",
    "resnet50s",
    "resnet50t",
    "resnext50d_32x4d",
    "ecaresnet26t",
    "ecaresnet50t",
    "seresnet50t",
    "seresnext26d_32x4d",
    "seresnext26t_32x4d",
    "resnetv2_18d",
    "resnetv2_34d",
    "resnetv2_50d",
    "resnetv2_50t",
    "resnet101c",
    "resnet101s",
    "resnet152c",
    "resnet152s",
    "resnext101_32x16d",
    "resnext101_32x32d",
    "seresnet152d",
    "seresnet200d",
    "seresnet269d",
    "ecaresnet200d",
    "ecaresnet269d",
    "seresnext101_32x8d",
    "seresnext101d_32x8d",
    "seresnext101_64x4d",
    "ecaresnext26t_32x4d",
    "ecaresnext50t_32x4d",
    "resnetv2_101d",
    "resnetv2_152",
    "resnetv2_152d",
    "resnet200",
    "seresnet18",
    "seresnet34",
    "seresnet101",
    "seresnet152",
]
FAMILY = families({name: architecture(name) for name in NOT_IN_ZOO})


@pytest.mark.parametrize("name", sorted(set(FAMILY.values())))
def test_a_network_beside_the_zoo_gives_the_logits_of_timm(name, tmp_path, rng, cheap_weights):
    """The first network of each family, with fewer blocks per stage."""
    fields = cut_fields(architecture(name))
    net = randomised(timm_net(name), rng)
    compare(constructor(name, "", fields), net, Checkpoint("", name, "", fields), tmp_path, rng)


@pytest.mark.parametrize("name", NOT_IN_ZOO)
def test_a_network_beside_the_zoo_has_the_blocks_of_timm_and_is_like_the_first_of_its_family(name):
    assert architecture(name)["depths"] == timm_depths(name)
    assert timm_printed(name) == timm_printed(FAMILY[name])


def test_what_timm_has_is_built_or_refused():
    """A timm name is accepted only if its network is compared with timm, above or as a row of the table."""
    _, timm, _ = peers()
    covered = {timm_name(row) for row in FROM_TIMM} | set(NOT_IN_ZOO)
    for name in timm.list_models(module="resnet") + timm.list_models(module="resnetv2"):
        if name in covered:
            architecture(name)
            continue
        with pytest.raises(WeightsError, match="must be one that keras_resnet can build"):
            architecture(name)
