"""Gradual unfreezing: what is frozen in which epoch, that frozen stages do not change, and that a resume is exact."""

import dataclasses
import signal

import keras
import numpy as np
import pytest

import keras_resnet as kr
from keras_resnet.training import Recipe
from keras_resnet.training.compiling import compile_for
from keras_resnet.training.distribution import Placement
from keras_resnet.training.optimizers import optimizer
from keras_resnet.training.resuming import Stopped
from keras_resnet.training.summary import summary
from keras_resnet.training.unfreezing import gradual_unfreezing, stages_to_unfreeze
from tests.conftest import UNTRACED
from tests.torch_peers import peers
from tests.training.test_resuming import PLAIN, STEPS, AtStep, die, fit, images, network

pytestmark = UNTRACED
# A network with a stem, one stage and a head: each epoch trains one of them more.
RECIPE = dataclasses.replace(
    PLAIN, unfreeze_epochs=1, optimizer="adamw", learning_rate=0.01, warmup=0.0, ema_decay=0.8, layer_decay=0.5
)


def tiny(**options):
    return kr.ResNet(
        (1, 1), kr.residual_block, filters=(4, 8), stem=kr.stems.cifar, input_shape=(8, 8, 1), classes=2, **options
    )


def test_stages_are_unfrozen_from_the_head_to_the_stem():
    assert stages_to_unfreeze(tiny()) == ["predictions", "conv3", "conv2", "conv1"]
    assert stages_to_unfreeze(tiny(ordering="full_preactivation")) == ["post", "conv3", "conv2", "conv1"]
    model = kr.freeze(tiny(), "conv3")
    trainable = [variable.path for variable in model.trainable_variables]
    assert stages_to_unfreeze(model) == ["predictions", "conv3"]
    assert [variable.path for variable in model.trainable_variables] == trainable


def test_phases_begin_after_so_many_epochs_and_all_is_as_before_afterwards():
    model = tiny()
    model.get_layer("conv2_block1_1_bn").trainable = False  # by the user, so it stays so
    compile_for(model, Recipe(epochs=9, unfreeze_epochs=2), images(), steps=45)
    before = [variable.path for variable in model.trainable_variables]
    seen = {}
    with gradual_unfreezing(model, Recipe(epochs=9, unfreeze_epochs=2), steps=5) as begin:
        for epoch in range(9):
            end = begin(epoch)
            stages = {variable.path.split("/")[-2].split("_")[0] for variable in model.trainable_variables}
            seen[epoch] = (end, sorted(stages))
            assert "conv2_block1_1_bn" not in {variable.path.split("/")[-2] for variable in model.trainable_variables}
    head, conv3, conv2 = ["predictions"], ["conv3", "predictions"], ["conv2", "conv3", "predictions"]
    assert seen == {
        **{0: (2, head), 1: (2, head), 2: (4, conv3), 3: (4, conv3), 4: (6, conv2), 5: (6, conv2)},
        **{epoch: (9, ["conv1", *conv2]) for epoch in (6, 7, 8)},
    }
    assert [variable.path for variable in model.trainable_variables] == before


def test_a_training_says_from_which_epoch_on_each_stage_is_trained():
    recipe = Recipe(epochs=3, unfreeze_epochs=1)
    line = summary(tiny(), recipe, {"training": images()}, Placement())[-1]
    assert line == ("gradual unfreezing: predictions from epoch 1, conv3 from epoch 2, conv2 from epoch 3, conv1 never")


def test_a_model_without_stages_is_refused():
    model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(2)], name="plain")
    with pytest.raises(ValueError, match="unfreeze_epochs must be 0 for a model of .* Received: 'plain'"):
        kr.training.fit(model, dataclasses.replace(RECIPE, layer_decay=1.0), images())


class Weights(keras.callbacks.Callback):
    """Records all variables by stage after each epoch."""

    def on_train_begin(self, logs=None):
        self.seen = [self._values()]

    def on_epoch_end(self, epoch, logs=None):
        self.seen.append(self._values())

    def _values(self):
        return {variable.path: np.array(variable) for variable in self.model.weights}


