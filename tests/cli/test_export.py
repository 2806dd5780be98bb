"""`keras-resnet export`, of a model file and of published weights."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_resnet as kr
from keras_resnet.cli import with_options
from tests import needs
from tests.cli.test_cli import invoke
from tests.conftest import randomise_evenly
from tests.small_export import without_files


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    options = {"filters": (8,), "stem": kr.stems.cifar, "input_shape": (8, 8, 1), "classes": 10}
    model = kr.ResNet((1,), kr.residual_block, **options)
    randomise_evenly(model, np.random.default_rng(0))
    file = tmp_path_factory.mktemp("network") / "net.keras"
    model.save(file)
    return model, file


@pytest.mark.slow
def test_a_file_becomes_a_model_with_names_and_a_kit(network, tmp_path, rng, monkeypatch):
    model, file = network
    names = [f"digit {number}" for number in range(10)]
    (tmp_path / "names.txt").write_text("\n".join(names) + "\n")
    options = ("--out", tmp_path / "out", "--name", "digits", "--classes", tmp_path / "names.txt", "--top", 2)
    for version in (2, 1):  # version 2 is used below
        result = invoke("export", file, *options, "--version", version)
        without_files(monkeypatch)
        assert result.exit_code == 0, result.exception
        assert "computed in" in result.stdout
    versions = tmp_path / "out" / "models" / "digits"
    assert sorted(path.name for path in versions.iterdir()) == ["1", "2"]
    assert (versions / "1" / "assets.extra" / "tf_serving_warmup_requests").is_file()
    assert "digits" in (tmp_path / "out" / "compose.yaml").read_text()
    image = rng.integers(0, 255, (8, 8, 1)).astype("uint8")
    serve = tf.saved_model.load(str(versions / "2")).signatures["serving_bytes"]
    answer = serve(image_bytes=tf.constant([tf.io.encode_png(image).numpy()]))
    expected = np.array(model(image[None]))[0]
    assert [name.decode() for name in answer["classes"].numpy()[0]] == [names[i] for i in expected.argsort()[:-3:-1]]
    np.testing.assert_allclose(answer["probabilities"].numpy()[0], expected, atol=1e-5)


@pytest.mark.slow
@needs.int8()
def test_eight_bits_are_calibrated_with_the_images_that_are_named(network, tmp_path, monkeypatch):
    without_files(monkeypatch)
    _, file = network
    result = invoke("export", file, "--out", tmp_path / "out", "--precision", "int8", "--calibration", "digits")
    assert result.exit_code == 0, result.exception
    # The same share of each class is drawn, so the count is only close to the 200 images that are asked for.
    assert re.search(r"of (19\d|20\d) calibration images are classified as in float32", " ".join(result.stdout.split()))
    error = invoke("export", file, "--out", tmp_path / "none", "--precision", "int8").exception
    assert "--calibration must be given if the model is not a run directory" in str(error)
    assert not (tmp_path / "none").exists()


@pytest.mark.slow
def test_an_export_says_where_it_looks_if_asked_to(network, tmp_path, monkeypatch):
    without_files(monkeypatch)
    _, file = network
    result = invoke("export", file, "--out", tmp_path / "out", "--name", "digits", "--explain")
    assert result.exit_code == 0, result.exception
    assert "`explain`: `heat_map`" in " ".join(result.stdout.split())
    version = tmp_path / "out" / "models" / "digits" / "1"
    answer = tf.saved_model.load(str(version)).signatures["explain"](image_bytes=tf.constant([b"black"]))
    assert answer["heat_map"].shape == (1, 8, 8)
    assert "| `explain`" in (tmp_path / "out" / "README.md").read_text()


def test_a_network_that_cannot_say_where_it_looks_is_told(tmp_path):
    image = keras.Input((8, 8, 3))
    keras.Model(image, keras.layers.Dense(2, "softmax")(keras.layers.Flatten()(image))).save(tmp_path / "net.keras")
    error = invoke("export", tmp_path / "net.keras", "--out", tmp_path / "out", "--explain").exception
    message = "--explain: the model must end in average pooling of a map and one Dense layer"
    assert with_options(str(error), "export").startswith(message)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_published_weights_bring_their_names_and_accuracy(tmp_path, monkeypatch):
    without_files(monkeypatch)
    result = invoke("export", "ResNet20", "--weights", "fashion_mnist", "--out", tmp_path, "--precision", "bfloat16")
    assert result.exit_code == 0, result.exception
    card = (tmp_path / "models" / "ResNet20" / "1" / "card.txt").read_text()
    for fact in ("94.53 % top-1 on fashion_mnist", "apache-2.0", "bfloat16", "(N, 28, 28, 1)"):
        assert fact in card
    assert b"Ankle boot" in (tmp_path / "models" / "ResNet20" / "1" / "saved_model.pb").read_bytes()


@pytest.mark.slow
def test_a_bad_list_of_names_is_told(network, tmp_path):
    _, file = network
    error = invoke("export", file, "--out", tmp_path / "out", "--classes", tmp_path / "none.txt").exception
    assert f"--classes must be a text file in UTF-8. Received: {tmp_path / 'none.txt'}" in str(error)
    (tmp_path / "few.txt").write_text("a\nb\n")
    error = invoke("export", file, "--out", tmp_path / "out", "--classes", tmp_path / "few.txt").exception
    assert f"one name for each of the 10 outputs of the model. Received: {tmp_path / 'few.txt'} with 2" in str(error)


@pytest.mark.slow
def test_a_file_in_the_place_of_the_directory_is_told(network, tmp_path):
    _, file = network
    (tmp_path / "out").write_text("")
    error = invoke("export", file, "--out", tmp_path / "out" / "net").exception
    assert f"--out must be a directory. Received: '{tmp_path}/out/net'; {tmp_path}/out is a file" in str(error)
