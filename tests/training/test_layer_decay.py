"""`layer_decay`: timm's factors by layer, and rates of variables in every optimizer as in torch's parameter groups."""

import dataclasses
import signal

import keras
import numpy as np
import pytest

import keras_resnet as kr
from keras_resnet._internal.keras_graph import moving_averages
from keras_resnet.training.layer_decay import rate_scales, scale_rates
from keras_resnet.training.optimizers import innermost, optimizer
from keras_resnet.training.recipe import Recipe
from keras_resnet.training.resuming import Stopped
from tests.conftest import UNTRACED
from tests.torch_peers import peers
from tests.training.test_optimizers import PEERS, STEPS
from tests.training.test_resuming import PLAIN, AtStep, die, fit

pytestmark = UNTRACED
DECAY = 0.75
TIMM_NAMES = {"conv1": "conv1.", "predictions": "fc."}
TIMM_V2_NAMES = {"conv1": "stem.", "post": "norm.", "predictions": "head."}


def scales_by_name(model):
    """The factor of each block, of the stem and so on, by the beginnings of the layer names."""
    found = {}
    for variable, scale in zip(model.trainable_variables, rate_scales(model, DECAY), strict=True):
        first, second, *_ = f"{variable.path.split('/')[-2]}_".split("_")
        found.setdefault(f"{first}_{second}" if second.startswith("block") else first, set()).add(scale)
    return {name: scale for name, (scale,) in found.items()}


@pytest.mark.slow
@pytest.mark.parity
@pytest.mark.parametrize(
    ("ours", "theirs"), [("ResNet18", "resnet18"), ("ResNet50", "resnet50"), ("ResNet50V2", "resnetv2_50")]
)
def test_factors_are_timms(ours, theirs):
    torch, timm, _ = peers()
    from timm.optim import param_groups_layer_decay

    with torch.device("meta"):
        network = timm.create_model(theirs)
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    expected = {
        names[id(parameter)]: group["lr_scale"]
        for group in param_groups_layer_decay(network, layer_decay=DECAY)
        for parameter in group["params"]
    }
    found = scales_by_name(kr.create_model(ours, input_shape=(32, 32, 3)))
    assert len(set(found.values())) == len(set(expected.values()))
    v2 = theirs.startswith("resnetv2")
    for name, scale in found.items():
        if block := kr.stages.parse_block(f"{name}_out"):
            prefix = f"stages.{block.stage - 2}.blocks." if v2 else f"layer{block.stage - 1}."
            prefix += f"{block.block - 1}."
        else:
            prefix = (TIMM_V2_NAMES if v2 else TIMM_NAMES)[name]
        (theirs_here,) = {value for parameter, value in expected.items() if parameter.startswith(prefix)}
        assert theirs_here == pytest.approx(scale), name


def keras_steps(recipe, kernels, gradients, scales):
    variables = [keras.Variable(kernel) for kernel in kernels]
    opt = optimizer(recipe, recipe.learning_rate)
    opt.build(variables)
    scale_rates(innermost(opt), scales)
    for each in gradients:
        scale = opt.scale_loss(1.0)
        opt.apply([gradient * scale for gradient in each], variables)
    return [keras.ops.convert_to_numpy(variable) for variable in variables]