def test_steps_that_float16_leaves_out_are_no_updates():
    recipe = Recipe(epochs=9, unfreeze_epochs=1, optimizer="adam", precision="float16", warmup=0.0, weight_decay=0.0)
    model = tiny()
    compile_for(model, recipe, images(), steps=9)
    kernel = model.get_layer("conv3_block1_1_conv").kernel
    before = np.array(kernel)
    with gradual_unfreezing(model, recipe, steps=1) as begin:
        for epoch, gradient in enumerate((np.inf, 1.0)):
            begin(epoch)
            gradients = [keras.ops.full(variable.shape, gradient) for variable in model.trainable_variables]
            model.optimizer.apply(gradients, model.trainable_variables)
    assert int(model.optimizer.iterations) == 1
    # The first update of Adam has the length of the learning rate.
    np.testing.assert_allclose(before - np.array(kernel), recipe.learning_rate, rtol=1e-3)


@pytest.mark.slow
def test_a_frozen_stage_does_not_change_nor_do_its_statistics(eager):
    recorded = Weights()
    model = network(RECIPE)
    kr.training.fit(model, RECIPE, images(), callbacks=[recorded])
    for epoch, trained in enumerate([{"predictions"}, {"predictions", "conv2"}, {"predictions", "conv2", "conv1"}]):
        before, after = recorded.seen[epoch : epoch + 2]
        for path, value in after.items():
            changes = path.split("/")[-2].split("_")[0] in trained
            assert np.array_equal(before[path], value) != changes, (epoch, path)
    assert all(layer.trainable for layer in model.layers)


@pytest.mark.slow
def test_the_first_phase_is_a_training_of_the_head_alone(eager):
    recipe = dataclasses.replace(RECIPE, validation_split=0.0, epochs=2)
    ends = []
    for model, options in ((kr.freeze(network(recipe)), {"unfreeze_epochs": 0}), (network(recipe), {})):
        recorded = Weights()
        kr.training.fit(model, dataclasses.replace(recipe, **options), images(), callbacks=[recorded])
        ends.append(recorded.seen[1])
    for path, value in ends[0].items():
        np.testing.assert_array_equal(value, ends[1][path], err_msg=path)


@pytest.mark.slow
def test_a_resumed_training_ends_with_the_same_weights(tmp_path, eager):
    weights, result = fit(RECIPE)
    for steps in (STEPS + 1, STEPS - 1, 2):  # in the second epoch, at its end, and in the third one
        with pytest.raises(Stopped):
            fit(RECIPE, tmp_path, [AtStep(steps, die(signal.SIGTERM))])
    resumed_weights, resumed = fit(RECIPE, tmp_path)
    assert resumed.history == result.history
    for one, two in zip([*weights, *result.last_weights], [*resumed_weights, *resumed.last_weights], strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.slow
@pytest.mark.parity
def test_the_moments_of_a_variable_begin_with_its_first_update_as_in_torch(rng):
    torch, _, _ = peers()
    kernels = rng.normal(size=(2, 4, 5)).astype("float32")
    gradients = rng.normal(size=(6, 2, 4, 5)).astype("float32")
    parameters = [torch.tensor(kernel, requires_grad=True) for kernel in kernels]
    peer = torch.optim.Adam(parameters, lr=0.02, weight_decay=0.1)
    variables = [keras.Variable(kernel) for kernel in kernels]
    opt = optimizer(Recipe(optimizer="adam", weight_decay=0.1), 0.02)
    opt.build(variables)
    opt.starts = (0, 3)
    for step, each in enumerate(gradients):
        count = 1 if step < 3 else 2
        opt.apply(list(each[:count]), variables[:count])
        for parameter, gradient in zip(parameters[:count], each, strict=False):
            parameter.grad = torch.tensor(gradient)
        peer.step()
    for variable, parameter in zip(variables, parameters, strict=True):
        np.testing.assert_allclose(variable, parameter.detach().numpy(), rtol=2e-5, atol=2e-6)
