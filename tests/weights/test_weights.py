"""Weights: loading every kind of file, transfer to other classes and channels, and the table of published weights."""

import dataclasses
import functools
import importlib
import logging

import h5py
import keras
import numpy as np
import pytest

import keras_resnet as kr
from keras_resnet import weights
from keras_resnet.constructor import constructor
from keras_resnet.weights import conversion
from keras_resnet.weights.metadata import is_zoo_network
from keras_resnet.weights.save import WITH_CARD, WRITERS, save_weights
from keras_resnet.weights.table import Checkpoint, detectors, table
from keras_resnet.weights.variants import KERAS_NORM, VARIANTS
from tests import needs
from tests.conftest import SHARED, quick_among, randomise

CIFAR = SHARED / "cifar10"
needs_cifar = needs.shared_data
tiny = functools.partial(
    kr.ResNet, (1, 1), kr.residual_block, filters=(8, 16), stem=kr.stems.cifar, input_shape=(16, 16, 3), classes=10
)


def values(model):
    return [keras.ops.convert_to_numpy(variable) for variable in model.weights]


def same(model, other):
    return all(np.array_equal(a, b) for a, b in zip(values(model), values(other), strict=True))


@pytest.fixture
def trained(rng):
    model = tiny()
    randomise(model, rng)
    return model


# The trained CIFAR-10 nets


@pytest.fixture(scope="module")
def cifar_test():
    return np.load(CIFAR / "test_500.npz")


TRAINED = {"ResNet20": ("resnet20-12fca82f.th", 455), "ResNet56": ("resnet56-4bfd9763.th", 470)}


def check(model, name, data, count=50):
    parts = [data["images"][start : start + 50] for start in range(0, count, 50)]
    logits = np.concatenate([model(part, training=False) for part in parts])
    np.testing.assert_allclose(logits, data[f"logits_{name.lower()}"][:count], atol=1e-3)
    return logits


@pytest.mark.slow
@needs_cifar
@pytest.mark.parametrize("name", TRAINED)
def test_the_cifar_nets_are_read_from_their_torch_files(name, cifar_test):
    file = CIFAR / "weights" / TRAINED[name][0]
    logits = check(kr.create_model(name, weights=file, classifier_activation=None), name, cifar_test, count=500)
    assert int((logits.argmax(-1) == cifar_test["labels"]).sum()) == TRAINED[name][1]


@pytest.fixture(scope="module")
def resnet20():
    """The trained ResNet20 and its checkpoint."""
    source = str(CIFAR / "weights" / TRAINED["ResNet20"][0])
    checkpoint = dataclasses.replace(weights.find("ResNet20", "cifar10"), source=source)
    return kr.ResNet20(weights=checkpoint), checkpoint


@pytest.mark.slow
@needs_cifar
@pytest.mark.parametrize("ending", WRITERS)
def test_a_cifar_net_is_converted_to_every_format(ending, resnet20, cifar_test, tmp_path):
    model, checkpoint = resnet20
    save_weights(model, tmp_path / f"net{ending}", checkpoint, "ResNet20")
    check(kr.ResNet20(weights=tmp_path / f"net{ending}", classifier_activation=None), "ResNet20", cifar_test)
    assert [path.name for path in tmp_path.iterdir()] == [f"net{ending}"]


@pytest.mark.parametrize("ending", quick_among(WRITERS, ".safetensors"))
def test_a_written_file_can_be_read_by_whoever_reads_others(ending, tmp_path):
    ordinary_file = tmp_path / "other"
    ordinary_file.touch()
    checkpoint = weights.find("ResNet20", "fashion_mnist")
    save_weights(tiny(), tmp_path / f"net{ending}", checkpoint, "ResNet20")
    assert (tmp_path / f"net{ending}").stat().st_mode == ordinary_file.stat().st_mode


@pytest.mark.slow
@needs_cifar
def test_a_published_file_is_known_by_its_hash_under_any_name(tmp_path, cifar_test):
    copy = tmp_path / "mine.bin"
    copy.write_bytes((CIFAR / "weights" / TRAINED["ResNet20"][0]).read_bytes())
    check(kr.ResNet20(weights=copy, classifier_activation=None), "ResNet20", cifar_test)
    check(kr.CifarResNet(20, weights=copy, classifier_activation=None), "ResNet20", cifar_test)
    model = kr.ResNet20(classifier_activation=None)
    kr.load_weights(model, copy)
    check(model, "ResNet20", cifar_test)
    with pytest.raises(ValueError, match="weights of ResNet32 must not be those of ResNet20"):
        kr.ResNet32(weights=copy)


