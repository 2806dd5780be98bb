"""Published weights on the command line: list, convert, evaluate as the publishers did, and predict."""

import dataclasses
import re

import numpy as np
import pytest

import keras_resnet as kr
from keras_resnet import weights
from keras_resnet.classes import CIFAR10, imagenet_classes
from keras_resnet.data import load
from keras_resnet.evaluation import published
from keras_resnet.weights.table import table
from tests import needs
from tests.cli.test_cli import invoke
from tests.conftest import photographs, randomise
from tests.weights.test_weights import CIFAR, TRAINED, cifar_test, needs_cifar

__all__ = ["cifar_test"]  # a fixture


def write_png(path, image):
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)


def write_images(folder, cifar_test, count):
    """Writes test images to files, in one folder per class."""
    for number, (image, label) in enumerate(zip(cifar_test["images"][:count], cifar_test["labels"])):
        write_png(folder / CIFAR10[label] / f"{number}.png", image)
    return folder


@pytest.fixture(scope="module")
def cifar_folder(cifar_test, tmp_path_factory):
    """A folder with all 500 test images."""
    return write_images(tmp_path_factory.mktemp("cifar"), cifar_test, 500)


@pytest.fixture(scope="module")
def hundred_images(cifar_test, tmp_path_factory):
    """A folder with the first 100 test images, and the accuracy of the trained ResNet20 on them, as it is printed."""
    correct = (cifar_test["logits_resnet20"].argmax(-1) == cifar_test["labels"])[:100].sum()
    return write_images(tmp_path_factory.mktemp("few"), cifar_test, 100), f"top-1 {correct}.00% on the 100"


FILE = CIFAR / "weights" / TRAINED["ResNet20"][0]


@pytest.mark.slow
@needs_cifar
def test_evaluate_gives_the_published_accuracy(cifar_folder):
    result = invoke("evaluate", "ResNet20", "--weights", FILE, "--data", f"folder:{cifar_folder}")
    assert result.exit_code == 0, result.exception
    assert "top-1 91.00% on the 500 images" in result.output  # 455 of 500
    assert "published: 91.73 % at 32x32 (akamaster/pytorch_resnet_cifar10 README)" in result.output


@pytest.mark.slow
@needs_cifar
def test_convert_leaves_a_file_that_evaluates_the_same(hundred_images, tmp_path):
    folder, accuracy = hundred_images
    out = tmp_path / "net.safetensors"
    result = invoke("convert", FILE, "--model", "ResNet20", "--out", out)
    assert result.exit_code == 0, result.exception
    assert "271,098 parameters of ResNet20" in result.output
    result = invoke("evaluate", "ResNet20", "--weights", out, "--data", f"folder:{folder}")
    assert f"{accuracy} images" in result.output


@pytest.mark.slow
@needs_cifar
@needs.package("torch")
def test_a_file_of_ones_own_is_read_like_a_published_one(hundred_images, tmp_path):
    """The file comes from akamaster's code, but is not the published file. Its names or `--like` show its form."""
    import torch

    folder, accuracy = hundred_images
    state = torch.load(FILE, map_location="cpu", weights_only=True)["state_dict"]
    torch.save(state, tmp_path / "mine.pth")
    out = tmp_path / "mine.keras"
    result = invoke("convert", tmp_path / "mine.pth", "--model", "ResNet20", "--like", "akamaster", "--out", out)
    assert result.exit_code == 0, result.exception
    result = invoke("evaluate", out, "--data", f"folder:{folder}", "--split", "all")
    assert f"{accuracy} images of" in result.output
    arguments = ("--weights", tmp_path / "mine.pth", "--like", "akamaster", "--data", f"folder:{folder}")
    result = invoke("evaluate", "ResNet20", *arguments)
    assert f"{accuracy} images" in result.output
    assert "published" not in result.output
    result = invoke("evaluate", "ResNet20", "--weights", tmp_path / "mine.pth", "--data", f"folder:{folder}")
    assert f"{accuracy} images" in result.output


@needs_cifar
def test_like_is_not_said_of_what_is_known(tmp_path):
    for known in (FILE, "akamaster"):
        result = invoke("convert", known, "--model", "ResNet20", "--like", "akamaster", "--out", tmp_path / "a.keras")
        assert "like must not be given for the published checkpoint 'akamaster'" in str(result.exception)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("predict", "a.png", "--model", "m", "--server", "h:1", "--weights", "f"),
            "weights must not be given with --s",
        ),
        (
            ("predict", "a.png", "--model", "m", "--server", "h:1", "--mean", "0.5"),
            "mean must not be given with --server",
        ),
        (("predict", "a.png", "--model", "m", "--state", "ema"), "state must not be given without --weights"),
        (("evaluate", "runs/1", "--like", "zoo"), "like must not be given without --weights"),
        (
            ("convert", "akamaster", "--model", "ResNet20", "--std", "1", "--out", "a.keras"),
            "std must not be given for",
        ),
    ],
)
def test_options_for_ones_own_file_are_not_given_without_one(arguments, message):
    assert message in str(invoke(*arguments).exception)


