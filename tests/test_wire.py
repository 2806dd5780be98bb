"""What is exported, asked over the wire: gRPC by the official stubs, and REST."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

import keras_resnet as kr
from keras_resnet.data.decode import decode, to_square
from tests.conftest import randomise_evenly
from tests.serving import contract
from tests.serving.asking import Asking, b64, of_file
from tests.serving.process import REAL, Server, serving
from tests.test_export_images import SOUND, WRONG

NAMES = ["aeroplane", "car", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "löwe"]
FILES = [SOUND[name] for name in ("JPEG", "PNG", "WebP", "GIF", "a single pixel")]
NO_IMAGE, SAID = WRONG["text"]


class Served(NamedTuple):
    model: keras.Model
    pixels: np.ndarray
    folder: Path
    server: Server
    asking: Asking

    def of_files(self, files):
        """What the Keras model says of files, decoded and resized as in training."""
        images = [to_square(decode(tf.constant(content), 3), 32).numpy() for content in files]
        return self.model.predict(np.array(images), verbose=0)


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("served") / "net", np.random.default_rng(0)
    model, pixels = kr.ResNet20(), rng.uniform(0, 255, (5, 32, 32, 3)).astype("float32")
    randomise_evenly(model, rng)
    kr.export.saved_model(model, folder, class_names=NAMES, warmup=pixels)
    with serving("net", f"--model_base_path={folder}") as server, Asking(server) as asking:
        yield Served(model, pixels, folder, server, asking)


@pytest.fixture
def own(served, tmp_path):
    """A server whose versions a test can change; it has version 1 of the same."""
    folder = tmp_path / "net"
    shutil.copytree(served.folder, folder)
    flags = ["--max_num_load_retries=0"] if REAL else []
    with serving("net", f"--model_base_path={folder}", *flags) as server, Asking(server) as asking:
        yield folder, server, asking


def check(found, wanted):
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def check_named(classes, scores, probabilities):
    best = np.argsort(-probabilities, axis=-1)[:, :5]
    assert [list(row) for row in classes] == [[NAMES[i] for i in row] for row in best]
    check(scores, np.take_along_axis(probabilities, best, -1))


def check_answers(answer, wanted):
    """Of `serving_bytes`, as arrays or lists."""
    check(answer["probabilities"], wanted)
    check_named(answer["classes"], answer["scores"], wanted)
    assert all(answer["valid"])
    assert not any(answer["error"])


def test_pixels_to_probabilities(served):
    wanted = served.model.predict(served.pixels, verbose=0)
    version, answer = served.asking.predict("serving_default", {"image": served.pixels})
    assert (version, list(answer)) == (1, ["probabilities"])
    check(answer["probabilities"], wanted)
    rows, column = served.pixels.tolist(), {"inputs": {"image": served.pixels.tolist()}}
    check(served.asking.post(":predict", {"instances": rows})["predictions"], wanted)
    check(served.asking.post(":predict", {"instances": [{"image": row} for row in rows]})["predictions"], wanted)
    check(served.asking.post("/versions/1:predict", column)["outputs"], wanted)


def test_files_to_classes(served):
    wanted = served.of_files(FILES)
    _, answer = served.asking.predict("serving_bytes", {"image_bytes": FILES})
    check_answers({**answer, "classes": [[name.decode() for name in row] for row in answer["classes"]]}, wanted)
    instances = [{"image_bytes": b64(content)} for content in FILES]
    rows = served.asking.post(":predict", {"signature_name": "serving_bytes", "instances": instances})["predictions"]
    check_answers({name: [row[name] for row in rows] for name in rows[0]}, wanted)
    inputs = {"image_bytes": [b64(content) for content in FILES]}
    check_answers(
        served.asking.post(":predict", {"signature_name": "serving_bytes", "inputs": inputs})["outputs"], wanted
    )


def test_examples_to_classes(served):
    wanted = served.of_files(FILES)
    by_grpc = served.asking.classify([of_file(content) for content in FILES])
    examples = [{"image/encoded": b64(content)} for content in FILES]
    by_rest = served.asking.post(":classify", {"signature_name": "classify", "examples": examples})["results"]
    for rows in (by_grpc, by_rest):
        check_named([[name for name, _ in row] for row in rows], [[score for _, score in row] for row in rows], wanted)


def test_pixels_to_features(served):
    before = keras.Model(served.model.input, served.model.layers[-1].input)
    wanted = before.predict(served.pixels, verbose=0)
    check(served.asking.predict("features", {"image": served.pixels})[1]["features"], wanted)
    asked = {"signature_name": "features", "instances": served.pixels.tolist()}
    check(served.asking.post(":predict", asked)["predictions"], wanted)


def test_one_file_that_is_no_image_harms_no_other(served):
    wanted = served.of_files(FILES[:2])
    _, answer = served.asking.predict("serving_bytes", {"image_bytes": [FILES[0], NO_IMAGE, FILES[1]]})
    assert answer["valid"].tolist() == [True, False, True]
    assert SAID in answer["error"][1].decode()
    assert {*answer["classes"][1]} == {b""}
    assert not answer["probabilities"][1].any()
    check(answer["probabilities"][[0, 2]], wanted)
    # Nor does one that is no `tf.Example`, which TensorFlow's parser would repeat in its error.
    _, answer = served.asking.predict("classify", {"inputs": [of_file(FILES[0]).SerializeToString(), b"secret"]})
    check_named(answer["classes"][:1].astype(str), answer["scores"][:1], wanted[:1])
    assert {*answer["classes"][1]} == {b""}


def test_the_wire_contract_is_as_recorded(served):
    found = contract.contract(served.asking.signatures())
    assert found == contract.PATH.read_text(), f"if this is meant, run: {contract.COMMAND}"


def test_rest_tells_state_and_metadata(served):
    import requests

    (status,) = requests.get(served.server.url, timeout=60).json()["model_version_status"]
    assert (status["version"], status["state"], status["status"]["error_code"]) == ("1", "AVAILABLE", "OK")
    found = requests.get(f"{served.server.url}/metadata", timeout=60).json()
    assert (found["model_spec"]["name"], found["model_spec"]["version"]) == ("net", "1")
    signature = found["metadata"]["signature_def"]["signature_def"]["serving_bytes"]
    assert signature["inputs"]["image_bytes"]["dtype"] == "DT_STRING"
    assert set(signature["outputs"]) == {"classes", "scores", "probabilities", "valid", "error"}
    missing = requests.get(f"{served.server.rest}/v1/models/other", timeout=60)
    assert (missing.status_code, list(missing.json())) == (404, ["error"])


def test_warm_up_requests_are_answered_before_any_other(served):
    path = served.folder / "1" / "assets.extra" / "tf_serving_warmup_requests"
    records = list(tf.data.TFRecordDataset(str(path)).as_numpy_iterator())
    logs = [PredictionLog.FromString(record) for record in records]
    asked = [log.predict_log.request for log in logs if log.HasField("predict_log")]
    counts = {}
    for request in asked:
        served.asking.call("Predict", request)
        (tensor,) = request.inputs.values()
        counts.setdefault(request.model_spec.signature_name, []).append(tensor.tensor_shape.dim[0].size)
    assert counts == {"serving_default": [1, 2, 4, 5], "serving_bytes": [5], "features": [5]}
    (to_classify,) = (log.classify_log.request for log in logs if log.HasField("classify_log"))
    assert len(served.asking.call("Classify", to_classify).result.classifications) == 5


def test_saved_model_cli_runs_it(served, tmp_path):
    np.save(tmp_path / "pixels.npy", served.pixels)
    command = [Path(sys.executable).with_name("saved_model_cli"), "run", "--dir", served.folder / "1"]
    options = ["--tag_set", "serve", "--signature_def", "serving_default", "--outdir", tmp_path]
    inputs = ["--inputs", f"image={tmp_path / 'pixels.npy'}"]
    ran = subprocess.run([*command, *options, *inputs], capture_output=True, text=True, check=False, env=os.environ)
    assert ran.returncode == 0, ran.stderr
    check(np.load(tmp_path / "probabilities.npy"), served.model.predict(served.pixels, verbose=0))


def test_neither_half_an_export_nor_a_corrupt_one_is_picked_up(served, own):
    folder, server, asking = own
    wanted = served.model.predict(served.pixels, verbose=0)
    (folder / ".2-123").mkdir()  # an export in the making, or one that was killed
    content = (folder / "1" / "saved_model.pb").read_bytes()
    (folder / ".2-123" / "saved_model.pb").write_bytes(content[: len(content) // 2])
    shutil.copytree(folder / ".2-123", folder / "3")  # as no export of ours leaves it
    server.wait_for(3, "END")
    assert server.versions() == {1: "AVAILABLE", 3: "END"}
    assert asking.predict("serving_default", {"image": served.pixels})[0] == 1
    shutil.copytree(folder / "1", folder / ".4-aside")
    (folder / ".4-aside").rename(folder / "4")
    server.wait_for(4)
    version, answer = asking.predict("serving_default", {"image": served.pixels})
    assert version == 4
    check(answer["probabilities"], wanted)
    server.wait_for(1, "END")


def test_an_export_that_is_killed_leaves_nothing_to_be_picked_up(tmp_path):
    code = """
import os, sys, tensorflow as tf, keras_resnet as kr
real = tf.saved_model.save
def killed(*arguments, **options):
    real(*arguments, **options)
    os.kill(os.getpid(), 9)  # all is written, nothing is renamed
tf.saved_model.save = killed
kr.export.saved_model(kr.ResNet20(), sys.argv[1])
"""
    ran = subprocess.run([sys.executable, "-c", code, tmp_path / "net"], capture_output=True, check=False)
    assert ran.returncode == -9
    assert [path.name.isdecimal() for path in (tmp_path / "net").iterdir()] == [False]