@pytest.mark.slow
@pytest.mark.parity
@pytest.mark.parametrize("name", PEERS)
def test_each_variable_has_its_rate_also_in_weight_decay_as_groups_of_torch(name, rng):
    torch, _, _ = peers()
    fields, make = PEERS[name]
    recipe = Recipe(optimizer=name.split()[0], learning_rate=0.02, weight_decay=0.1, **fields)
    kernels, scales = rng.normal(size=(3, 4, 5)).astype("float32"), [0.25, 0.5, 1.0]
    gradients = rng.normal(size=(STEPS, 3, 4, 5)).astype("float32")
    parameters = [torch.tensor(kernel, requires_grad=True) for kernel in kernels]
    groups = [
        {"params": [parameter], "weight_decay": 0.1, "lr": 0.02 * scale}
        for parameter, scale in zip(parameters, scales, strict=True)
    ]
    peer = make(torch, groups)
    for each in gradients:
        for parameter, gradient in zip(parameters, each, strict=True):
            parameter.grad = torch.tensor(gradient)
        peer.step()
    for precision in ("float32", "float16"):  # float16 has a scaled loss
        found = keras_steps(dataclasses.replace(recipe, precision=precision), kernels, gradients, scales)
        for value, parameter in zip(found, parameters, strict=True):
            np.testing.assert_allclose(value, parameter.detach().numpy(), rtol=2e-5, atol=2e-6, err_msg=precision)


def test_gradients_are_accumulated_and_averaged_weights_follow_the_scaled_rates():
    weights = [keras.Variable([10.0]), keras.Variable([10.0])]
    recipe = Recipe(momentum=0.0, nesterov=False, gradient_accumulation_steps=2, ema_decay=0.25, weight_decay=0.0)
    opt = optimizer(recipe, 1.0)
    opt.build(weights)
    scale_rates(opt, [0.5, 1.0])
    for gradient in (1.0, 3.0) * 2:  # two updates, with a mean of 2
        opt.apply([keras.ops.full((1,), gradient)] * 2, weights)
    assert [float(weight[0]) for weight in weights] == [8.0, 6.0]
    # The average starts with the weights after the first update, and has the decay of half an update at each step.
    averages = [float(average[0]) for average in moving_averages(opt)]
    assert averages == [0.5 * 9 + 0.5 * 8, 0.5 * 8 + 0.5 * 6]


def test_frozen_stages_do_not_change_the_factors_of_others_and_nested_networks_have_theirs():
    def build():
        return kr.ResNet(
            (1, 1), kr.residual_block, filters=(4, 8), stem=kr.stems.cifar, input_shape=(8, 8, 1), classes=2
        )

    expected = {"conv1": DECAY**3, "conv2_block1": DECAY**2, "conv3_block1": DECAY, "predictions": 1.0}
    assert scales_by_name(build()) == expected
    assert scales_by_name(kr.freeze(build(), "conv3")) == {name: expected[name] for name in list(expected)[2:]}
    image = keras.Input((8, 8, 1))
    network = kr.ResNet(
        (1, 1),
        kr.residual_block,
        filters=(4, 8),
        stem=kr.stems.cifar,
        input_shape=(8, 8, 1),
        include_top=False,
        pooling="avg",
    )
    around = keras.Model(image, keras.layers.Dense(2, name="predictions")(network(image)))
    assert scales_by_name(around) == expected


def test_a_model_without_blocks_is_refused():
    model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(2)], name="plain")
    with pytest.raises(
        ValueError,
        match="layer_decay must be 1 for a model .* blocks are not known.* Received: 'plain', layer_decay=0.5",
    ):
        rate_scales(model, 0.5)


@pytest.mark.slow
def test_a_resumed_training_ends_with_the_same_weights_and_logs_the_rate_of_the_head(tmp_path, eager):
    recipe = dataclasses.replace(PLAIN, epochs=2, layer_decay=0.5, ema_decay=0.8, optimizer="adamw", learning_rate=0.01)
    weights, result = fit(recipe)
    with pytest.raises(Stopped):
        fit(recipe, tmp_path, [AtStep(3, die(signal.SIGTERM))])
    resumed_weights, resumed = fit(recipe, tmp_path)
    assert resumed.history == result.history
    for one, two in zip(weights, resumed_weights, strict=True):
        np.testing.assert_array_equal(one, two)
    _, without = fit(dataclasses.replace(recipe, layer_decay=1.0))
    assert without.history["learning_rate"] == result.history["learning_rate"]
    assert without.history["loss"] != result.history["loss"]
