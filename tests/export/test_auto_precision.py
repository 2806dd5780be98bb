"""`precision="auto"` exports the quickest type that keeps the answers; a typed one that is slower is warned of."""

import logging

import numpy as np
import pytest
import tensorflow as tf

import keras_resnet as kr
from keras_resnet.export import precisions
from keras_resnet.export.network import float_features
from tests.cli.test_cli import invoke
from tests.conftest import randomise_evenly
from tests.small_export import without_files

IMAGES = np.zeros((4, 8, 8, 3), "uint8")
QUICKEST = "the quickest on the machine of the export"


@pytest.fixture
def network(rng):
    model = kr.ResNet((1,), filters=(8,), stem=kr.stems.cifar, input_shape=(8, 8, 3), classes=4)
    randomise_evenly(model, rng)
    return model


@pytest.fixture
def measured(monkeypatch):
    """A function that sets the speed of each precision, and which fraction of the answers it keeps."""

    def set_measurements(rates, kept, left_out):
        monkeypatch.setattr(precisions, "_candidates", lambda *_: ({name: name for name in rates}, dict(left_out)))
        monkeypatch.setattr(precisions, "_images_per_second", lambda *_: dict(rates))
        monkeypatch.setattr(precisions, "_kept", lambda model, name, images: (kept[name], f"{kept[name]:.1%} are kept"))

    return set_measurements


# rates, kept answers, why others are not tried -> card; with calibration images
CHOSEN = {
    "int8 is the quickest": (
        {"float32": 41.0, "bfloat16": 80.0, "int8": 160.0},
        {"bfloat16": 0.99, "int8": 0.995},
        {},
        f"int8, {QUICKEST}: 160 images/s in batches of 8; float32 reaches 41 images/s; bfloat16 reaches 80 images/s; "
        "99.5% are kept",
    ),
    "int8 answers otherwise": (
        {"float32": 41.0, "bfloat16": 80.0, "int8": 160.0},
        {"bfloat16": 0.99, "int8": 0.5},
        {},
        f"bfloat16, {QUICKEST} that keeps the answers: 80 images/s in batches of 8; float32 reaches 41 images/s; "
        "int8 reaches 160 images/s and is not taken, because only 50.0% are kept; 99.0% are kept",
    ),
    "both answer otherwise": (
        {"float32": 41.0, "bfloat16": 80.0, "int8": 160.0},
        {"bfloat16": 0.9, "int8": 0.5},
        {},
        f"float32, {QUICKEST} that keeps the answers: 41 images/s in batches of 8; "
        "bfloat16 reaches 80 images/s and is not taken, because only 90.0% are kept; "
        "int8 reaches 160 images/s and is not taken, because only 50.0% are kept",
    ),
    "both are slower": (
        {"float32": 41.0, "bfloat16": 26.0, "int8": 42.0},
        {},
        {},
        f"float32, {QUICKEST}: 41 images/s in batches of 8; bfloat16 reaches 26 images/s; int8 reaches 42 images/s",
    ),
    "one is not tried": (
        {"float32": 41.0, "int8": 80.0},
        {"int8": 1.0},
        {"bfloat16": "not tried, because of a test"},
        f"int8, {QUICKEST}: 80 images/s in batches of 8; float32 reaches 41 images/s; "
        "bfloat16 not tried, because of a test; 100.0% are kept",
    ),
}


@pytest.mark.parametrize("case", CHOSEN)
def test_the_quickest_precision_that_keeps_the_answers_is_taken(case, measured, caplog):
    rates, kept, left_out, card = CHOSEN[case]
    measured(rates, kept, left_out)
    with caplog.at_level(logging.INFO, "keras_resnet.export"):
        served = precisions.in_auto(None, IMAGES, 0.99)
    assert served.precision == card
    assert served.features == card.partition(",")[0]
    assert caplog.messages == [f"precision {card}"]


def test_without_images_answers_are_not_compared(measured):
    measured({"float32": 41.0, "bfloat16": 80.0}, {}, {})
    served = precisions.in_auto(None, None, 0.99)
    assert served.precision == (f"bfloat16, {QUICKEST}: 80 images/s in batches of 8; float32 reaches 41 images/s")


# slowdown of convolutions, images, whether there is int8 -> what is tried, and why the others are not
TRIED = {
    "all": (1.0, IMAGES, True, ["float32", "bfloat16", "int8"], {}),
    "emulated": (9.0, IMAGES, True, ["float32", "int8"], {"bfloat16": "a convolution takes 9 times as long"}),
    "no images": (1.0, None, True, ["float32", "bfloat16"], {"int8": "there are no calibration images"}),
    "no kernel": (1.0, IMAGES, False, ["float32", "bfloat16"], {"int8": "this TensorFlow has no exact int8"}),
}


