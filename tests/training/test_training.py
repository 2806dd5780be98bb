"""Training: the effects of a recipe, and the files of a run."""

import csv
import dataclasses
import functools
import gc
import json
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_resnet as kr
from keras_resnet.data import from_arrays
from keras_resnet.evaluation.accuracy import evaluate
from keras_resnet.training import curves, results, run
from tests.conftest import UNTRACED
from tests.data.test_sources import write_png
from tests.small_training import of_one_block, without_export

pytestmark = UNTRACED

QUICK = dataclasses.replace(kr.training.RECIPES["one_cycle"], epochs=2, batch_size=16)


def tiny(**options):
    return kr.ResNet((1,), kr.residual_block, filters=(8,), stem=kr.stems.cifar, name="tiny", **options)


@pytest.fixture
def colours(rng):
    """Two classes that differ in brightness."""
    labels = np.arange(64) % 2
    images = (labels[:, None, None, None] * 150 + rng.integers(0, 100, (64, 8, 8, 1))).astype("uint8")
    return from_arrays(images, labels, ("dark", "bright"))


def fit(split, recipe, **options):
    model = tiny(input_shape=(8, 8, 1), classes=2, **options)
    keras.utils.set_random_seed(0)
    return model, kr.training.fit(model, recipe, split, split).history


@pytest.mark.slow
def test_fit_learns(colours):
    model, history = fit(colours, dataclasses.replace(QUICK, epochs=10))
    assert history["loss"][-1] < history["loss"][0]
    assert evaluate(model, colours) == pytest.approx(history["val_accuracy"][-1])
    assert history["val_accuracy"][-1] > 0.95


@pytest.mark.slow
def test_the_same_seed_gives_the_same_weights(colours, eager):
    def weights():
        keras.utils.set_random_seed(3)
        return fit(colours, dataclasses.replace(QUICK, seed=3, flip=True, epochs=1))[0].get_weights()

    for first, second in zip(weights(), weights()):
        np.testing.assert_allclose(first, second, atol=1e-5)


@pytest.mark.slow
def test_the_rate_falls_over_the_whole_training_if_gradients_are_accumulated(colours, eager):
    recipe = dataclasses.replace(QUICK, epochs=4, warmup=0.25)
    expected = fit(colours, recipe)[1]["learning_rate"]
    accumulated = fit(colours, dataclasses.replace(recipe, gradient_accumulation_steps=2))[1]["learning_rate"]
    assert accumulated == pytest.approx(expected)
    assert accumulated[2] > 0.04


@pytest.mark.slow
def test_a_recipe_has_a_name(colours, monkeypatch, eager):
    monkeypatch.setitem(kr.training.RECIPES, "quick", dataclasses.replace(QUICK, epochs=1, validation_split=0.0))
    model = tiny(input_shape=(8, 8, 1), classes=2)
    assert len(kr.training.fit(model, "quick", colours).history["loss"]) == 1
    with pytest.raises(ValueError, match="unknown recipe; .* Did you mean one_cycle"):
        kr.training.fit(model, "one_cycel", colours)


@pytest.mark.slow
def test_fit_and_evaluate_take_what_keras_takes(colours, eager):
    images, labels = colours.records.contents, colours.records.labels
    recipe = dataclasses.replace(QUICK, epochs=1)
    # The recipe says the size of batches, not the dataset.
    batches = tf.data.Dataset.from_tensor_slices((images.astype("float32"), np.eye(2)[labels])).batch(8)
    keras.utils.set_random_seed(1)
    _, expected = fit(colours, recipe)
    keras.utils.set_random_seed(1)
    assert fit((images, labels[:, None]), recipe)[1] == expected
    model, history = fit(batches, dataclasses.replace(recipe, validation_split=0.0))
    assert history.keys() == expected.keys()
    for data in (colours, (images, labels), batches):
        assert evaluate(model, data) == pytest.approx(history["val_accuracy"][-1])
    assert evaluate(model, (images[:8], 1 - labels[:8]), labels=[1, 0]) == evaluate(model, (images[:8], labels[:8]))