# The user's own files, in the form of a published file


SMALL = {"depths": (1, 1), "filters": (8, 16), "stem_filters": 64}  # Keras always has a stem with 64 filters
# File metadata and the table of weights treat it as a ResNet50.
SMALL_RESNET50 = constructor("ResNet50", "", {**kr.zoo.ROWS["ResNet50"].fields, **SMALL})


@pytest.fixture(scope="module")
def keras_file(tmp_path_factory):
    """A small network from keras.applications with 7 classes, and its saved weights file."""
    source = importlib.import_module("keras.src.applications.resnet")

    def stages(x):
        for number, filters in enumerate(SMALL["filters"]):
            x = source.stack_residual_blocks_v1(x, filters, 1, number + 1, f"conv{number + 2}")
        return x

    options = {"weights": None, "input_shape": (64, 64, 3), "classes": 7, "classifier_activation": None}
    theirs = source.ResNet(stages, preact=False, use_bias=True, **options)
    randomise(theirs, np.random.default_rng(0))
    path = tmp_path_factory.mktemp("own") / "mine.weights.h5"
    theirs.save_weights(path)
    return theirs, path


@pytest.mark.slow
def test_a_file_of_keras_applications_is_loaded_in_its_form_with_a_word(keras_file, rng, caplog):
    with caplog.at_level(logging.WARNING, "keras_resnet"):
        model = kr.ResNet50(
            weights=keras_file[1],
            input_shape=(64, 64, 3),
            classifier_activation=None,
            depths=(1, 1),
            filters=(8, 16),
            stem_filters=64,
        )
    assert "mine.weights.h5 has layers that only keras.applications' ResNet50 has" in caplog.text
    images = rng.integers(0, 256, (2, 64, 64, 3)).astype("float32")
    expected = np.asarray(keras_file[0](keras.applications.resnet.preprocess_input(images.copy()), training=False))
    np.testing.assert_allclose(model(images, training=False), expected, atol=1e-4 * np.abs(expected).max())
    again = kr.ResNet50(weights=weights.like("ResNet50", "keras", keras_file[1]), input_shape=(64, 64, 3), **SMALL)
    kr.load_weights(again, keras_file[1])
    assert same(again, model)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({}, "mean and std must be"),
        ({"include_preprocessing": False}, "norm must have epsilon=1.001e-05"),
        ({"norm": KERAS_NORM}, "mean and std must be"),
        ({"norm": KERAS_NORM, "include_preprocessing": False}, "1_conv of the blocks must have the stride"),
    ],
)
def test_a_network_of_another_form_is_refused_with_what_to_type(change, message, keras_file):
    model = kr.ResNet50(**SMALL, **change, classes=7)
    before = values(model)
    with pytest.raises(ValueError, match=rf"Build its form: keras_resnet.ResNet50\(.*\"keras\", file\)\). .*{message}"):
        kr.load_weights(model, keras_file[1])
    assert all(np.array_equal(a, b) for a, b in zip(before, values(model)))


@pytest.mark.slow
def test_a_file_is_loaded_like_a_published_one(keras_file, rng):
    checkpoint = weights.like("ResNet50", "keras", keras_file[1])
    model = SMALL_RESNET50(weights=checkpoint, input_shape=(64, 64, 3), classifier_activation=None)
    images = rng.integers(0, 256, (2, 64, 64, 3)).astype("float32")
    expected = np.asarray(keras_file[0](keras.applications.resnet.preprocess_input(images.copy()), training=False))
    np.testing.assert_allclose(model(images, training=False), expected, atol=1e-4 * np.abs(expected).max())


