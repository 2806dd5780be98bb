"""Tests that the examples do what their docstrings say."""

import ast
import dataclasses
import functools
import importlib
import re

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_resnet as kr
from keras_resnet.data import idx
from keras_resnet.data.decode import to_square
from keras_resnet.training import run, run_directory
from tests import needs, processes
from tests.conftest import ROOT, photographs
from tests.data.test_sources import write_idx
from tests.small_training import of_one_block, without_export

EXAMPLES = sorted(path.stem for path in (ROOT / "examples").glob("*.py"))


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_short_and_says_command_time_and_result(name):
    source = (ROOT / "examples" / f"{name}.py").read_text()
    header = ast.get_docstring(ast.parse(source))
    assert f"python examples/{name}.py" in header
    assert "Time:" in header
    assert "Result:" in header
    assert len(source.splitlines()) < 150


@pytest.mark.slow
def test_own_blocks_learns_digits():
    assert importlib.import_module("examples.own_blocks").main() >= 0.97


@pytest.mark.slow
def test_segmentation_scores_every_pixel(cheap_weights, capsys):
    model = importlib.import_module("examples.segmentation").build(classes=5, size=64)
    assert model.output.shape == (None, 64, 64, 5)
    assert "C5 (None, 4, 4, 512)" in capsys.readouterr().out


def quick(recipe):
    """The same recipe with one epoch and small batches."""
    sizes = {"train_sizes": (32,), "eval_size": 40} if recipe.train_sizes else {}
    return dataclasses.replace(
        recipe,
        epochs=1,
        iterations=0,
        precision="float32",
        batch_size=4,
        gradient_accumulation_steps=min(recipe.gradient_accumulation_steps, 2),
        **sizes,
    )


@pytest.fixture
def photos(tmp_path):
    """A folder of real photographs of blood cells: the darker half in one class, the brighter half in the other."""
    images = sorted(photographs(24, 48), key=np.mean)
    for number, image in enumerate(images):
        path = tmp_path / "photos" / ("dark" if number < 12 else "bright") / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(tf.io.encode_jpeg(image).numpy())
    return tmp_path / "photos"


@pytest.mark.slow
@needs.shared_data
def test_fine_tuning_tunes(photos, tmp_path, monkeypatch):
    # A narrow network with one block per stage: this test does not check how well it learns.
    monkeypatch.setattr(kr, "ResNet18", functools.partial(kr.ResNet18, depths=(1, 1, 1, 1), filters=(8, 16, 32, 64)))
    kr.ResNet18(classes=7, input_shape=(48, 48, 3)).save_weights(tmp_path / "start.weights.h5")
    example = importlib.import_module("examples.fine_tuning")
    frozen, whole = example.main(str(photos), str(tmp_path / "start.weights.h5"), size=48)
    assert 0 <= frozen <= 1
    assert 0 <= whole <= 1


@pytest.mark.slow
@needs.shared_data
@pytest.mark.parametrize(
    ("module", "recipe", "options"),
    [
        ("examples.imagenet_a3", "A3", {"model": "ResNet20"}),
        ("examples.cifar10_he2015", "RECIPES he2015_cifar", {}),
    ],
)
def test_recipes_of_papers_run(module, recipe, options, photos, tmp_path, monkeypatch):
    of_one_block(monkeypatch)
    without_export(monkeypatch)
    example = importlib.import_module(module)
    table, _, row = recipe.partition(" ")
    full = getattr(example, table)
    result = example.main(f"folder:{photos}", tmp_path / "run", recipe=quick(full[row] if row else full), **options)
    assert result.test_images == 4
    assert (tmp_path / "run" / "model.keras").is_file()


@pytest.mark.slow
@needs.shared_data
def test_the_network_of_the_book_has_its_blocks_and_is_trained(photos, tmp_path, monkeypatch):
    example = importlib.import_module("examples.d2l_fashion_mnist")
    model = example.build(96, 1, 10)
    scales = [layer.gamma for layer in model.layers if hasattr(layer, "gamma")]
    assert all((scale.numpy() == 1).all() for scale in scales)
    assert len(scales) == 17
    assert model.get_layer("conv3_block1_0_conv").use_bias
    small = functools.partial(kr.ResNet18, depths=(1, 1), filters=(8, 16))
    monkeypatch.setattr(kr, "ResNet18", small)
    accuracy = example.main(f"folder:{photos}", tmp_path / "run", size=24, recipe=quick(example.D2L))
    assert 0 <= accuracy <= 1
    assert (tmp_path / "run" / "history.csv").is_file()
    assert keras.models.load_model(tmp_path / "run" / "model.keras").input_shape == (None, 24, 24, 3)


@pytest.mark.slow
@pytest.mark.processes
@needs.ray
def test_many_machines_train_one_network(tmp_path):
    code = "import pathlib, sys; from examples.many_machines import main; main(pathlib.Path(sys.argv[1]))"
    # A fresh process, because Ray starts processes that the process of the tests must not keep.
    processes.printed(processes.fresh("-c", code, tmp_path / "run"))
    assert run.load_run(tmp_path / "run").test_accuracy >= 0.97
    assert len(list((tmp_path / "run" / "checkpoints").iterdir())) == 1