def test_what_fit_and_evaluate_cannot_read_is_refused_in_the_words_of_the_call(colours):
    images, labels = colours.records.contents, colours.records.labels
    model = tiny(input_shape=(8, 8, 1), classes=2)
    with pytest.raises(TypeError, match=r"train must be a Split.* Received: ndarray; .* in a pair: \(x, y\)"):
        kr.training.fit(model, QUICK, images, labels)
    with pytest.raises(TypeError, match="validation must be a Split.* Received: ndarray"):
        kr.training.fit(model, QUICK, (images, labels), labels)
    with pytest.raises(ValueError, match="train: images must be uint8, from 0 to 255: raw pixels"):
        kr.training.fit(model, QUICK, (images / 255, labels))
    with pytest.raises(TypeError, match="split must be a Split.* Received: ndarray"):
        evaluate(model, images, labels)
    with pytest.raises(ValueError, match="split: labels must be indices into classes, in .0, 2.. Received: 1 to 2"):
        evaluate(model, (images, labels + 1))


def test_images_that_are_held_out_and_a_training_that_continues_need_a_fixed_order(colours, tmp_path):
    data, model = colours.examples.shuffle(64), tiny(input_shape=(8, 8, 1), classes=2)
    with pytest.raises(ValueError, match="the same order in each iteration.* or give the validation images yourself"):
        kr.training.fit(model, QUICK, data)
    with pytest.raises(ValueError, match="the same order in each iteration.* or train without a directory"):
        kr.training.fit(model, QUICK, data, colours, directory=tmp_path)
    assert not list(tmp_path.iterdir())


def test_fit_says_which_models_it_takes(colours):
    class Subclass(keras.Model):
        pass

    for model in (Subclass(), keras.Sequential([keras.layers.Dense(2)])):
        with pytest.raises(
            TypeError, match="model must be a functional or sequential keras.Model whose input is known"
        ):
            kr.training.fit(model, QUICK, colours)


def test_validation_images_have_the_classes_of_the_training_images(colours):
    other = dataclasses.replace(colours, classes=("bright", "dark"))
    with pytest.raises(ValueError, match="must have the classes of train, dark, bright. Received: bright, dark"):
        kr.training.fit(tiny(input_shape=(8, 8, 1), classes=2), QUICK, colours, other)


def test_fit_refuses_a_model_that_does_not_fit(colours):
    with pytest.raises(ValueError, match="an output for each of the 2 classes. Received: .*.None, 3."):
        kr.training.fit(tiny(input_shape=(8, 8, 1), classes=3), QUICK, colours)
    one = from_arrays(np.zeros((4, 8, 8, 1), "uint8"), np.zeros(4), ("one",))
    with pytest.raises(ValueError, match="train must have at least two classes. Received: .'one',."):
        kr.training.fit(tiny(input_shape=(8, 8, 1), classes=2), QUICK, one)
    for shape in ((None, None, 1), (8, 12, 1)):
        with pytest.raises(ValueError, match="model must take square images .* of a fixed size"):
            kr.training.fit(tiny(input_shape=shape, classes=2), QUICK, colours)
    with pytest.raises(
        ValueError, match="model must take images with 1 channels, as in the split. Received: .*.None, 8, 8, 3."
    ):
        evaluate(tiny(input_shape=(8, 8, 3), classes=2), colours)
    with pytest.raises(ValueError, match="an output for each of the 2 classes"):
        evaluate(tiny(input_shape=(8, 8, 1), include_top=False, pooling="avg"), colours)


class Memorised(keras.callbacks.Callback):
    """Keeps the weights of each epoch."""

    def on_train_begin(self, logs=None):
        self.weights = []

    def on_epoch_end(self, epoch, logs=None):
        self.weights.append([variable.numpy() for variable in self.model.trainable_variables])


@pytest.mark.slow
@pytest.mark.parametrize("validates", [True, False])
def test_validation_images_choose_the_epoch_and_without_them_it_is_the_last(colours, validates, eager):
    model, epochs = tiny(input_shape=(8, 8, 1), classes=2), Memorised()
    recipe = dataclasses.replace(QUICK, epochs=3, learning_rate=0.5, validation_split=0.0)
    result = kr.training.fit(model, recipe, colours, colours if validates else None, [epochs])
    chosen = 1 + int(np.argmax(result.history["val_accuracy"])) if validates else 3
    assert result.best_epoch == (chosen if validates else None)
    for variable, expected in zip(model.trainable_variables, epochs.weights[chosen - 1], strict=True):
        np.testing.assert_array_equal(variable.numpy(), expected)


