"""Files of which only names are known: what is assumed is right for those that are found, and is said."""

import functools
import logging

import keras
import numpy as np
import pytest
from safetensors.numpy import save_file

import keras_resnet as kr
from keras_resnet import weights
from keras_resnet.evaluation import published
from keras_resnet.resnet import DEFAULTS
from keras_resnet.weights import metadata
from keras_resnet.weights.models import SIDES
from keras_resnet.weights.recognition import form_of
from keras_resnet.weights.resolution import constructor_arguments
from keras_resnet.weights.variants import KERAS_NORM
from tests.conftest import randomise
from tests.torch_names import torch_state

tiny = functools.partial(
    kr.ResNet,
    (1, 2, 1),
    kr.residual_block,
    filters=(8, 16, 24),
    stem=kr.stems.cifar,
    input_shape=(16, 16, 3),
    classes=10,
    classifier_activation=None,
)
PIXELS = "does not say how its pixels were prepared"


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """A network with zeros on both sides of the channels, and its file with torch's names."""
    model = tiny(shortcut=kr.shortcuts.zero_pad_both)
    randomise(model, np.random.default_rng(0))
    path = tmp_path_factory.mktemp("torch") / "net.safetensors"
    save_file(torch_state(model), path)
    return model, path


@pytest.fixture(scope="module")
def model():
    """A network with zeros at the end."""
    return tiny(shortcut=kr.shortcuts.zero_pad)


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(1).integers(0, 256, (2, 16, 16, 3)).astype("uint8")


def logits(model, images):
    return np.asarray(model(images, training=False))


def test_torchs_option_a_has_its_zeros_on_both_sides_and_that_is_said(both, model, images, caplog):
    with caplog.at_level(logging.WARNING, "keras_resnet"):
        kr.load_weights(model, both[1])
    np.testing.assert_allclose(logits(model, images), logits(both[0], images), atol=1e-5)
    assert caplog.text.count("taken to put zeros on both sides") == 1
    assert 'weights.like(model, "zoo", file), or type --like zoo' in caplog.text


def test_zeros_at_the_end_can_be_asked_for(both, model, images, tmp_path, caplog):
    model.set_weights(both[0].get_weights())
    expected = logits(model, images)
    model.save_weights(tmp_path / "end.weights.h5")
    model.set_weights([np.zeros_like(array) for array in model.get_weights()])
    with caplog.at_level(logging.WARNING, "keras_resnet"):
        kr.load_weights(model, weights.like("ResNet20", "zoo", both[1]))
    np.testing.assert_array_equal(logits(model, images), expected)
    assert caplog.text == ""
    kr.load_weights(model, both[1])
    kr.load_weights(model, tmp_path / "end.weights.h5")  # Keras' names are of this package
    np.testing.assert_array_equal(logits(model, images), expected)


def test_a_network_with_zeros_on_both_sides_takes_the_file_as_it_is(both, images, caplog):
    model = tiny(shortcut=kr.shortcuts.zero_pad_both)
    with caplog.at_level(logging.WARNING, "keras_resnet"):
        kr.load_weights(model, both[1])
    np.testing.assert_array_equal(logits(model, images), logits(both[0], images))
    assert "zeros" not in caplog.text


def test_zeros_are_not_moved_in_blocks_with_gates():
    model = tiny(shortcut=kr.shortcuts.zero_pad, gate=kr.gates.squeeze_excite)
    tensors = {f"{layer.name}/{weight.name}": weight for layer in model.layers for weight in layer.weights}
    with pytest.raises(ValueError, match="shortcut=keras_resnet.shortcuts.zero_pad_both, .*--like zoo"):
        weights.find("ResNet20", "akamaster").conversions[0](tensors)


def test_the_pixels_that_are_assumed_are_said(both, model, caplog):
    with caplog.at_level(logging.WARNING, "keras_resnet"):
        kr.load_weights(model, both[1])
    assert f"{PIXELS}; the model takes (pixels / 255 - mean) / std with mean (0.485, 0.456, 0.406)" in caplog.text


def test_a_network_that_prepares_no_pixels_says_nothing_of_them(both, caplog):
    bare = tiny(shortcut=kr.shortcuts.zero_pad_both, include_preprocessing=False)
    with caplog.at_level(logging.WARNING, "keras_resnet"):
        kr.load_weights(bare, both[1])
    assert caplog.text == ""


