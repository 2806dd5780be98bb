"""timm: the same weights give the same logits in its networks and in ours, and our table has the same facts."""

import dataclasses

import numpy as np
import pytest

import keras_resnet as kr
from keras_resnet import zoo
from keras_resnet.weights.table import table
from tests import needs
from tests.torch_peers import (
    FROM_TIMM,
    TWO,
    compare,
    cut_fields,
    families,
    parameters_of,
    peers,
    randomised,
    stages_of,
    timm_depths,
    timm_name,
    timm_net,
    timm_printed,
)

pytestmark = [pytest.mark.parity, needs.package("timm")]

ROWS = {row.model: row for row in FROM_TIMM}  # one checkpoint for each model: the others have the same architecture


FIELDS = {model: {**zoo.ROWS[model].fields, **row.fields} for model, row in ROWS.items()}
FAMILY = families(FIELDS)


@pytest.mark.slow
@pytest.mark.parametrize("model", sorted(set(FAMILY.values())))
def test_a_row_of_the_table_gives_the_logits_of_timm(model, tmp_path, rng, cheap_weights):
    """Tests the first row of each family, with fewer blocks for each stage."""
    net = randomised(timm_net(timm_name(ROWS[model])), rng)
    checkpoint = dataclasses.replace(ROWS[model], fields=cut_fields(FIELDS[model]))
    compare(getattr(kr, model), net, checkpoint, tmp_path, rng)


@pytest.mark.slow
@pytest.mark.parametrize("model", ROWS)
def test_a_row_has_the_blocks_and_parameters_of_timm_and_is_like_the_first_of_its_family(model):
    name = timm_name(ROWS[model])
    depths, net = timm_depths(name), timm_net(name, TWO)
    assert FIELDS[model]["depths"] == depths
    parameters_of_other_blocks = sum(
        (depth - 2) * parameters_of(blocks[1]) for depth, blocks in zip(depths, stages_of(net), strict=True)
    )
    assert zoo.ROWS[model].parameters == parameters_of(net) + parameters_of_other_blocks
    assert repr(net) == timm_printed(timm_name(ROWS[FAMILY[model]]))


@pytest.mark.slow
def test_a_whole_network_gives_the_logits_of_timm(tmp_path, rng, cheap_weights):
    _, timm, _ = peers()
    net = randomised(timm.create_model("resnet50"), rng)
    compare(kr.ResNet50, net, ROWS["ResNet50"], tmp_path, rng, sides=((224, 224), (97, 131)))


def test_each_row_is_compared_with_its_original():
    other_tags = {row.tag for row in table() if row not in FROM_TIMM}
    # test_parity_keras_applications.py, test_weights.py and test_fashion_mnist.py compare these.
    assert other_tags == {"keras", "akamaster", "fashion_mnist"}
    assert {row.model for row in FROM_TIMM} == set(ROWS)


@pytest.mark.slow
@pytest.mark.parametrize("row", FROM_TIMM, ids=lambda row: f"{row.model}-{row.tag}")
def test_a_row_says_of_its_input_what_timm_says(row):
    _, timm, _ = peers()
    timm_cfg = timm.get_pretrained_cfg(row.source.removeprefix("hf://timm/"))
    assert (row.mean, row.std) == (timm_cfg.mean, timm_cfg.std)
    assert row.size == (timm_cfg.test_input_size or timm_cfg.input_size)[1]
    assert row.crop_pct == (timm_cfg.test_crop_pct or timm_cfg.crop_pct)
    assert (row.interpolation, row.licence) == (timm_cfg.interpolation, timm_cfg.license)
    assert row.classes == timm_cfg.num_classes
    assert row.source == f"hf://{timm_cfg.hf_hub_id}"


@pytest.mark.slow
@pytest.mark.parametrize("channels", [1, 2, 4, 5])
def test_another_number_of_channels_is_adapted_as_timm_does(channels, rng):
    torch, timm, _ = peers()
    from keras_resnet.weights.matching import channels_adapted

    kernel = rng.normal(size=(7, 7, 3, 8)).astype("float32")
    theirs = timm.models.adapt_input_conv(channels, torch.from_numpy(kernel.transpose(3, 2, 0, 1))).numpy()
    np.testing.assert_allclose(channels_adapted(kernel, channels), theirs.transpose(2, 3, 1, 0), rtol=1e-6)
