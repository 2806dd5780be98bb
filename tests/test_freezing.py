"""Freezing: which layers are trained, and that training does not change the others."""

import keras
import numpy as np
import pytest

import keras_resnet as kr
from keras_resnet.stages import freeze
from tests.conftest import randomise


def tiny(**options):
    defaults = {"filters": (4, 8, 8), "stem": kr.stems.cifar, "input_shape": (16, 16, 3), "classes": 3}
    return kr.ResNet((1, 1, 1), kr.residual_block, **{**defaults, **options})


def trained_stages(model):
    """The stages that have trainable weights, as the first parts of layer names."""
    return {weight.path.split("/")[-2].split("_")[0] for weight in model.trainable_weights}


@pytest.fixture(scope="module")
def preactivated():
    """A network that each test freezes again."""
    return tiny(ordering="full_preactivation")


@pytest.mark.parametrize(
    ("until", "rest"),
    [
        ("conv1", {"conv1", "conv2", "conv3", "conv4", "post", "predictions"}),
        ("conv2", {"conv2", "conv3", "conv4", "post", "predictions"}),
        ("conv4", {"conv4", "post", "predictions"}),
        ("post", {"post", "predictions"}),
        ("predictions", {"predictions"}),
    ],
)
def test_what_comes_before_a_stage_is_frozen(until, rest, preactivated):
    model = preactivated
    assert freeze(model, until) is model
    assert trained_stages(model) == rest
    trainable = {layer.name: layer.trainable for layer in model.layers}
    assert trainable["preprocessing"] is trainable["conv1_conv"] is (until == "conv1")


def test_all_but_the_classifier_is_frozen_by_default():
    model = freeze(tiny())
    assert [weight.path for weight in model.trainable_weights] == ["predictions/kernel", "predictions/bias"]
    assert freeze(tiny(include_top=False)).trainable_weights == []


@pytest.mark.slow
@pytest.mark.parametrize("stem", [kr.stems.imagenet, kr.stems.deep, kr.stems.deep_strided])
def test_every_layer_of_a_stem_is_frozen_with_it(stem):
    assert trained_stages(freeze(tiny(stem=stem, input_shape=(32, 32, 3)), "conv2")) == {
        "conv2",
        "conv3",
        "conv4",
        "predictions",
    }


@pytest.mark.slow
def test_stages_are_in_the_order_of_their_numbers():
    model = kr.ResNet((1,) * 9, kr.residual_block, filters=(4,) * 9, stem=kr.stems.cifar, input_shape=(256, 256, 3))
    assert trained_stages(freeze(model, "conv9")) == {"conv9", "conv10", "predictions"}


def test_freezing_anew_forgets_what_was_frozen_before():
    model = freeze(freeze(tiny()), "conv4")
    assert trained_stages(model) == {"conv4", "predictions"}
    assert trained_stages(freeze(model, "conv1")) == {"conv1", "conv2", "conv3", "conv4", "predictions"}
    assert not any(weight.trainable for weight in model.get_layer("preprocessing").weights)
    model.trainable = False
    assert trained_stages(freeze(model, "conv4")) == {"conv4", "predictions"}


def model_around(backbone):
    x = keras.Input((16, 16, 1))
    y = keras.layers.Conv2D(3, 1, name="colour")(x)
    return keras.Model(x, keras.layers.Dense(2, name="mine")(backbone(y)))


@pytest.mark.slow
def test_a_model_around_the_network_trains_what_it_adds():
    backbone = tiny(include_top=False, pooling="avg")
    backbone.trainable = False
    model = freeze(model_around(backbone), "conv4")
    assert trained_stages(model) == {"conv4", "colour", "mine"}
    assert trained_stages(backbone) == {"conv4"}
    assert trained_stages(freeze(keras.Sequential([tiny(include_top=False), keras.layers.Dense(2, name="mine")]))) == {
        "mine"
    }


def test_a_model_as_a_part_of_a_stage_goes_with_it():
    def stem(x, filters, norm_act, after):
        inner = keras.Input(x.shape[1:])
        return keras.Model(inner, keras.layers.Conv2D(filters, 3, padding="same", name="mine")(inner), name="stem")(x)

    model = tiny(stem=stem)
    assert trained_stages(freeze(model, "conv2")) == {"conv2", "conv3", "conv4", "predictions"}
    assert trained_stages(freeze(model, "conv1")) == {"mine", "conv2", "conv3", "conv4", "predictions"}


def test_a_head_that_reads_an_early_stage_trains():
    backbone = tiny(include_top=False)
    side = keras.layers.Conv2D(2, 1, name="lateral")(kr.pyramid(backbone)["C2"])
    model = freeze(keras.Model(backbone.input, [backbone.output, side]), "conv4")
    assert trained_stages(model) == {"conv4", "lateral"}


@pytest.mark.slow
def test_a_loaded_model_freezes_too(tmp_path):
    tiny().save(tmp_path / "tiny.keras")
    assert trained_stages(freeze(keras.saving.load_model(tmp_path / "tiny.keras"), "conv4")) == {"conv4", "predictions"}


def values(model):
    return {weight.path: np.array(keras.ops.convert_to_numpy(weight)) for weight in model.weights}


@pytest.mark.slow
def test_training_moves_what_is_not_frozen_and_nothing_else(rng):
    model = tiny()
    randomise(model, rng)
    freeze(model, "conv4").compile("sgd", "sparse_categorical_crossentropy")
    before = values(model)
    model.fit(rng.uniform(0, 255, (8, 16, 16, 3)), rng.integers(0, 3, 8), epochs=2, batch_size=4, verbose=0)
    moved = {path for path, value in values(model).items() if (value != before[path]).any()}
    assert moved == {path for path in before if path.startswith(("conv4", "predictions"))}
    assert any(path.endswith("moving_variance") for path in moved)


def test_frozen_batch_norm_normalises_with_its_moving_statistics(rng):
    model = tiny()
    randomise(model, rng)
    images = rng.uniform(0, 255, (4, 16, 16, 3)).astype("float32")
    features = keras.Model(model.input, [model.get_layer(f"conv{stage}_block1_out").output for stage in (3, 4)])

    def differences():
        pairs = zip(features(images, training=True), features(images, training=False))
        return [float(keras.ops.max(keras.ops.abs(training - inference))) for training, inference in pairs]

    assert min(differences()) > 0.01
    freeze(model, "conv4")
    frozen, trained = differences()
    assert frozen == 0
    assert trained > 0.01


def test_a_stage_that_the_model_has_not_is_named_with_those_that_it_has():
    with pytest.raises(
        ValueError, match="one of 'conv1', 'conv2', 'conv3', 'conv4', 'predictions'. Received: until='conv5'"
    ):
        freeze(tiny(), "conv5")


def test_a_model_without_stages_is_refused():
    x = keras.Input((8,))
    with pytest.raises(
        ValueError, match="model must have layers that are named like those of a ResNet's blocks.*Received: 'other'"
    ):
        freeze(keras.Model(x, keras.layers.Dense(2)(x), name="other"))
