"""`predict` of directories, as CSV and as JSON; and model files that other programs wrote."""

import csv
import json
import os

import keras
import numpy as np
import pytest

from keras_resnet.data import from_arrays
from keras_resnet.evaluation import evaluate, prediction
from keras_resnet.evaluation.prediction import predict_files
from keras_resnet.runtime.probabilities import probabilities_of
from tests.cli.test_cli import invoke
from tests.data.test_sources import write_png

ODD_NAMES = ("=cmd.png", "a,b.png", "grün.png")


def brightness(sequential=False):
    """A network whose class is the brightness of an image in sixths: "0" is black, "5" is white."""
    layers = [keras.layers.Flatten(), keras.layers.Dense(6, activation="softmax")]
    if sequential:
        model = keras.Sequential([keras.Input((4, 4, 3)), *layers])
    else:
        image = keras.Input((4, 4, 3))
        model = keras.Model(image, layers[1](layers[0](image)))
    steps = np.arange(6)
    model.set_weights([np.tile(steps / 480, (48, 1)), -(steps**2) * 2.5])  # near linear in the mean pixel
    return model


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    file = tmp_path_factory.mktemp("net") / "net.keras"
    brightness().save(file)
    return file


@pytest.fixture
def photos(tmp_path):
    for number, name in enumerate(ODD_NAMES):
        write_png(tmp_path / "photos" / "deep" / name, (4, 4, 3), 120 * number)
    (tmp_path / "photos" / "bad.jpg").write_bytes(b"no image")
    for junk in ("._1.jpg", "Thumbs.db", "notes.txt"):
        (tmp_path / "photos" / junk).write_bytes(b"junk")
    return tmp_path / "photos"


@pytest.mark.slow
def test_a_directory_is_predicted_as_json_which_stands_alone_on_stdout(net, photos, caplog):
    result = invoke("predict", photos, "--model", net, "--json")
    assert result.exit_code == 1
    rows = json.loads(result.stdout)
    assert [row["file"] for row in rows] == [
        str(photos / name) for name in ("bad.jpg", *(f"deep/{n}" for n in ODD_NAMES))
    ]
    assert rows[0]["error"] == f"{photos}/bad.jpg is not a readable JPEG, PNG, BMP, WebP or GIF"
    assert "predictions" not in rows[0]
    for row, expected in zip(rows[1:], ("0", "2", "5"), strict=True):
        assert [len(row["predictions"]), row["predictions"][0]["class"]] == [5, expected]
        shares = [guess["probability"] for guess in row["predictions"]]
        assert shares == sorted(shares, reverse=True)
    assert "not read: 1 .txt" in caplog.text
    assert "bad.jpg" in result.stderr


@pytest.mark.slow
def test_a_directory_is_predicted_into_a_csv_file(net, photos, tmp_path):
    try:
        write_png(photos / os.fsdecode(b"gr\xfcn.png"), (4, 4, 3), 0)
        latin = [f"{photos}/gr\\xfcn.png"]
    except OSError:
        latin = []  # this file system has names in UTF-8 only
    result = invoke("predict", photos, photos / "none.png", "--model", net, "--csv", tmp_path / "rows.csv", "--top", 2)
    assert result.exit_code == 1
    assert result.stdout == f"{tmp_path}/rows.csv: images: {3 + len(latin)}, files that cannot be read: 2\n"
    with (tmp_path / "rows.csv").open(newline="", encoding="utf-8") as file:
        head, *rows = csv.reader(file)
    assert head == ["file", "class_1", "probability_1", "class_2", "probability_2", "error"]
    assert {len(row) for row in rows} == {6}
    by_file = {row[0]: row for row in rows}
    good = [f"{photos}/deep/{name}" for name in ODD_NAMES]
    assert set(by_file) == {*good, *latin, f"{photos}/bad.jpg", f"{photos}/none.png"}
    assert [by_file[name][1] for name in good] == ["0", "2", "5"]
    assert by_file[f"{photos}/none.png"][1:] == [
        "",
        "",
        "",
        "",
        f"cannot read {photos}/none.png: No such file or directory",
    ]


def test_a_directory_without_images_is_told(net, tmp_path):
    (tmp_path / "notes.txt").write_text("")
    assert "must hold images (.jpg" in str(invoke("predict", tmp_path, "--model", net).exception)


@pytest.mark.slow
def test_batches_give_what_single_images_give_and_read_no_more_than_a_batch(photos):
    model, read = brightness(), []
    files = sorted((photos / "deep").iterdir())

    def noted():
        for file in [*files, photos / "bad.jpg", *files]:
            read.append(file)
            yield file

    results = predict_files(model, noted(), batch_size=3)
    first = next(results)
    assert len(read) == 3
    together = [first, *results]
    alone = [next(predict_files(model, [file])) for file in read]
    assert [path for path, _ in together] == read
    for (_, one), (_, two) in zip(together, alone, strict=True):
        if isinstance(two, ValueError):
            assert str(one) == str(two)
        else:
            np.testing.assert_allclose(one, two, rtol=1e-5)


