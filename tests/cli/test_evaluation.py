"""`evaluate --report`, its comparison with a baseline and its exit status; `explain`."""

import json

import keras
import numpy as np
import pytest
from PIL import Image

import keras_resnet as kr
from keras_resnet.explain import pictures
from tests.cli.test_cli import invoke
from tests.data.test_sources import write_png

pytestmark = pytest.mark.slow
CLASSES = ("bright", "dark")


@pytest.fixture(scope="module")
def nets(tmp_path_factory):
    """Two files: a network that tells bright from dark images, and one that always says dark."""
    folder = tmp_path_factory.mktemp("nets")
    image = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(1, 3, padding="same", name="conv")(image)
    outputs = keras.layers.Dense(2, "softmax")(keras.layers.GlobalAveragePooling2D()(x))
    model = keras.Model(image, outputs)
    kernel = np.zeros((3, 3, 3, 1))
    kernel[1, 1] = 1 / 765
    for name, weights in (("good", [[8, -8]]), ("bad", [[0, 0]])):
        model.set_weights([kernel, np.zeros(1), np.array(weights), np.array([-4, 4])])
        model.save(folder / f"{name}.keras")
    return folder


@pytest.fixture
def photos(tmp_path):
    for number in range(6):
        name = CLASSES[number >= 2]
        write_png(tmp_path / "photos" / name / f"{number}.png", (8, 8, 3), 250 - 45 * number)
    return tmp_path / "photos"


def evaluate(nets, photos, *options):
    return invoke("evaluate", nets / "good.keras", "--data", f"folder:{photos}", "--split", "all", *options)


def test_an_evaluation_prints_more_than_one_number(nets, photos):
    lines = evaluate(nets, photos).stdout.splitlines()
    assert lines[0] == f"top-1 83.33% on the 6 images of folder:{photos}"  # one dark image is brighter than gray
    assert lines[1].startswith("balanced accuracy 87.50%, top-5 100.00%; with a confidence of 95 % top-1 is from")


def test_a_report_is_written_and_compared(nets, photos, tmp_path):
    result = evaluate(nets, photos, "--report", tmp_path / "report", "--baseline", nets / "bad.keras")
    assert result.exit_code == 0
    assert "baseline: top-1 66.67%; 2 images became right, 1 wrong" in result.stdout
    figures = json.loads((tmp_path / "report" / "metrics.json").read_text())
    assert (figures["top1"], figures["baseline"]["fixed"]) == (pytest.approx(5 / 6), 2)
    page = (tmp_path / "report" / "report.html").read_text()
    assert f"{photos}/dark/2.png" in page
    assert "(Grad-CAM)" in page
    again = evaluate(nets, photos, "--report", tmp_path / "report")
    assert "report must be a new or empty directory" in str(again.exception)


@pytest.mark.parametrize(
    ("options", "status"),
    [
        (("--fail-below", "0.8"), 0),
        (("--fail-below", "0.9"), 1),
        (("--fail-if-worse", "--baseline", "bad.keras"), 0),
    ],
)
def test_the_exit_status_is_for_programs(options, status, nets, photos):
    options = [str(nets / option) if option.endswith(".keras") else option for option in options]
    assert evaluate(nets, photos, *options).exit_code == status


def test_a_percentage_is_no_fraction(nets, photos):
    error = str(evaluate(nets, photos, "--fail-below", "95").exception)
    assert error == "fail_below must be a fraction in [0, 1], for example 0.95 for 95 %. Received: fail_below=95"
    assert "fail_below must be a fraction" in str(evaluate(nets, photos, "--fail-below", "nan").exception)


