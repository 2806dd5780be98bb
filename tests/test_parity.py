"""timm: the same weights in its networks and in the zoo's give the same logits, and the table says what it says."""

import importlib.util

import numpy as np
import pytest

import keras_resnet as kr
from keras_resnet.weights.table import table
from tests.torch_peers import FROM_TIMM, compare, peers, randomised, timm_name

pytestmark = pytest.mark.skipif(importlib.util.find_spec("timm") is None, reason="needs the extra `parity`")

ROWS = {row.model: row for row in FROM_TIMM}  # one of each: they differ in numbers only


@pytest.mark.parametrize("model", ROWS)
def test_a_row_of_the_table_gives_the_logits_of_timm(model, tmp_path, rng, cheap_weights):
    _, timm, _ = peers()
    net = randomised(timm.create_model(timm_name(ROWS[model])), rng)
    compare(getattr(kr, model), net, ROWS[model], tmp_path, rng)


def test_each_row_is_compared_with_its_original():
    others = {row.tag for row in table() if row not in FROM_TIMM}
    # In test_keras_applications.py, test_weights.py and test_fashion_mnist.py.
    assert others == {"keras", "akamaster", "fashion_mnist"}
    assert {row.model for row in FROM_TIMM} == set(ROWS)


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


@pytest.mark.parametrize("channels", [1, 2, 4, 5])
def test_another_number_of_channels_is_adapted_as_timm_does(channels, rng):
    torch, timm, _ = peers()
    from keras_resnet.weights.fitting import channels_adapted

    kernel = rng.normal(size=(7, 7, 3, 8)).astype("float32")
    theirs = timm.models.adapt_input_conv(channels, torch.from_numpy(kernel.transpose(3, 2, 0, 1))).numpy()
    np.testing.assert_allclose(channels_adapted(kernel, channels), theirs.transpose(2, 3, 1, 0), rtol=1e-6)