def test_other_pixels_are_asked_for_without_code(both, images):
    constructor = kr.constructor.constructor("ResNet20", "", kr.zoo.ROWS["ResNet20"].fields)
    small = {"depths": (1, 2, 1), "filters": (8, 16, 24), "input_shape": (16, 16, 3), "classifier_activation": None}
    plain = tiny(shortcut=kr.shortcuts.zero_pad_both, include_preprocessing=False)
    plain.set_weights(both[0].get_weights())
    mine = weights.like("ResNet20", "akamaster", both[1], mean=0, std=1)
    model = constructor(weights=mine, **small)  # the network takes pixels / 255
    np.testing.assert_allclose(logits(model, images), logits(plain, images.astype("float32") / 255), atol=1e-5)


def test_what_is_not_changed_is_that_of_the_tag():
    row, mine = weights.find("ResNet50V2", "keras"), weights.like("ResNet50V2", "keras", "f.h5", size=99, crop_pct=1)
    assert (mine.mean, mine.std, mine.form, mine.interpolation) == (row.mean, row.std, row.form, row.interpolation)
    assert (mine.size, mine.crop_pct, mine.classes) == (99, 1.0, 0)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            {"mean": (123.7, 116.8, 103.9)},
            ValueError,
            r"mean must be that of pixels / 255: type \(0.4851, ",
        ),
        ({"mean": (0.5, 0.5)}, ValueError, r"mean must be one number or three. Received: mean=\(0.5, 0.5\)"),
        ({"mean": "0.5"}, TypeError, "mean must be one number or three. Received: mean='0.5'"),
        ({"mean": (0.5, None, 0.5)}, TypeError, r"mean must be a number in \[0, 1\]. Received: mean=None"),
        ({"std": 0}, ValueError, r"std must be in \[0.0001, 1\]. Received: std=0"),
        ({"std": (float("nan"),) * 3}, ValueError, r"std must be in \[0.0001, 1\]. Received: std=nan"),
        ({"size": 10**6}, ValueError, r"size must be in \[1, 4096\]. Received: size=1000000"),
        ({"crop_pct": 87.5}, ValueError, r"crop_pct must be in \[0.25, 1\]. Received: crop_pct=87.5"),
        ({"interpolation": "area"}, ValueError, "interpolation must be one of 'bilinear', 'bicubic'"),
    ],
    ids=str,
)
def test_preparation_of_pixels_outside_its_range_is_refused(change, error, message):
    with pytest.raises(error, match=message):
        weights.like("ResNet50", "zoo", "net.pth", **change)


@pytest.mark.parametrize(
    "extreme",
    [
        {"size": 4096, "crop_pct": 0.25, "mean": 1, "std": 0.0001, "interpolation": "bicubic"},
        {"size": np.int64(1), "crop_pct": 1, "mean": 0, "std": 1, "interpolation": "bilinear"},
    ],
)
def test_what_is_said_of_ones_own_file_is_in_a_card_again(extreme, tmp_path):
    mine = weights.like("ResNet20", "zoo", "mine.pth", **extreme)
    save_file({"a": np.zeros(1)}, tmp_path / "net.safetensors", metadata.metadata_of(mine, "ResNet20", 10))
    again = metadata.read_metadata(tmp_path / "net.safetensors")
    assert {name: getattr(again, name) for name in extreme} == {name: getattr(mine, name) for name in extreme}
    assert [again.size, again.crop_pct] == [extreme["size"], extreme["crop_pct"]]


def test_the_models_that_weights_know_are_those_of_the_zoo():
    assert {name: row.size for name, row in kr.zoo.ROWS.items()} == SIDES


@pytest.mark.parametrize("name", ["ResNet20", "ResNet164", "ResNet1001V2", "WideResNet28_10"])
def test_images_of_networks_for_cifar_are_not_cropped(name):
    plain = weights.like(name, "zoo", "mine.h5")
    assert (plain.size, plain.crop_pct) == (32, 1.0)


@pytest.mark.parametrize("tag", ["zoo", "imagenet"])
def test_a_model_that_is_unknown_is_refused(tag):
    with pytest.raises(ValueError, match="unknown model; .* Did you mean .*ResNet50.* Received: 'ResNet5'"):
        weights.like("ResNet5", tag, "mine.h5")