@pytest.mark.parametrize(("side", "count"), [(4, 6), (1024, 1)])
def test_the_pixels_of_a_batch_are_bounded(side, count, photos, monkeypatch):
    """32 images of 224 x 224 pixels together; the six files here are one batch of 4 x 4 pixels."""
    image = keras.Input((side, side, 3))
    model = keras.Model(image, keras.layers.Dense(2, "softmax")(keras.layers.GlobalAveragePooling2D()(image)))
    sizes = []
    monkeypatch.setattr(
        prediction, "_outputs", lambda model, images: sizes.append(len(images)) or np.ones((len(images), 2))
    )
    files = sorted((photos / "deep").iterdir()) * 2
    assert len(list(predict_files(model, files))) == 6
    assert max(sizes) == count


@pytest.mark.slow
def test_an_output_that_is_no_number_is_an_error_and_no_class(photos):
    model = brightness()
    model.layers[-1].activation = lambda x: x / 0
    ((_, error),) = predict_files(model, [photos / "deep" / "=cmd.png"])
    assert "=cmd.png: the model gives numbers that are not finite" in str(error)


# Models of others


@pytest.mark.slow
def test_a_sequential_model_is_measured_asked_and_exported(photos, tmp_path):
    brightness(sequential=True).save(tmp_path / "net.keras")
    for number in range(6):
        write_png(tmp_path / "data" / str(number) / "1.png", (4, 4, 3), 48 * number)
    measured = invoke("evaluate", tmp_path / "net.keras", "--data", f"folder:{tmp_path / 'data'}", "--split", "all")
    assert "top-1 100.00% on the 6 images" in measured.output, measured.exception
    assert "a,b.png: 2 " in invoke("predict", photos / "deep", "--model", tmp_path / "net.keras").output
    assert invoke("export", tmp_path / "net.keras", "--out", tmp_path / "out").exit_code == 0


@keras.saving.register_keras_serializable("tests")
class Subclass(keras.Model):
    def __init__(self, **options):
        super().__init__(**options)
        self.flatten, self.dense = keras.layers.Flatten(), keras.layers.Dense(6)

    def call(self, images):
        return self.dense(self.flatten(images))


def functional(shape, outputs):
    image = keras.Input(shape)
    return keras.Model(image, outputs(image))


def test_logits_are_answered_as_probabilities(photos):
    """The softmax of the outputs, as in an export of the same network."""
    model = brightness()
    model.layers[-1].activation = keras.activations.linear
    file = photos / "deep" / ODD_NAMES[1]
    ((_, found),) = predict_files(model, [file])
    ((_, expected),) = predict_files(brightness(), [file])
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert found.sum() == pytest.approx(1)


@pytest.mark.parametrize("activation", ["sigmoid", "softmax", "linear"])
@pytest.mark.parametrize("nested", [False, True])
def test_the_last_layer_says_what_outputs_are(activation, nested):
    """Also in a sequential model, and in a model around one; a sigmoid gets no softmax on top."""
    layers = [keras.layers.Flatten(), keras.layers.Dense(3, activation)]
    model = keras.Sequential([keras.Input((2, 2, 1)), *layers])
    if nested:
        image = keras.Input((2, 2, 1))
        model = keras.Model(image, model(image))
    outputs = np.array([[0.5, 0.25, 0.25], [0.9, 0.6, 0.0]])
    found = probabilities_of(model)(outputs)
    expected = np.exp(outputs) / np.exp(outputs).sum(-1, keepdims=True) if activation == "linear" else outputs
    np.testing.assert_allclose(found, expected)


def test_one_output_is_no_distribution():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    assert probabilities_of(model)(np.array([[0.3]])).tolist() == [[0.3]]


OTHERS = {
    "a subclass": (Subclass, "whose input is known: .*keras.Input.* Received: Subclass"),
    "a sequential model without an input": (
        lambda: keras.Sequential([keras.layers.Dense(3)]),
        "whose input is known: .*keras.Input.* Received: Sequential",
    ),
    "numbers in place of images": (
        lambda: functional((5,), keras.layers.Dense(3)),
        r"one input, images \(N, H, W, C\).*Received: .*\(None, 5\)",
    ),
    "an image as the output": (lambda: functional((4, 4, 3), keras.layers.Dense(3)), "one output, scores"),
    "two outputs": (
        lambda: functional((4, 4, 3), lambda x: [keras.layers.Dense(2)(keras.layers.Flatten()(x)) for _ in "ab"]),
        "one output, scores",
    ),
}


@pytest.mark.filterwarnings("ignore:You are saving a model that has not yet been built")
@pytest.mark.parametrize("kind", OTHERS)
def test_a_model_of_another_kind_is_refused_with_what_to_do(kind, tmp_path):
    build, message = OTHERS[kind]
    model = build()
    if kind == "a subclass":
        model(np.zeros((1, 4, 4, 3)))
    model.save(tmp_path / "net.keras")
    for command in (("evaluate", tmp_path / "net.keras", "--data", "digits"), ("predict", "a.png", "--model")):
        error = invoke(*command, *([tmp_path / "net.keras"] if command[0] == "predict" else [])).exception
        with pytest.raises(ValueError, match=message):
            raise error


def test_evaluate_says_which_models_it_takes():
    split = from_arrays(np.zeros((2, 4, 4, 3), "uint8"), np.arange(2), ("a", "b"))
    assert evaluate(brightness(sequential=True), split, labels=[0, 1]) == 0.5
    with pytest.raises(TypeError, match="model must be a functional or sequential keras.Model .* Received: Subclass"):
        evaluate(Subclass(), split)
    with pytest.raises(ValueError, match="must take square images .N, H, W, C. of a fixed size. Received: .None, 5."):
        evaluate(functional((5,), keras.layers.Dense(2)), split)
