"""Several devices or processes give the same results as one device, on the same batches."""

import json
import signal
import socket

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_resnet as kr
from keras_resnet.data.constructors import from_arrays
from keras_resnet.training import Recipe, distribution, run
from keras_resnet.training.batches import ImageSizes, validation_batches
from keras_resnet.training.distribution import Placement
from tests import needs, processes
from tests.conftest import quick_among

SETTINGS = (
    "train ResNet20 --data digits --size 8 --epochs 3 --batch-size 128 --pad-and-crop 0 --learning-rate 0.02 "
    "--backend jax"
)
STEPS = 10  # steps per epoch of digits, of which a tenth is held out
# The command, with a ResNet20 of one block: most of its time is compilation. The command imports Keras with the backend
# of its option, and the constructor is replaced after that.
COMMAND = """
import os, jax, pytest
from keras_resnet.cli import main, training

# JAX reads its environment variables when it is imported. TensorFlow has imported it before the process was forked.
jax.config.update("jax_compilation_cache_dir", os.environ["COMPILED"])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)

def start_keras(before_devices):
    start(before_devices)
    from tests.small_training import of_one_block, without_export
    of_one_block(pytest.MonkeyPatch())
    without_export(pytest.MonkeyPatch())

start, training.start_keras = training.start_keras, start_keras
main()
"""


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """Environment variables that make JAX processes share their compiled code."""
    return {
        "COMPILED": str(tmp_path_factory.mktemp("compiled")),
        **processes.UNOPTIMIZED,
        "CUDA_VISIBLE_DEVICES": "",
    }


@pytest.fixture(scope="module", params=["tensorflow", pytest.param("jax", marks=needs.package("jax"))])
def two_devices(request, tmp_path_factory, compiled):
    """The backend, and the report of `tests.two_devices` on it."""
    environment = {"KERAS_BACKEND": request.param, **compiled}
    ended = processes.python("-m", "tests.two_devices", tmp_path_factory.mktemp("run"), environment=environment)
    return request.param, json.loads(processes.printed(ended).splitlines()[-1])


@pytest.mark.slow
@pytest.mark.processes
def test_two_devices_stopped_and_resumed_equal_one_device(two_devices):
    _, report = two_devices
    assert "stopped by SIGTERM in epoch 2, step 3 of 4" in report["stopped"]
    assert report["weights"] < 1e-5
    for one, two in report["history"].values():
        np.testing.assert_allclose(one, two, atol=1e-5)
    assert report["evaluated"][0] == report["evaluated"][1] > 0.9


@pytest.mark.slow
@pytest.mark.processes
def test_gradual_unfreezing_on_two_devices_equals_one_device(two_devices):
    backend, report = two_devices
    assert len(report["unfreezing"]) == (2 if backend == "jax" else 0)
    if backend == "jax":
        np.testing.assert_allclose(*report["unfreezing"], rtol=1e-5)


@pytest.mark.slow
@pytest.mark.processes
def test_what_devices_cannot_do_is_said_before_the_training(two_devices):
    backend, report = two_devices
    refused = report["refused"]
    assert refused.pop("count").startswith(
        "devices must be at most 2, the number of available devices. Received: devices=3"
    )
    assert refused.pop("place").startswith("model must be built under the same `devices(...)`")
    assert "must be divisible by the number of devices, 2. Received: batch_size=15" in refused.pop("batch_size")
    assert "must be divisible by the number of devices, 2. Received: batch_size=16, 9 images" in refused.pop("images")
    only_tensorflow = {
        "accumulation": "gradient_accumulation_steps must be 1 on several TensorFlow devices. "
        "Received: gradient_accumulation_steps=2",
        "remat": "remat must be False on several TensorFlow devices. Received: remat=True",
    }
    assert refused == (only_tensorflow if backend == "tensorflow" else {})