@pytest.mark.slow
def test_a_tenth_of_the_images_is_held_out_by_default(colours, eager):
    model = tiny(input_shape=(8, 8, 1), classes=2)
    history = kr.training.fit(model, dataclasses.replace(QUICK, epochs=1), colours).history
    assert history["val_accuracy"][0] in [right / 6 for right in range(7)]  # 3 of 32 in each class
    with pytest.raises(ValueError, match="validation_split must leave images .* Received: validation_split=0.1, 2 tra"):
        kr.training.fit(model, QUICK, from_arrays(np.zeros((2, 8, 8, 1), "uint8"), np.arange(2), ("a", "b")))


@pytest.mark.slow
def test_a_network_of_one_channel_reads_color_files_in_gray(tmp_path, eager):
    for name, value in (("dark", 20), ("bright", 200)):
        for number in range(4):
            write_png(tmp_path / name / f"{number}.png", (8, 8, 3), value)
    images = kr.data.load(f"folder:{tmp_path}", "all")
    model = tiny(input_shape=(8, 8, 1), classes=2)
    assert len(kr.training.fit(model, dataclasses.replace(QUICK, epochs=1), images).history["loss"]) == 1
    assert 0 <= evaluate(model, images) <= 1


def dark_or_bright(outputs):
    """A model with five outputs that predicts class `outputs[0]` for dark images and `outputs[1]` for bright images."""
    x = keras.Input((8, 8, 1))
    mean = keras.layers.GlobalAveragePooling2D()(x)
    dense = keras.layers.Dense(5)
    model = keras.Model(x, dense(mean))
    kernel, bias = np.zeros((1, 5)), np.full(5, -1e6)
    kernel[0, outputs[1]], bias[list(outputs)] = 1, (127, 0)
    dense.set_weights([kernel, bias])
    return model


@pytest.mark.slow
def test_evaluate_takes_a_part_of_the_models_classes(colours):
    model = dark_or_bright((4, 1))
    assert evaluate(model, colours, labels=[4, 1]) == 1
    assert evaluate(model, colours, labels=np.array([4, 2])) == 0.5
    assert evaluate(model, colours, labels=[0, 2]) == 0


@pytest.mark.slow
def test_evaluate_resizes_as_it_is_told(colours):
    model = dark_or_bright((0, 1))
    assert evaluate(model, colours, labels=[0, 1], resize=lambda image, size: image) == 1
    assert evaluate(model, colours, labels=[0, 1], resize=lambda image, size: 255 - image) == 0


@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        ([0], ValueError, "labels must have an entry for each of the 2 classes. Received: 1 entries"),
        (
            [0, 5],
            ValueError,
            "labels must be indices of the model's output, which has the shape .None, 5.. Received: index 5",
        ),
        ([0, -1], ValueError, "labels.1. must be an integer of at least 0"),
        ([0, 0.5], TypeError, "labels.1. must be an integer of at least 0"),
    ],
)
def test_evaluate_refuses_labels_that_do_not_fit(colours, labels, error, message):
    with pytest.raises(error, match=message):
        evaluate(dark_or_bright((0, 1)), colours, labels=labels)


def test_fit_refuses_channels_first(colours, request):
    model = tiny(input_shape=(8, 8, 1), classes=2)
    request.getfixturevalue("channels_first")
    with pytest.raises(ValueError, match="must be 'channels_last': the pipeline gives"):
        kr.training.fit(model, QUICK, colours)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("epochs", 0),
        ("batch_size", 0),
        ("seed", -1),
        ("warmup", 1.0),
        ("momentum", -0.1),
        ("label_smoothing", 1),
        ("pad_and_crop", 2),
        ("learning_rate", 0),
        ("learning_rate", float("nan")),
        ("weight_decay", -1),
    ],
)
def test_a_recipe_refuses_wrong_values(field, value):
    with pytest.raises(ValueError, match=f"{field}.*Received"):
        dataclasses.replace(QUICK, **{field: value})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    photos = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for name, value in (("dark", 20), ("bright", 200)):
        for number in range(10):
            write_png(photos / name / f"{number}.png", (12, 16, 3), value + int(rng.integers(0, 30)))
    return photos


def task(folder, recipe=QUICK, **options):
    return run.Task("ResNet20", f"folder:{folder}", recipe, **{"size": 8, **options})


@pytest.fixture(scope="module")
def out(folder, tmp_path_factory):
    """The directory of a run. Tests that change it copy it first."""
    with pytest.MonkeyPatch.context() as patch:
        of_one_block(patch)
        directory = tmp_path_factory.mktemp("out") / "run"
        run.train(task(folder), directory)
        return directory