@pytest.mark.slow
@pytest.mark.processes
@needs.ray
def test_a_search_on_ray_ends_within_the_budget():
    code = (
        "from examples.ray_tune import main; from keras_resnet.training import Recipe; "
        "main(trials=2, size=8, recipe=Recipe(epochs=1, batch_size=64, validation_split=0.5))"
    )
    # A fresh process, because Ray starts processes that the process of the tests must not keep.
    line = re.search(r"kr\.ResNet\(.*\)", processes.printed(processes.fresh("-c", code)))[0]
    assert kr.macs(eval(line, {"kr": kr, "functools": functools})) <= 5e6


def write_digits(folder):
    """Writes some digits of 28 pixels in the file format of Fashion-MNIST."""
    folder.mkdir(exist_ok=True)
    for split in ("train", "test"):
        digits = kr.data.load("digits", split).hold_out(0.15)[1]
        pairs = [(to_square(image, 28)[..., 0], label) for image, label in digits.examples]
        images, labels = (np.array(part, "uint8") for part in zip(*pairs))
        write_idx(folder / f"{idx.PREFIX[split]}-images-idx3-ubyte", images)
        write_idx(folder / f"{idx.PREFIX[split]}-labels-idx1-ubyte", labels)
    return folder


@pytest.mark.slow
def test_the_search_on_fashion_mnist_trains_its_best_beside_resnet20(tmp_path, monkeypatch):
    search = importlib.import_module("examples.search_fashion_mnist.search")
    monkeypatch.setattr(search.multiprocessing, "get_context", lambda _: processes.SERVER)  # a process starts in 0.2 s
    network = "kr.ResNet(depths=(1,), block=kr.residual_block, filters=(4,), input_shape=(28, 28, 1), classes=10)"
    (tmp_path / "best.py").write_text(f"import keras_resnet as kr\n\nmodel = {network}\n")
    recipe = dataclasses.replace(search.RECIPE, epochs=1, batch_size=32)
    results = search.again(tmp_path / "best.py", f"idx:{write_digits(tmp_path)}", tmp_path, recipe, seeds=(0,))
    assert [name for name, _, _ in results] == ["best", "ResNet20"]
    assert (tmp_path / "again.csv").read_text().count("\n") == 3
    budget = kr.macs(kr.ResNet20(input_shape=(28, 28, 1)))
    assert budget == search.BUDGET


@pytest.mark.slow
def test_heat_maps_are_measured(tmp_path):
    """With a network without training, so the figures mean nothing here."""
    model = kr.ResNet((1, 1, 1), kr.residual_block, filters=(4, 4, 4), stem=kr.stems.cifar, input_shape=(28, 28, 1))
    example = importlib.import_module("examples.heat_maps")
    data = f"idx:{write_digits(tmp_path / 'data')}"
    curves = example.main(data, tmp_path / "out", model=model, count=4, shuffled_count=2)
    assert set(example.DRAWN) < set(curves)
    assert (tmp_path / "out" / "curves.csv").read_text().count("\n") == 1 + len(curves)
    assert (tmp_path / "out" / "curves.png").stat().st_size > 10_000
    shuffled = (tmp_path / "out" / "shuffled.csv").read_text().splitlines()
    assert shuffled[0] == "method,to head,to conv4,to conv3,to conv2,to stem"
    assert [line.partition(",")[0] for line in shuffled[1:]] == [*kr.explain.METHODS, "occlusion"]


@pytest.mark.slow
def test_distillation_compares_runs_of_the_same_seeds(tmp_path, monkeypatch):
    of_one_block(monkeypatch)
    without_export(monkeypatch)
    example = importlib.import_module("examples.distillation")
    data = write_digits(tmp_path / "fashion-mnist")
    recipe = dataclasses.replace(example.RECIPE, epochs=1, batch_size=20)
    runs = example.main(f"idx:{data}", str(tmp_path / "runs"), recipe=recipe, seeds=(3,))
    assert {setting: [run.recipe.seed for run in found] for setting, found in runs.items()} == {
        "alone": [3],
        "with a teacher": [3],
    }
    rows = (tmp_path / "runs" / "results.csv").read_text().splitlines()
    assert [row.split(",")[:3] for row in rows[1:]] == [["alone", "3", "1"], ["with a teacher", "3", "1"]]
    recipes = [run_directory.read_task(path).teacher for path in sorted((tmp_path / "runs").glob("*-3"))]
    assert recipes == [None, "ResNet56:fashion_mnist"]


def test_every_example_is_tested():
    """A test imports it, as `examples.NAME`."""
    sources = "".join(path.read_text() for path in (ROOT / "tests").rglob("*.py"))
    assert set(EXAMPLES) <= set(re.findall(r"(?<![\w.])examples\.(\w+)", sources))