@pytest.mark.slow
@needs_cifar
def test_predict_says_the_names_of_classes(cifar_folder):
    ship = min((cifar_folder / "ship").iterdir())
    result = invoke("predict", ship, "--model", "ResNet20", "--weights", FILE, "--top", 1)
    assert re.fullmatch(rf"{re.escape(str(ship))}: ship \d+\.\d%\n", result.output)


@pytest.mark.slow
def test_convert_refuses_before_it_loads(tmp_path):
    assert "out must end in" in str(
        invoke("convert", "keras", "--model", "ResNet50", "--out", tmp_path / "a.h5").exception
    )
    assert "no such file" in str(
        invoke("convert", tmp_path / "no.pth", "--model", "ResNet50", "--out", tmp_path / "a.keras").exception
    )
    assert list(tmp_path.iterdir()) == []


def test_models_lists_the_published_weights():
    result = invoke("models", "--weights")
    assert result.exit_code == 0
    text = " ".join(result.output.split())
    for row in table():
        accuracy = f"{row.top1:.2f}" if row.top1 else "-"
        star = " *" if row.recommended else ""
        assert f"{row.tag}{star} {accuracy} {row.size} {row.crop_pct:g} {row.licence}" in text
    sources = "".join(result.output.split())
    assert all(row.source in sources for row in table())


# Images of ImageNet's classes, prepared exactly as the checkpoint was measured


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A small ResNet18 for ImageNet's classes with random weights."""
    fields = {"depths": (1, 1), "filters": (8, 16)}
    model = kr.ResNet18(**fields)
    randomise(model, np.random.default_rng(0))
    path = tmp_path_factory.mktemp("published") / "net.weights.h5"
    model.save_weights(path)
    row = weights.find("ResNet18", "timm_a3")
    return dataclasses.replace(row, source=str(path), size=64, fields={**row.fields, **fields})


def test_pixels_are_resized_and_cut_as_the_checkpoint_says(checkpoint, rng):
    from PIL import Image

    image = rng.integers(0, 256, (90, 120, 3)).astype("uint8")
    resized = Image.fromarray(image).resize((89, 67), Image.Resampling.BICUBIC)  # 67 is 64 / 0.95
    expected = np.asarray(resized)[2:66, 12:76]
    pixels = published.resize_for(checkpoint)(image, checkpoint.size).numpy()
    assert np.abs(pixels.astype(int) - expected).max() <= 2


@pytest.mark.slow
def test_classes_are_told_by_wordnet_id_or_name(checkpoint, tmp_path, rng):
    model = published.build("ResNet18", checkpoint)
    ids = {name: wordnet_id for wordnet_id, name in imagenet_classes()}
    image = rng.integers(0, 256, (70, 80, 3)).astype("uint8")
    best = int(np.argmax(model(published.resize_for(checkpoint)(image, 64)[None], training=False)))
    right, wrong = imagenet_classes()[best][1], "tench" if best else "goldfish"
    for number, folder in enumerate((ids[right], wrong)):
        write_png(tmp_path / "val" / folder / f"{number}.png", image)
    examples = load(f"folder:{tmp_path / 'val'}", "all")
    assert published.top1(model, checkpoint, examples) == 0.5
    assert published.class_names(checkpoint)[best] == right


def test_a_class_that_the_checkpoint_does_not_know_is_named(checkpoint, tmp_path, rng):
    write_png(tmp_path / "val" / "unicorn" / "1.png", rng.integers(0, 256, (70, 80, 3)).astype("uint8"))
    with pytest.raises(ValueError, match="'unicorn', which the model does not have"):
        published.top1(published.build("ResNet18", checkpoint), checkpoint, load(f"folder:{tmp_path / 'val'}", "all"))


@needs.shared_data
def test_photographs_get_names(checkpoint):
    """Three lines of code give the class names of raw photographs."""
    images = photographs(2, 64)
    model = published.build("ResNet18", checkpoint)
    for best in kr.decode_predictions(model(images, training=False), top=3):
        assert [name for _, name, _ in best] == [dict(imagenet_classes())[wordnet_id] for wordnet_id, _, _ in best]
        assert best[0][2] >= best[1][2] >= best[2][2]