@pytest.mark.slow
def test_a_run_leaves_everything_it_promises(out):
    assert sorted(path.name for path in out.iterdir()) == sorted(run.FILES)
    assert [path.name for path in (out / "checkpoints").iterdir()] == ["2"]  # the last one only, after 2 steps
    with (out / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert {"loss", "accuracy", "val_loss", "val_accuracy"} < set(rows[0])
    result = json.loads((out / "run.json").read_text())
    assert (result["model"], result["classes"], result["recipe"]["epochs"]) == ("ResNet20", ["bright", "dark"], 2)
    assert run.load_run(out).recipe == QUICK
    assert float(rows[-1]["val_accuracy"]) == pytest.approx(result["test_accuracy"])
    figures = json.loads((out / "report" / "metrics.json").read_text())
    assert (figures["images"], figures["top1"]) == (4, result["test_accuracy"])
    assert figures["balanced_accuracy"] == result["balanced_accuracy"]
    assert f"<h1>ResNet20 on {result['data']}, test</h1>" in (out / "report" / "report.html").read_text()
    assert (out / "curves.png").read_bytes()[:4] == b"\x89PNG"
    samples = sorted(path.name for path in (out / "samples").iterdir())
    assert samples == ["0_is_bright.png", "1_is_bright.png", "2_is_dark.png", "3_is_dark.png"]


@pytest.mark.slow
def test_a_report_that_cannot_be_written_does_not_spoil_a_run(folder, tmp_path, monkeypatch, caplog, eager):
    of_one_block(monkeypatch)
    monkeypatch.setattr(results, "saved_model", lambda *_, **__: None)
    passes = []
    monkeypatch.setattr(
        run, "evaluate", lambda *arguments, **options: passes.append(1) or evaluate(*arguments, **options)
    )

    def fail(evaluation, directory, *_):
        assert run.load_run(tmp_path / "run").test_accuracy == evaluation  # the run is finished already
        directory.mkdir()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(results, "write_report", fail)
    result = run.train(task(folder, dataclasses.replace(QUICK, epochs=1)), tmp_path / "run")
    assert len(passes) == 1
    assert "the run is finished, but its report is not written: [Errno 28] No space left on device" in caplog.text
    assert "keras-resnet evaluate" in caplog.text
    assert not [path for path in (tmp_path / "run").iterdir() if "report" in path.name]
    assert run.open_run(tmp_path / "run")[0] == result


def test_a_report_takes_the_place_of_that_of_a_shorter_training(tmp_path, monkeypatch, caplog):
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "report.html").write_text("of one epoch")

    def fail(evaluation, directory, *_):
        directory.mkdir()
        (directory / "report.html").write_text("of two")
        raise ValueError("no fonts")

    monkeypatch.setattr(results, "write_report", fail)
    results.write_run_report(None, None, "", tmp_path)
    assert not (tmp_path / "report").exists()  # it would describe another training
    assert "no fonts" in caplog.text
    monkeypatch.setattr(results, "write_report", lambda _, directory, *__: directory.mkdir())
    results.write_run_report(None, None, "", tmp_path)
    assert [path.name for path in tmp_path.rglob("*")] == ["report"]


@pytest.mark.slow
def test_the_saved_model_of_a_run_says_what_the_model_says(out, rng):
    images = rng.uniform(0, 255, (3, 8, 8, 3)).astype("float32")
    serve = tf.saved_model.load(str(out / "export" / "1")).signatures["serving_default"]
    model = run.open_model(out)
    np.testing.assert_allclose(serve(image=tf.constant(images))["probabilities"], model(images), atol=1e-6)


@pytest.mark.slow
def test_a_second_run_does_not_overwrite_the_first_unless_told(folder, out, tmp_path, monkeypatch, eager):
    of_one_block(monkeypatch)
    without_export(monkeypatch)
    out = shutil.copytree(out, tmp_path / "run")
    model = (out / "model.keras").read_bytes()
    with pytest.raises(
        ValueError,
        match=r"out must be a new .* overwrite=True .* a finished run with another recipe: seed \(was 0, is 9",
    ):
        run.train(task(folder, dataclasses.replace(QUICK, seed=9)), out)
    assert (out / "model.keras").read_bytes() == model
    (out / "mine.txt").write_text("kept")
    run.train(task(folder), out, overwrite=True)
    assert (out / "mine.txt").exists()
    assert (out / "model.keras").read_bytes() != model