@pytest.mark.parametrize("size", quick_among((16, 17, 22, 33), 17))
@pytest.mark.parametrize("processes", [1, 2])
def test_validation_counts_each_image_once_however_many_processes_read(size, processes):
    split = from_arrays(np.arange(1, size + 1, dtype="uint8").repeat(4).reshape(-1, 2, 2, 1), np.arange(size) % 2, "ab")
    recipe = Recipe(batch_size=16)
    seen, weights, steps = [], [], set()
    for process in range(processes):
        where = Placement(2, process, processes)
        batches = list(
            validation_batches(split.shard(*where.shard), size, recipe, ImageSizes((2,), 2), where).as_numpy_iterator()
        )
        steps.add(len(batches))
        for images, targets, weight in batches:
            assert len(images) == len(targets) == len(weight) == 16 // processes
            seen += images[weight > 0, 0, 0, 0].tolist()
            weights += weight.tolist()
    assert sorted(seen) == list(range(1, size + 1))
    assert steps == {-(-size // 16)}
    assert np.mean(weights) == pytest.approx(1)  # Keras' mean loss is then the mean over the images


def test_a_shard_reads_no_others_images(tmp_path):
    for number in range(4):
        for kind in ("train", "test"):
            path = tmp_path / kind / "cat" / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            good = tf.io.encode_png(tf.fill((4, 4, 3), np.uint8(number))).numpy()
            path.write_bytes(good if number % 2 else b"broken")
    split = kr.data.load(f"folder:{tmp_path}", "test")
    assert [int(image[0, 0, 0]) for image, _ in split.shard(1, 2).examples] == [1, 3]
    with pytest.raises(ValueError, match="index must be below count. Received: index=2, count=2"):
        split.shard(2, 2)


def test_the_backend_torch_has_one_device(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    with pytest.raises(ValueError, match="devices must be 1 on the torch backend.* Received: devices=2"):
        distribution.devices(2)
    with distribution.devices(1), distribution.devices():
        pass


def test_several_processes_need_jax_and_numbers_that_fit(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "tensorflow")
    with pytest.raises(
        ValueError, match="processes must be 1 on the tensorflow backend; several .* Received: processes=2"
    ):
        distribution.join(2, 0, "127.0.0.1:1234")
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(ValueError, match="process must be below processes=2. Received: process=2"):
        distribution.join(2, 2, "127.0.0.1:1234")


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def start(out, *options, **variables):
    """Starts the command in its own process."""
    environment = {"KERAS_BACKEND": "jax", "NO_COLOR": "1", "COLUMNS": "120", **variables}
    return processes.start("-c", COMMAND, *SETTINGS.split(), "--out", out, *options, environment=environment)


@pytest.mark.slow
@pytest.mark.processes
@needs.package("jax")
def test_two_processes_one_of_them_killed_equal_one_process(tmp_path, compiled):
    """The first start sets the processes with environment variables; the start that resumes uses options."""
    processes.printed(start(tmp_path / "one", **compiled).end())

    two, address = tmp_path / "two", f"127.0.0.1:{free_port()}"
    variables = {"KERAS_DISTRIBUTION_JOB_ADDRESSES": address, "KERAS_DISTRIBUTION_NUM_PROCESSES": "2", **compiled}
    pair = [start(two, KERAS_DISTRIBUTION_PROCESS_ID=str(number), **variables) for number in (0, 1)]
    # The first epoch is over. The next two epochs take longer than it takes to notice that.
    pair[0].wait_until((two / "checkpoints" / str(STEPS)).exists)
    pair[1].kill(signal.SIGKILL)
    assert [process.end().returncode != 0 for process in pair] == [True, True]
    assert not (two / "run.json").exists()

    address = f"127.0.0.1:{free_port()}"
    pair = [
        start(two, "--processes", 2, "--process", number, "--coordinator", address, **compiled) for number in (1, 0)
    ]
    texts = [processes.printed(process.end()) for process in pair]
    assert "epoch " not in texts[0]  # the first process alone reports
    assert "epoch   1" not in texts[1]  # it resumes after the first epoch

    weights = [run.open_model(path).get_weights() for path in (tmp_path / "one", two)]
    assert max(np.abs(a - b).max() for a, b in zip(*weights, strict=True)) < 1e-5
    runs = [json.loads((path / "run.json").read_text()) for path in (tmp_path / "one", two)]
    assert [content.pop("seconds") > 0 for content in runs] == [True, True]
    assert runs[0] == runs[1]
    assert sorted(path.name for path in two.iterdir()) == sorted(path.name for path in (tmp_path / "one").iterdir())
    assert len(list((two / "checkpoints").iterdir())) == 1  # the last one, from which more epochs can go on
