"""Runs the examples of README and docs that need published weights. The hub is a server on this machine."""

import json
import re

import keras
import numpy as np
import pytest
import safetensors.numpy

import keras_resnet as kr
from keras_resnet import weights
from keras_resnet.classes import imagenet_classes
from tests import processes
from tests.conftest import ROOT, photographs, randomise_evenly
from tests.hub_server import serving
from tests.test_package import README
from tests.torch_names import torch_state

pytestmark = [pytest.mark.slow, pytest.mark.processes]

FINE_TUNING = (ROOT / "docs" / "fine_tuning.md").read_text()
EXAMPLES = re.findall(r"<!-- needs weights -->\n```python\n(.*?)```", README + FINE_TUNING, re.S)


def commit(server, model):
    """Makes a model with random weights and stores it in the repository of its recommended checkpoint; returns it."""
    net = kr.create_model(model)
    randomise_evenly(net, np.random.default_rng(0))
    source = weights.find(model, "imagenet").source
    files = {"config.json": json.dumps({}).encode(), "model.safetensors": safetensors.numpy.save(torch_state(net))}
    server.commit(source.removeprefix("hf://"), files)
    return net


# Reload: the parent of a forked process imported the hub's client with another environment. Eager: each graph would be
# traced and then run once. One epoch: ten epochs would test nothing more.
PREAMBLE = """
import dataclasses, importlib, huggingface_hub.constants, keras_resnet, tensorflow
importlib.reload(huggingface_hub.constants)
tensorflow.config.run_functions_eagerly(True)
recipes = keras_resnet.training.RECIPES
recipes["fine_tune"] = dataclasses.replace(recipes["fine_tune"], epochs=1)
"""


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """The examples, run one after the other with an empty cache at the start.

    Returns the server with the weights, the networks, the path of the photograph, and the finished processes.
    """
    folder = tmp_path_factory.mktemp("readme")
    image = photographs(1, 300)
    image = image[0] if len(image) else np.random.default_rng(0).integers(0, 256, (300, 300, 3)).astype("uint8")
    keras.utils.save_img(folder / "photo.jpg", image, scale=False)
    for number, image in enumerate(np.random.default_rng(0).integers(0, 256, (8, 60, 80, 3)).astype("uint8")):
        path = folder / "flowers" / ("rose", "tulip")[number % 2] / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        keras.utils.save_img(path, image, scale=False)
    with serving() as server:
        with pytest.MonkeyPatch.context() as patch:  # as in `cheap_weights`
            zeros = lambda self, shape, dtype=None: keras.ops.zeros(shape, dtype)
            patch.setattr(keras.initializers.VarianceScaling, "__call__", zeros)
            nets = {model: commit(server, model) for model in ("ResNet18", "ResNet50")}
        settings = {"HF_ENDPOINT": server.url, "HF_HOME": str(folder / "hub"), "NO_PROXY": "*"}
        settings |= {"PYTHONPATH": str(ROOT), "HF_HUB_DISABLE_TELEMETRY": "1"}
        examples = [processes.python("-c", PREAMBLE + code, environment=settings, cwd=folder) for code in EXAMPLES]
        yield server, nets, folder / "photo.jpg", examples


def test_a_photograph_gets_names_in_three_lines(ran):
    _, nets, photo, examples = ran
    assert len([line for line in EXAMPLES[0].splitlines() if line]) == 3
    assert examples[0].returncode == 0, examples[0].stderr
    loaded = keras.utils.img_to_array(keras.utils.load_img(photo, target_size=(224, 224)))
    [best] = kr.decode_predictions(nets["ResNet50"](loaded[None], training=False), top=3)
    assert f"[[('{best[0][0]}', '{dict(imagenet_classes())[best[0][0]]}'" in examples[0].stdout


def test_transfer_learning_runs(ran):
    *_, examples = ran
    assert examples[1].returncode == 0, examples[1].stderr
    assert "the classifier in timm_a1 has another number of classes; that of resnet18 keeps" in examples[1].stderr


def test_fine_tuning_in_five_lines_runs(ran):
    *_, examples = ran
    assert len([line for line in EXAMPLES[2].splitlines() if line]) == 5
    assert examples[2].returncode == 0, examples[2].stderr
    assert examples[2].stdout.strip() in ("0.0", "0.5", "1.0")  # the accuracy on the two held-out images


def test_each_file_is_downloaded_once_for_all_examples(ran):
    server, *_ = ran
    assert sum("ResNet50" in code for code in EXAMPLES) > 1
    transfers = [request.path for request in server.of("GET", "/model.safetensors")]
    assert len(set(transfers)) == len(transfers) == 2  # one for each model
    assert len(EXAMPLES) == 3