def test_a_path_in_the_home_directory_has_the_classes_of_its_file(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    save_file({"predictions/kernel": np.zeros((64, 7)), "predictions/bias": np.zeros(7)}, tmp_path / "mine.safetensors")
    mine = weights.like("ResNet20", "zoo", "~/mine.safetensors")
    assert constructor_arguments("ResNet20", mine, kr.zoo.ROWS["ResNet20"].fields, {}, DEFAULTS)["classes"] == 7


@pytest.mark.parametrize(
    ("names", "form"),
    [
        (["conv1_bn/gamma", "conv1_conv/bias", "conv2_block1_1_conv/bias"], "keras_v1"),
        (["conv2_block1_preact_bn/gamma", "conv1_conv/bias", "conv2_block1_3_conv/bias"], "keras_v2"),
        (["conv1_conv/kernel", "conv2_block1_2_conv/depthwise_kernel"], "keras_next"),
        (["conv1_conv/kernel", "conv1_bn/gamma", "conv2_block1_1_conv/kernel"], ""),
        (["conv1_conv/bias"], ""),
        (["conv1/kernel", "conv1_bn/gamma", "conv_dw_1/depthwise_kernel", "conv_dw_1_bn/gamma"], ""),  # MobileNet
    ],
)
def test_layers_that_only_keras_applications_has_show_its_form(names, form):
    assert form_of(names) == form


def test_a_model_of_keras_applications_gets_its_own_layers_as_they_are(tmp_path):
    """A file of more layers than the model is an error that names them, not one of another form."""
    image = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, name="conv1_conv")(image)
    x = keras.layers.BatchNormalization(name="conv1_bn")(x)
    x = keras.layers.Conv2D(4, 1, name="conv2_block1_1_conv")(x)
    body = keras.Model(image, x)
    extended = keras.Model(image, keras.layers.Conv2D(4, 1, name="mine")(x))
    extended.save_weights(tmp_path / "mine.weights.h5")
    with pytest.raises(ValueError, match="does not fit 'functional.*: not in the model: mine/kernel, mine/bias$"):
        kr.load_weights(body, tmp_path / "mine.weights.h5")


def test_strides_in_other_blocks_than_those_of_keras_applications_v2_are_refused(tmp_path):
    names = ("conv2_block1_preact_bn/gamma", "conv1_conv/bias", "conv2_block1_3_conv/bias")
    save_file({name: np.zeros(8, "float32") for name in names}, tmp_path / "v2.safetensors")
    build = functools.partial(
        kr.ResNet,
        (2, 2),
        filters=(8, 16),
        input_shape=(16, 16, 3),
        ordering="full_preactivation",
        norm=KERAS_NORM,
        include_preprocessing=False,
        include_top=False,
    )
    with pytest.raises(ValueError, match="strides must be keras_resnet.strides.in_last_block. .*'conv3_block1_2_conv'"):
        kr.load_weights(build(), tmp_path / "v2.safetensors")
    with pytest.raises(ValueError, match="not in the file: "):
        kr.load_weights(build(strides=kr.strides.in_last_block), tmp_path / "v2.safetensors")


def test_the_command_line_describes_ones_own_file(both):
    path = str(both[1])
    found = published.checkpoint_of("ResNet20", path)
    assert (found.form, found.classes, found.mean) == ("", 10, kr.inputs.IMAGENET_MEAN)
    assert (found.size, found.crop_pct) == (32, 1.0)  # images of CIFAR are not cropped
    found = published.checkpoint_of("ResNet20", path, {"like": "zoo", "mean": (0.5, 0.5, 0.5), "crop_pct": 0.9})
    assert (found.form, found.size, found.mean, found.crop_pct) == ("torch", 32, (0.5,) * 3, 0.9)
    plain = weights.like("ResNet20", "zoo", path)
    assert (plain.size, plain.crop_pct, weights.like("ResNet50", "zoo", path).crop_pct) == (32, 1.0, 0.875)
    found = published.checkpoint_of("ResNet20", path, {"like": "akamaster", "std": 1})
    assert (found.form, found.std) == ("akamaster", (1.0,) * 3)
    with pytest.raises(ValueError, match="mean must not be given for the published checkpoint 'akamaster'"):
        published.checkpoint_of("ResNet20", "akamaster", {"mean": 0.5})


def test_a_file_without_a_classifier_measures_nothing(both, tmp_path):
    body = {name: array for name, array in torch_state(both[0]).items() if not name.startswith("fc.")}
    save_file(body, tmp_path / "body.safetensors")
    with pytest.raises(ValueError, match="weights must have a classifier of one layer. Received: .*body.safetensors"):
        published.checkpoint_of("ResNet20", str(tmp_path / "body.safetensors"))