def test_convolutions_with_biases_before_norms_are_folded(rng, tmp_path):
    from safetensors.numpy import save_file

    from tests.torch_names import torch_state

    model = tiny(classifier_activation=None)
    randomise(model, rng)
    state = torch_state(model)
    bias = rng.uniform(-1, 1, 8).astype("float32")
    save_file(
        {**state, "conv1.bias": bias, "bn1.running_mean": state["bn1.running_mean"] + bias}, tmp_path / "b.safetensors"
    )
    images = rng.integers(0, 256, (2, 16, 16, 3)).astype("uint8")
    biased = tiny(weights=tmp_path / "b.safetensors", classifier_activation=None)
    np.testing.assert_allclose(biased(images, training=False), model(images, training=False), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_a_nested_model_is_read_from_what_keras_2_wrote(rng, tmp_path):
    def build():
        return keras.Sequential(
            [keras.Input((16, 16, 3)), tiny(include_top=False, pooling="avg"), keras.layers.Dense(3, name="d")]
        )

    nested, loaded = build(), build()
    randomise(nested, rng)
    nested.save_weights(tmp_path / "n.weights.h5")
    with h5py.File(tmp_path / "n.h5", "w") as file:
        inner = nested.layers[0]
        file.attrs["layer_names"] = [inner.name.encode(), b"d"]
        for layer, weight in [(inner.name, w) for w in inner.weights] + [("d", w) for w in nested.layers[1].weights]:
            file[f"{layer}/{weight.path.removeprefix(inner.name + '/')}:0"] = keras.ops.convert_to_numpy(weight)
    kr.load_weights(loaded, tmp_path / "n.h5")
    assert same(loaded, nested)


# Rewrites


@pytest.mark.slow
def test_option_a_with_zeros_on_both_sides_becomes_the_plain_one_exactly(rng, tmp_path):
    both = kr.CifarResNet(20, shortcut=kr.shortcuts.zero_pad_both)
    randomise(both, rng)
    both.save_weights(tmp_path / "both.weights.h5")
    plain = kr.CifarResNet(20)
    checkpoint = Checkpoint(
        "", "both", str(tmp_path / "both.weights.h5"), conversions=(conversion.move_zero_padding_to_end,)
    )
    kr.load_weights(plain, checkpoint)
    images = rng.integers(0, 256, (2, 32, 32, 3)).astype("uint8")
    np.testing.assert_allclose(plain(images, training=False), both(images, training=False), atol=1e-5)


def test_blue_green_red_becomes_red_green_blue_exactly(trained, rng, tmp_path):
    trained.save_weights(tmp_path / "bgr.weights.h5")
    ours = tiny(mean=(0.1, 0.2, 0.3), std=(0.3, 0.2, 0.1))
    checkpoint = Checkpoint(
        "",
        "bgr",
        str(tmp_path / "bgr.weights.h5"),
        mean=(0.1, 0.2, 0.3),
        std=(0.3, 0.2, 0.1),
        conversions=(conversion.bgr_to_rgb,),
    )
    kr.load_weights(ours, checkpoint)
    theirs = tiny(mean=(0.3, 0.2, 0.1), std=(0.1, 0.2, 0.3), weights=tmp_path / "bgr.weights.h5")
    images = rng.integers(0, 256, (2, 16, 16, 3)).astype("uint8")
    np.testing.assert_allclose(ours(images, training=False), theirs(images[..., ::-1], training=False), atol=1e-6)


# Transfer


def test_a_head_of_other_classes_starts_anew_and_says_so_once(trained, tmp_path, caplog):
    trained.save_weights(tmp_path / "net.weights.h5")
    with caplog.at_level(logging.WARNING, "keras_resnet"):
        other = tiny(classes=7, weights=tmp_path / "net.weights.h5")
    assert [record.getMessage().endswith("that of resnet keeps its values.") for record in caplog.records] == [True]
    assert np.array_equal(other.get_layer("conv1_conv").kernel, trained.get_layer("conv1_conv").kernel)
    assert other.output.shape == (None, 7)


@pytest.mark.slow
def test_the_classes_of_a_file_are_those_of_its_head(trained, rng, tmp_path):
    model = kr.ResNet20(classes=7)
    randomise(model, rng)
    model.save_weights(tmp_path / "seven.weights.h5")
    assert kr.ResNet20(weights=tmp_path / "seven.weights.h5").output.shape == (None, 7)


@pytest.mark.slow
def test_without_the_top_the_head_of_a_file_is_left(trained, tmp_path):
    trained.save_weights(tmp_path / "net.weights.h5")
    bare = tiny(include_top=False, weights=tmp_path / "net.weights.h5")
    assert np.array_equal(bare.get_layer("conv1_bn").gamma, trained.get_layer("conv1_bn").gamma)


@pytest.mark.parametrize("channels", quick_among((1, 2, 4, 6), 1))
def test_the_first_convolution_is_adapted_to_the_channels(channels, trained, tmp_path):
    trained.save_weights(tmp_path / "net.weights.h5")
    adapted = tiny(input_shape=(16, 16, channels), weights=tmp_path / "net.weights.h5")
    old = keras.ops.convert_to_numpy(trained.get_layer("conv1_conv").kernel)
    new = keras.ops.convert_to_numpy(adapted.get_layer("conv1_conv").kernel)
    assert new.shape == (3, 3, channels, 8)
    if channels == 1 or channels % 3 == 0:
        np.testing.assert_allclose(new.sum(axis=2), old.sum(axis=2), rtol=1e-5, atol=1e-6)
    assert same(
        keras.Model(adapted.layers[4].input, adapted.output), keras.Model(trained.layers[4].input, trained.output)
    )


def test_statistics_follow_the_channels():
    mean, std = kr.weights.find("ResNet50", "torchvision_v2").mean, (0.229, 0.224, 0.225)
    layer = tiny(input_shape=(16, 16, 4), mean=mean, std=std).get_layer("preprocessing")
    np.testing.assert_allclose(np.ravel(layer.mean) / 255, [*mean, np.mean(mean)], rtol=1e-6)
    np.testing.assert_allclose(np.sqrt(np.ravel(layer.variance)) / 255, [*std, np.mean(std)], rtol=1e-6)


# A checkpoint and the arguments of its network


@pytest.fixture(scope="module")
def keras_checkpoint(tmp_path_factory):
    """A checkpoint in the form of keras.applications, for a small network, with a local file."""
    row = weights.find("ResNet50", "keras")
    fields = {**row.fields, **SMALL}
    model = kr.ResNet50(include_top=False, **fields)
    randomise(model, np.random.default_rng(0))
    path = tmp_path_factory.mktemp("keras") / "net.weights.h5"
    model.save_weights(path)
    return dataclasses.replace(row, fields=fields, notop=str(path), notop_hash="")


def test_a_checkpoint_brings_its_form_its_epsilon_and_its_preprocessing(keras_checkpoint):
    model = kr.ResNet50(weights=keras_checkpoint, include_top=False, input_shape=(64, 64, 3))
    assert model.get_layer("conv3_block1_1_conv").strides == (2, 2)
    assert model.get_layer("conv1_bn").epsilon == 1.001e-5
    np.testing.assert_allclose(np.ravel(model.get_layer("preprocessing").mean), [123.68, 116.779, 103.939], rtol=1e-6)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"groups": 32}, "do not fit ResNet50 with these arguments; they need groups=1, not 32"),
        ({"block": kr.bottleneck_block}, r"block=bottleneck_block\(stride_in='1x1'\), not bottleneck_block"),
        ({"mean": (0.5, 0.5, 0.5)}, r"mean=\(0.485.*, not \(0.5, 0.5, 0.5\)"),
        ({"norm": kr.layers.batch_norm}, "norm must have epsilon=1.001e-05 for weights 'keras'. Received: 1e-05"),
    ],
)
def test_an_argument_that_contradicts_a_checkpoint_is_refused(option, message, keras_checkpoint):
    with pytest.raises(ValueError, match=message):
        kr.ResNet50(weights=keras_checkpoint, include_top=False, **option)


