"""A training that waits for large photographs says that prepared ones would pay."""

import re
import time

import numpy as np
import pytest
import tensorflow as tf
from sklearn.datasets import load_sample_images

import keras_resnet as kr
from keras_resnet.training import Recipe, Task, train, waiting
from keras_resnet.training.waiting import WaitingForImages, advice, gain_of, large_photographs
from tests.small_training import of_one_block, without_export

LINE = (
    "images take 80 % of a step: `keras-resnet data 'folder:my cats' --to tfrecord:DIR` makes them about 20 times as "
    "quick"
)


def photographs(folder, sides, encode=tf.io.encode_jpeg, count=4):
    """A folder of two classes with parts of scikit-learn's photographs, enlarged."""
    for number, image in enumerate(load_sample_images().images):
        pixels = tf.cast(tf.clip_by_value(tf.image.resize(image, sides, "bicubic"), 0, 255), tf.uint8)
        (folder / f"class {number}").mkdir(parents=True)
        for copy in range(count // 2):
            name = f"{copy}.{'jpg' if encode is tf.io.encode_jpeg else 'png'}"
            (folder / f"class {number}" / name).write_bytes(encode(tf.roll(pixels, copy, 0)).numpy())
    return f"folder:{folder}"


@pytest.mark.parametrize(
    ("share", "gain", "line"), [(0.8, 20.4, LINE), (0.3, 20.4, None), (0.8, 1.9, None), (0.34, 2.0, "images take 34 %")]
)
def test_the_line_has_the_numbers_and_is_left_out_where_it_would_not_pay(share, gain, line):
    found = advice(share, gain, "folder:my cats")
    assert found == line or found.startswith(line)


@pytest.mark.parametrize(
    ("sides", "encode", "count"),
    [((513, 700), tf.io.encode_jpeg, 4), ((512, 700), tf.io.encode_jpeg, 0), ((513, 700), tf.io.encode_png, 0)],
)
def test_photographs_are_large_jpeg_files(sides, encode, count, tmp_path):
    split = kr.data.load(photographs(tmp_path, sides, encode), "all")
    assert len(large_photographs(split)) == count


def test_pixels_in_memory_are_no_photographs():
    assert large_photographs(kr.data.load("digits", "test")) == []


def test_a_file_that_cannot_be_read_is_no_reason_to_stop(tmp_path):
    split = kr.data.load(photographs(tmp_path, (513, 700)), "all")
    (tmp_path / "class 0" / "0.jpg").unlink()
    assert len(large_photographs(split)) < 4


@pytest.fixture
def few_steps(monkeypatch):
    monkeypatch.setattr(waiting, "SKIPPED", 2)
    monkeypatch.setattr(waiting, "MEASURED", 4)


@pytest.mark.slow
@pytest.mark.usefixtures("few_steps")
@pytest.mark.parametrize(("for_images", "for_network", "low", "high"), [(0.08, 0.02, 60, 90), (0.0, 0.05, None, None)])
def test_the_share_of_a_step_is_measured(for_images, for_network, low, high):
    """A pipeline without threads that sleeps, and a network that sleeps."""

    def slow(number):
        return tf.numpy_function(lambda: time.sleep(for_images) or np.int64(0), [], tf.int64) + number

    lines, gains = [], []
    callback = WaitingForImages("folder:x", [tf.constant("a")], lambda found: gains.append(found) or 20.0, lines.append)
    callback.on_epoch_begin(0)
    options = tf.data.Options()
    options.autotune.enabled = False  # as in training; it would read ahead
    batches = callback.watch(tf.data.Dataset.range(1_000_000).map(slow).with_options(options))
    for step, batch in enumerate(batches.take(8)):
        assert int(batch) == step
        time.sleep(for_network)
        callback.on_train_batch_end(step, {"loss": tf.constant(1.0)})
    if low is None:
        assert lines == gains == []
    else:
        (line,) = lines
        assert low < int(re.search(r"images take (\d+) % of a step", line)[1]) < high
        assert len(gains) == 1
    assert callback.watch(batches) is batches


@pytest.mark.slow
def test_the_gain_is_that_of_the_crops_of_large_files_over_their_copies(tmp_path):
    """12 megapixels: about 10 on a quiet machine."""
    split = kr.data.load(photographs(tmp_path, (3000, 4000), count=2), "all")
    assert gain_of(large_photographs(split), 32, 3, None) > 1.5


@pytest.mark.slow
@pytest.mark.usefixtures("few_steps")
def test_a_training_says_it_once(tmp_path, monkeypatch):
    """Two epochs of four steps."""
    source = photographs(tmp_path / "photos", (520, 700), count=20)
    monkeypatch.setattr(waiting, "LEAST_SHARE", -1.0)
    monkeypatch.setattr(waiting, "gain_of", lambda *_, **__: 20.0)
    of_one_block(monkeypatch)
    without_export(monkeypatch)
    lines = []
    recipe = Recipe(epochs=2, batch_size=4, validation_split=0.0, pad_and_crop=0.0)
    train(Task("ResNet20", source, recipe, size=8), tmp_path / "run", write_line=lines.append)
    (line,) = (line for line in lines if "of a step" in line)
    assert re.fullmatch(rf"images take \d+ % of a step: `keras-resnet data {source} --to tfrecord:DIR` .* 20 .*", line)