@pytest.mark.parametrize("case", TRIED)
def test_a_precision_without_hope_is_not_tried(case, monkeypatch):
    slowdown, images, available, tried, reasons = TRIED[case]
    monkeypatch.setattr(precisions, "slowdown", lambda name: slowdown)
    monkeypatch.setattr(precisions, "available", lambda: available)
    monkeypatch.setattr(precisions, "quantised", lambda *_: "int8")
    monkeypatch.setattr(precisions, "float_features", lambda model, name, part: name)
    found, left_out = precisions._candidates(None, images, None)
    assert list(found) == tried
    assert left_out.keys() == reasons.keys()
    assert all(reason in left_out[name] for name, reason in reasons.items())


def test_layers_without_an_8_bit_form_leave_int8_out(network, monkeypatch):
    monkeypatch.setattr(precisions, "slowdown", lambda name: 9.0)
    monkeypatch.setattr(precisions, "available", lambda: True)
    tried, left_out = precisions._candidates(network, IMAGES, precisions.feature_extractor)  # it has batch norms
    assert list(tried) == ["float32"]
    assert "model must have only layers that have an 8-bit form. Received: BatchNormalization" in left_out["int8"]


# name, images per second of it and of float32, slowdown of convolutions -> warning
WARNED = (
    (
        "bfloat16",
        (26.0, 41.0),
        1.6,
        "precision=bfloat16 is slower than float32 on this machine: 26 images/s instead of 41",
    ),
    ("int8", (26.0, 41.0), 9.0, "precision=int8 is slower than float32 on this machine: 26 images/s instead of 41"),
    ("bfloat16", (80.0, 41.0), 9.0, "precision=bfloat16 is slower than float32 on this machine: a convolution takes 9"),
    ("bfloat16", (80.0, 41.0), 0.5, ""),
    ("bfloat16", (40.0, 41.0), 1.0, ""),
)


@pytest.mark.parametrize(("name", "rates", "slowdown", "warning"), WARNED)
def test_a_typed_precision_that_is_slower_is_warned_of(name, rates, slowdown, warning, monkeypatch, caplog):
    speeds = dict(zip((name, "float32"), rates))
    asked = []
    monkeypatch.setattr(precisions, "slowdown", lambda name: slowdown)
    monkeypatch.setattr(precisions, "float_features", lambda model, name, part: name)
    monkeypatch.setattr(precisions, "_images_per_second", lambda tried, *_: asked.append(tried) or speeds)
    precisions._warn_if_slower(name, name, None, None)
    emulated = name == "bfloat16" and slowdown > 3
    assert asked == ([] if emulated else [{name: name, "float32": "float32"}])
    assert len(caplog.messages) == bool(warning)
    assert warning in caplog.text
    assert ("The machine that serves may differ" in caplog.text) == bool(warning)


@pytest.mark.slow
def test_what_was_chosen_is_served_and_in_the_card(network, tmp_path, monkeypatch, rng):
    without_files(monkeypatch)
    monkeypatch.setattr(precisions, "SECONDS", 0.0)
    monkeypatch.setattr(precisions, "slowdown", lambda name: 1.0)
    monkeypatch.setattr(precisions, "quickest", lambda rates: "bfloat16")
    images = rng.uniform(0, 255, (32, 8, 8, 3)).astype("float32")
    path = kr.export.saved_model(network, tmp_path, precision="auto", calibration=images, agreement=0.5)
    card = " ".join((path / "card.txt").read_text().split())
    assert f"computed in bfloat16, {QUICKEST}: " in card
    assert "of 32 calibration images are classified as in float32" in card
    features = tf.saved_model.load(str(path)).signatures["features"](image=tf.constant(images))["features"]
    folded = kr.export.fold_batch_norm(network)
    np.testing.assert_array_equal(features, tf.function(float_features(folded, "bfloat16"))(images))
    assert np.abs(features - float_features(folded, "float32")(images)).max() > 0


@pytest.mark.slow
def test_the_command_measures_on_this_machine(network, tmp_path, monkeypatch, caplog):
    without_files(monkeypatch)
    monkeypatch.setattr(precisions, "SECONDS", 0.1)
    network.save(tmp_path / "net.keras")
    with caplog.at_level(logging.INFO, "keras_resnet.export"):
        result = invoke("export", tmp_path / "net.keras", "--out", tmp_path / "out", "--precision", "auto")
    assert result.exit_code == 0, result.exception
    (message,) = (text for text in caplog.messages if text.startswith("precision "))
    assert "int8 not tried, because there are no calibration images" in message
    assert message.removeprefix("precision ") in " ".join(result.stdout.split())
    error = invoke("export", tmp_path / "net.keras", "--out", tmp_path / "no", "--calibration", "digits").exception
    assert "--calibration must not be given without --precision int8 or auto" in str(error)