@pytest.mark.slow
def test_arguments_that_say_the_same_or_change_no_number_are_fine(keras_checkpoint):
    same_depths = np.array(SMALL["depths"])
    model = kr.ResNet50(weights=keras_checkpoint, include_top=False, groups=1, depths=same_depths, output_stride=16)
    assert same(model, kr.ResNet50(weights=keras_checkpoint, include_top=False))


def test_more_channels_may_have_a_mean_and_std_of_their_own(keras_checkpoint):
    mean, std = (0.4, 0.4, 0.4, 0.1), (0.2, 0.2, 0.2, 0.5)
    model = kr.ResNet50(weights=keras_checkpoint, include_top=False, input_shape=(64, 64, 4), mean=mean, std=std)
    np.testing.assert_allclose(np.ravel(model.get_layer("preprocessing").mean) / 255, mean, rtol=1e-6)


def test_a_tag_is_not_taken_for_a_file_of_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "timm_a1").write_text("nothing")
    from keras_resnet.weights.resolution import resolve

    assert resolve("ResNet50", "timm_a1") == weights.find("ResNet50", "timm_a1")


@pytest.mark.parametrize("wrong", [5, b"x", ["imagenet"], ""])
def test_weights_of_a_wrong_type_are_refused(wrong):
    with pytest.raises(
        TypeError, match="weights must be a tag, hf://owner/repository, a path or a Checkpoint. Received"
    ):
        kr.ResNet18(weights=wrong)
    with pytest.raises(TypeError, match="weights must be a tag"):
        kr.load_weights(tiny(), wrong)