@pytest.mark.slow
@pytest.mark.parametrize("size", [0, 2])
def test_a_wrong_argument_touches_nothing(folder, out, tmp_path, size):
    model = (out / "model.keras").read_bytes()
    for directory in (out, tmp_path / "new"):
        with pytest.raises(ValueError, match="(input_shape|size) must"):
            run.train(task(folder, size=size), directory, overwrite=True)
    assert (out / "model.keras").read_bytes() == model
    assert not (tmp_path / "new").exists()


def test_wrong_data_leaves_no_directory(tmp_path):
    with pytest.raises(ValueError, match="which is not a directory"):
        run.train(task(tmp_path / "none"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_what_is_no_run_is_said_to_be_none(tmp_path):
    with pytest.raises(ValueError, match="must be a run directory, with a readable run.json"):
        run.load_run(tmp_path)
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(ValueError, match="run.json must have 'recipe'"):
        run.load_run(tmp_path)
    with pytest.raises(ValueError, match="model must be a run directory or a .keras file"):
        run.open_model(tmp_path)
    (tmp_path / "model.keras").write_text("no zip")
    with pytest.raises(ValueError, match="model must be a readable .keras file. Received: .*model.keras"):
        run.open_model(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("split", ["train", "test"])
def test_a_corrupt_image_is_named(tmp_path, split, eager):
    for name in ("train", "test"):
        for number in range(4):
            write_png(tmp_path / name / "cat" / f"{number}.png", (8, 8, 3))
            write_png(tmp_path / name / "dog" / f"{number}.png", (8, 8, 3))
    (tmp_path / split / "cat" / "2.png").write_bytes(b"not an image")
    (tmp_path / split / "cat" / "3.png").write_bytes(b"")
    train, test = (kr.data.load(f"folder:{tmp_path}", name) for name in ("train", "test"))
    model = tiny(input_shape=(8, 8, 3), classes=2)
    message = rf"{split}/cat/[23].png is not a readable JPEG, PNG, BMP, WebP or GIF"
    with pytest.raises(ValueError, match=message):
        kr.training.fit(model, QUICK, train, test)
    with pytest.raises(ValueError, match=message):
        evaluate(model, train if split == "train" else test)


@pytest.mark.slow
def test_curves_are_drawn_without_a_test_split_too(tmp_path):
    curves.plot_curves({"loss": [2.0, 1.0], "accuracy": [0.1, 0.9]}, "training only", tmp_path / "curves.png")
    assert tf.io.decode_png((tmp_path / "curves.png").read_bytes()).shape[:2] == (504, 1200)


def living_graphs():
    """Number of TensorFlow's graphs in memory."""
    gc.collect()
    # Not isinstance, which reads `__class__`: an object of torch warns then.
    return sum(issubclass(type(thing), tf.Graph) for thing in gc.get_objects())


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_training_leaves_no_graph_in_memory(optimizer):
    """Each call of `fit` once kept 6 MB: the graphs of its steps, held by gradients that TensorFlow registers."""
    image = keras.Input((8, 8, 1))
    model = keras.Model(image, keras.layers.Dense(2, activation="softmax")(keras.layers.Flatten()(image)))
    split = from_arrays(np.zeros((32, 8, 8, 1), "uint8"), np.arange(32) % 2, ("a", "b"))
    recipe = kr.training.Recipe(epochs=1, batch_size=16, optimizer=optimizer, ema_decay=0.5, learning_rate=1e-3)
    kr.training.fit(model, recipe, split)
    once = living_graphs()
    for _ in range(2):
        kr.training.fit(model, recipe, split)
    assert living_graphs() <= once


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{}, {"precision": "bfloat16", "ema_decay": 0.5}])
def test_a_sequential_model_trains_as_a_functional_one(colours, changes, eager):
    def history(as_model):
        keras.utils.set_random_seed(0)
        layers = [
            keras.layers.Conv2D(4, 3, activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(2, "softmax"),
        ]
        model = as_model(keras.Input((8, 8, 1)), layers)
        recipe = dataclasses.replace(QUICK, learning_rate=1e-3, epochs=1, **changes)
        return kr.training.fit(model, recipe, colours, colours).history

    def functional(image, layers):
        return keras.Model(image, functools.reduce(lambda x, layer: layer(x), layers, image))

    assert history(lambda image, layers: keras.Sequential([image, *layers])) == history(functional)
