"""`evaluate --report`, its comparison with a baseline and its exit status; `explain`."""

import json

import keras
import numpy as np
import pytest
from PIL import Image

import keras_resnet as kr
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


def test_what_cannot_be_explained_is_said(nets, photos, tmp_path):
    def error(*options):
        command = ("explain", photos / "dark" / "2.png", "--model", nets / "good.keras", "--out", tmp_path / "cam.png")
        return str(invoke(*command, *options).exception)

    assert "method must be one of 'gradcam', " in error("--method", "cam")
    assert "layer must be the name of a layer with a map" in error("--layer", "conv9")
    assert "unknown class" in error("--class", "cat")
    assert "layer must not be given with method='occlusion'" in error("--method", "occlusion", "--layer", "conv")
    assert not (tmp_path / "cam.png").exists()