def test_a_checkpoint_of_another_model_is_refused(keras_checkpoint):
    with pytest.raises(ValueError, match="weights of ResNet101 must not be those of ResNet50. Received: 'keras'"):
        kr.ResNet101(weights=keras_checkpoint)


def test_a_network_that_prepares_pixels_otherwise_is_refused(keras_checkpoint):
    model = kr.ResNet50(include_top=False, **{**keras_checkpoint.fields})
    before = values(model)
    with pytest.raises(ValueError, match="mean and std must be"):
        kr.load_weights(model, keras_checkpoint)
    assert all(np.array_equal(a, b) for a, b in zip(before, values(model)))


def test_a_network_without_preprocessing_takes_them(keras_checkpoint):
    kr.load_weights(
        kr.ResNet50(include_top=False, include_preprocessing=False, **keras_checkpoint.fields), keras_checkpoint
    )


def test_a_wrong_architecture_lists_the_first_layers_with_both_shapes(trained, tmp_path):
    trained.save_weights(tmp_path / "net.weights.h5")
    other = tiny(filters=(8, 32))
    before = values(other)
    with pytest.raises(
        ValueError, match=r"conv3_block1_1_conv/kernel is \(3, 3, 8, 16\) in the file and \(3, 3, 8, 32\)"
    ):
        kr.load_weights(other, tmp_path / "net.weights.h5")
    assert all(np.array_equal(a, b) for a, b in zip(before, values(other)))


@pytest.mark.parametrize(
    ("model", "tag", "message"),
    [
        ("ResNet50", "timm_a11", "Did you mean timm_a1"),
        ("ResNet50", "imagnet", "Did you mean imagenet"),
        ("ResNet164", "imagenet", "weights of ResNet164 must be None, the path of a file, or hf://"),
        ("ResNet20", "nowhere.h5", "no such file"),
        ("ResNet20", "some/where", "no such file"),
        ("ResNet50", "hf://timm", "weights must be hf://owner/repository"),
    ],
)
def test_an_unknown_tag_or_file_is_named(model, tag, message, cheap_weights):
    with pytest.raises(ValueError, match=message):
        kr.create_model(model, weights=tag)


# Metadata in files ("cards")


def test_a_file_that_cannot_say_its_form_is_not_written(keras_checkpoint, tmp_path):
    model = kr.ResNet50(weights=keras_checkpoint, include_top=False)
    for ending in (".npz", ".weights.h5"):
        with pytest.raises(ValueError, match=r"out must end in one of .keras, .safetensors for weights 'keras'"):
            save_weights(model, tmp_path / f"net{ending}", keras_checkpoint, "ResNet50")
    with pytest.raises(
        ValueError, match="out must end in one of .keras, .safetensors, .weights.h5, .npz. Received: 'a.h5'"
    ):
        save_weights(model, tmp_path / "a.h5", keras_checkpoint, "ResNet50")


@pytest.mark.slow
@pytest.mark.parametrize("ending", WITH_CARD)
def test_a_card_brings_back_the_network(ending, keras_checkpoint, tmp_path, rng):
    model = SMALL_RESNET50(weights=keras_checkpoint, include_top=False, input_shape=(64, 64, 3))
    path = tmp_path / f"net{ending}"
    save_weights(model, path, keras_checkpoint, "ResNet50")
    again = SMALL_RESNET50(weights=path, include_top=False, input_shape=(64, 64, 3))
    images = rng.integers(0, 256, (1, 64, 64, 3)).astype("uint8")
    np.testing.assert_array_equal(again(images), model(images))
    with pytest.raises(ValueError, match="weights of ResNet101 must not be those of ResNet50"):
        kr.ResNet101(weights=path)
    with pytest.raises(ValueError, match="mean and std must be"):
        kr.load_weights(SMALL_RESNET50(include_top=False), path)


@pytest.mark.slow
def test_keras_reads_a_file_with_a_card(keras_checkpoint, tmp_path):
    model = SMALL_RESNET50(weights=keras_checkpoint, include_top=False, input_shape=(64, 64, 3))
    save_weights(model, tmp_path / "net.keras", keras_checkpoint, "ResNet50")
    assert same(keras.saving.load_model(tmp_path / "net.keras"), model)


