"""The README's examples with published weights, run by a user whose hub is a server on this machine."""

import json
import os
import re
import subprocess
import sys

import keras
import numpy as np
import pytest
import safetensors.numpy

import keras_resnet as kr
from keras_resnet import weights
from keras_resnet.classes import imagenet_classes
from tests.conftest import ROOT, photographs, randomise_evenly
from tests.hub_server import serving
from tests.test_package import README
from tests.torch_names import torch_state

EXAMPLES = re.findall(r"<!-- needs weights -->\n```python\n(.*?)```", README, re.S)


def commit(server, model):
    """Puts a model with random weights where its recommended checkpoint is; returns it."""
    net = kr.create_model(model)
    randomise_evenly(net, np.random.default_rng(0))
    source = weights.find(model, "imagenet").source
    files = {"config.json": json.dumps({}).encode(), "model.safetensors": safetensors.numpy.save(torch_state(net))}
    server.commit(source.removeprefix("hf://"), files)
    return net


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A server with the weights that the examples ask for, and a directory to run them in."""
    folder = tmp_path_factory.mktemp("readme")
    with serving() as server:
        yield server, folder, {model: commit(server, model) for model in ("ResNet18", "ResNet50")}


def run(code, server, folder):
    env = {**os.environ, "HF_ENDPOINT": server.url, "HF_HOME": str(folder / "hub"), "NO_PROXY": "*"}
    env |= {"PYTHONPATH": str(ROOT), "HF_HUB_DISABLE_TELEMETRY": "1"}
    return subprocess.run(
        [sys.executable, "-c", code], env=env, cwd=folder, capture_output=True, text=True, check=False
    )


def test_a_photograph_gets_names_in_three_lines(served):
    server, folder, nets = served
    example = EXAMPLES[0]
    assert len([line for line in example.splitlines() if line]) == 3
    image = photographs(1, 300)
    image = image[0] if len(image) else np.random.default_rng(0).integers(0, 256, (300, 300, 3)).astype("uint8")
    keras.utils.save_img(folder / "photo.jpg", image, scale=False)
    ran = run(example, server, folder)
    assert ran.returncode == 0, ran.stderr
    loaded = keras.utils.img_to_array(keras.utils.load_img(folder / "photo.jpg", target_size=(224, 224)))
    [best] = kr.decode_predictions(nets["ResNet50"].predict(loaded[None], verbose=0), top=3)
    assert f"[[('{best[0][0]}', '{dict(imagenet_classes())[best[0][0]]}'" in ran.stdout


def test_transfer_learning_runs(served):
    server, folder, _ = served
    ran = run(EXAMPLES[1], server, folder)
    assert ran.returncode == 0, ran.stderr
    assert "the head of timm_a1 is of other classes; that of resnet18 starts anew." in ran.stderr


def test_fine_tuning_in_five_lines_runs(served):
    server, folder, _ = served
    example = EXAMPLES[2]
    assert len([line for line in example.splitlines() if line]) == 5
    for number, image in enumerate(np.random.default_rng(0).integers(0, 256, (8, 60, 80, 3)).astype("uint8")):
        path = folder / "flowers" / ("rose", "tulip")[number % 2] / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        keras.utils.save_img(path, image, scale=False)
    ran = run(example, server, folder)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip() in ("0.0", "0.5", "1.0")  # of the two held out


def test_each_file_is_downloaded_once_for_all_examples(served):
    server, folder, _ = served
    for example in EXAMPLES[:2]:
        run(example, server, folder)
    transfers = [request.path for request in server.of("GET", "/model.safetensors")]
    assert len(set(transfers)) == len(transfers) == 2  # one for each model
    assert len(EXAMPLES) == 3