def test_what_does_not_fit_is_said_before_an_image_is_read(nets, photos, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise AssertionError("an image is read")

    monkeypatch.setattr("keras_resnet.evaluation.accuracy.evaluate_by_name", fail)
    image = keras.Input((8, 8, 3))
    keras.Model(image, keras.layers.Dense(3)(keras.layers.Flatten()(image))).save(tmp_path / "three.keras")
    report = ("--report", tmp_path / "report")
    error = evaluate(nets, photos, *report, "--baseline", tmp_path / "three.keras").exception
    assert str(error).startswith("baseline: model must have an output for each of the 2 classes")
    assert not (tmp_path / "report").exists()
    (tmp_path / "file").write_text("mine")
    assert "report must be a directory" in str(evaluate(nets, photos, "--report", tmp_path / "file" / "x").exception)
    assert "File name too long" in str(evaluate(nets, photos, "--report", tmp_path / ("long" * 100)).exception)


def test_a_network_that_is_worse_fails(nets, photos):
    data = ("--data", f"folder:{photos}", "--split", "all")
    worse = invoke("evaluate", nets / "bad.keras", *data, "--fail-if-worse", "--baseline", nets / "good.keras")
    assert worse.exit_code == 1
    assert "fail_if_worse must be given with --baseline" in str(evaluate(nets, photos, "--fail-if-worse").exception)


@pytest.mark.parametrize("method", [*kr.explain.METHODS, "occlusion"])
def test_images_are_explained(method, nets, photos, tmp_path):
    files = sorted(photos.rglob("*.png"))[:2]
    result = invoke(
        "explain", *files, "--model", nets / "good.keras", "--out", tmp_path / "cam.png", "--method", method
    )
    assert result.exit_code == 0, result.exception
    assert result.stdout.splitlines()[0].startswith(f"{files[0]}: 0 ")
    with Image.open(tmp_path / "cam.png") as picture:
        assert picture.width > picture.height > 100


def test_what_cannot_be_explained_is_said(nets, photos, tmp_path, monkeypatch):
    def error(*options):
        command = ("explain", photos / "dark" / "2.png", "--model", nets / "good.keras", "--out", tmp_path / "cam.png")
        return str(invoke(*command, *options).exception)

    assert "method must be one of 'gradcam', " in error("--method", "cam")
    assert "layer must be the name of a layer with a map" in error("--layer", "conv9")
    assert (
        "unknown class; give a name, or an index from 0 to 1; `predict --top 2` lists them. There are 0, 1."
        in error("--class", "cat")
    )
    assert "layer must not be given with method='occlusion'" in error("--method", "occlusion", "--layer", "conv")
    monkeypatch.setattr("keras_resnet.training.networks.open_network", lambda *_: None)
    assert "out must end in .svg or .png" in error("--out", tmp_path / "cam.jpg")
    assert "out must be in a directory that exists" in error("--out", tmp_path / "none" / "cam.png")
    monkeypatch.undo()
    assert "images must be at most 100 for one picture. Received: 101 images" in error(
        *100 * [photos / "dark" / "2.png"]
    )
    image = keras.Input((8, 8, 3))
    keras.Model(image, keras.layers.Dense(2)(keras.layers.Flatten()(image))).save(tmp_path / "flat.keras")
    assert "model must have a layer with a map" in error("--model", tmp_path / "flat.keras")
    assert not (tmp_path / "cam.png").exists()


def test_a_file_that_cannot_be_read_is_named_and_the_others_are_drawn(nets, photos, tmp_path):
    corrupt, out = tmp_path / "corrupt.png", tmp_path / "cam.svg"
    corrupt.write_bytes(b"no image")
    good, command = photos / "dark" / "2.png", ("--model", nets / "good.keras", "--out", out)
    result = invoke("explain", corrupt, good, tmp_path / "none.png", *command)
    assert result.exit_code == 1
    assert f"{corrupt} is not a readable JPEG" in result.stderr
    assert f"cannot read {tmp_path / 'none.png'}: No such file" in result.stderr
    assert [line.partition(":")[0] for line in result.stdout.splitlines()] == [str(good), str(out)]
    assert out.read_text().startswith("<?xml")
    out.unlink()
    result = invoke("explain", corrupt, *command)
    assert (result.exit_code, result.stdout, out.exists()) == (1, "", False)


def test_outputs_that_are_not_finite_are_said(nets, photos, tmp_path):
    model = keras.models.load_model(nets / "good.keras")
    model.layers[-1].kernel.assign(np.full((1, 2), 3e38))
    model.get_layer("conv").kernel.assign(np.ones((3, 3, 3, 1)))
    model.save(tmp_path / "infinite.keras")
    image = photos / "dark" / "2.png"
    result = invoke("explain", image, "--model", tmp_path / "infinite.keras", "--out", tmp_path / "cam.png")
    assert result.exit_code == 1
    assert f"{image}: the model gives numbers that are not finite" in result.stderr


def test_photographs_lie_upright_under_their_maps(nets, tmp_path, monkeypatch):
    """The picture shows what the network sees: the square in the middle, turned as the camera says."""
    drawn = []
    monkeypatch.setattr(pictures, "plot_overlays", lambda rows, path: drawn.extend(rows))
    pixels = np.zeros((80, 160, 3), "uint8")
    pixels[:, 40:80] = 255  # the left half of the square in the middle
    turned, exif = Image.fromarray(np.rot90(pixels)), Image.Exif()
    exif[0x0112] = 6  # upright after a quarter turn clockwise
    Image.fromarray(pixels).save(tmp_path / "as_is.png")
    turned.save(tmp_path / "turned.jpg", exif=exif, quality=100)
    Image.fromarray(pixels).convert("RGBA").save(tmp_path / "transparent.png")
    Image.fromarray(pixels).convert("L").save(tmp_path / "gray.png")
    files = [tmp_path / name for name in ("as_is.png", "turned.jpg", "transparent.png", "gray.png")]
    model = ("--model", nets / "good.keras", "--class", "0", "--out", tmp_path / "cam.png")
    assert invoke("explain", *files, *model).exit_code == 0
    for image, title, [(heat, name)] in drawn:
        assert image[:, :3].min() > 240, title
        assert image[:, 5:].max() < 15, title
        assert heat[:, :3].min() > 0.9 * heat.max() > 2 * heat[:, 5:].max()
        assert name.startswith("0\n")
    assert [title.partition("\n")[0] for _, title, _ in drawn] == [file.name for file in files]


@pytest.mark.parametrize(
    ("name", "index"), [("cat", 1), ("2", 0), ("3", 3), ("crane", None), ("4", None), ("-1", None), ("", None)]
)
def test_a_class_is_named_by_its_name_or_index(name, index):
    classes = ("2", "cat", "crane", "crane")
    if index is None:
        with pytest.raises(
            ValueError, match=r"class must be an index, 2, 3, because|unknown class; .* index from 0 to 3;"
        ):
            pictures.class_named(name, classes)
    else:
        assert pictures.class_named(name, classes) == index


def test_models_that_explain_cannot_take_are_refused_before_images_are_read(photos, tmp_path):
    image = keras.Input((8, 8, 4))
    outputs = keras.layers.Dense(2)(keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(1, 3)(image)))
    keras.Model(image, outputs).save(tmp_path / "four.keras")
    result = invoke("explain", photos, "--model", tmp_path / "four.keras", "--out", tmp_path / "cam.png")
    assert "model must take images with 1 or 3 channels. Received: " in str(result.exception)