@pytest.mark.parametrize(
    "change",
    [
        {"form": "none"},
        {"mean": [0.5]},
        {"std": [0, 0, 0]},
        {"std": [float("nan")] * 3},
        {"classes": 10**12},
        {"size": "big"},
        {"mean": None},
        {"size": 6000},
        {"size": True},
        *({"crop_pct": value} for value in (2, 1e-5, 0, -1, float("nan"))),
        {"std": [1e-30] * 3},
        {"channels": 10**6},
        {"classes": 0},
        {"top1": float("nan")},
        {"interpolation": "lanczos"},
        {"top1": "all"},
        {"licence": None},
        {"tag": ["["] * 3},
    ],
    ids=str,
)
def test_a_card_that_lies_is_refused(change, tmp_path):
    import json

    from safetensors.numpy import save_file

    from keras_resnet.weights import metadata

    good = json.loads(metadata.metadata_of(weights.find("ResNet20", "cifar10"), "ResNet20", 10)["keras_resnet"])
    save_file({"a": np.zeros(1)}, tmp_path / "net.safetensors", {"keras_resnet": json.dumps({**good, **change})})
    with pytest.raises(ValueError, match="the metadata in"):
        kr.ResNet20(weights=tmp_path / "net.safetensors")


def test_a_card_has_the_number_of_channels(tmp_path):
    from safetensors.numpy import save_file

    from keras_resnet.weights import metadata

    row = weights.find("ResNet20", "fashion_mnist")
    save_file({"a": np.zeros(1)}, tmp_path / "net.safetensors", metadata.metadata_of(row, "ResNet20", 10))
    assert metadata.read_metadata(tmp_path / "net.safetensors").channels == 1


def test_a_card_whose_file_has_another_number_of_classes_is_refused(tmp_path):
    from safetensors.numpy import save_file

    from keras_resnet.weights import metadata

    card = metadata.metadata_of(weights.find("ResNet20", "cifar10"), "ResNet20", 100_000)
    save_file({"predictions/kernel": np.zeros((64, 10))}, tmp_path / "net.safetensors", card)
    with pytest.raises(ValueError, match="the 100,000 classes of its description. Received: net.safetensors with a "):
        kr.ResNet20(weights=tmp_path / "net.safetensors")


def test_a_card_that_nests_without_end_is_refused(tmp_path):
    from safetensors.numpy import save_file

    save_file({"a": np.zeros(1)}, tmp_path / "net.safetensors", {"keras_resnet": "[" * 100_000})
    with pytest.raises(ValueError, match="the metadata in .* must be JSON that keras_resnet wrote. Received: "):
        kr.ResNet20(weights=tmp_path / "net.safetensors")


# The table


def test_list_weights_gives_the_recommended_one_first():
    assert kr.list_weights("ResNet50")[0] == "torchvision_v2"
    assert {"keras", "timm_a1", "timm_a2", "timm_a3", "torchvision_v1"} < set(kr.list_weights("ResNet50"))
    assert kr.list_weights("ResNet164V2") == []
    with pytest.raises(ValueError, match="Did you mean .*ResNet50"):
        kr.list_weights("ResNet5")


def test_each_model_with_weights_has_one_that_is_recommended_and_free():
    for model, data in {(row.model, row.data) for row in table()}:
        recommended = [row for row in table() if (row.model, row.data) == (model, data) and row.recommended]
        assert len(recommended) == 1
        assert "nc" not in recommended[0].licence
        assert weights.find(model, data) == recommended[0]


def test_rows_are_complete():
    names = kr.list_models()
    assert sorted({row.model for row in table()}, key=names.index) == list(dict.fromkeys(row.model for row in table()))
    assert len({(row.model, row.tag) for row in table()}) == len(table())
    for row in table():
        assert row.licence
        assert bool(row.top1) == bool(row.top1_source)
        assert row.source.startswith("hf://timm/") or row.hash.startswith(("md5:", "sha256:"))
        assert row.interpolation in ("bilinear", "bicubic")
        assert 0 < row.crop_pct <= 1
        assert row.top1 is None or 50 < row.top1 < 100


def test_weights_of_no_commercial_use_say_so():
    for row in table():
        if row.tag.startswith(("fb_swsl", "fb_ssl", "fb_wsl")) or (row.tag == "keras" and "NeXt" in row.model):
            assert row.licence == "cc-by-nc-4.0"


def test_every_form_is_in_the_table():
    assert {row.form for row in (*table(), *detectors())} == set(VARIANTS)


def test_nothing_is_plain_that_has_another_network_or_other_pixels():
    assert is_zoo_network(weights.find("ResNet50", "torchvision_v2"))
    assert not is_zoo_network(weights.find("ResNet50V2", "timm_a1h"))
    assert not is_zoo_network(weights.find("ResNet50", "keras"))
