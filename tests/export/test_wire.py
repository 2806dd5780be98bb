"""Tests of exports through a server: gRPC by the official stubs, and REST."""

import shutil
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

from keras_resnet.data.decode import decode, to_square
from keras_resnet.runtime.logits import logits
from tests import processes
from tests.export.test_images import SOUND, WRONG
from tests.serving import contract, nets
from tests.serving.asking import Client, b64, file_example
from tests.serving.process import REAL, Server, serving

pytestmark = [pytest.mark.serving, pytest.mark.processes]

NAMES = nets.CLASSES[1]
FILES = [SOUND[name] for name in ("JPEG", "PNG", "WebP", "GIF", "a single pixel")]
NO_IMAGE, NO_IMAGE_ERROR = WRONG["text"]


class Served(NamedTuple):
    model: keras.Model
    pixels: np.ndarray
    folder: Path
    server: Server
    client: Client

    def predict_files(self, files):
        """The probabilities of the Keras model for files, which are decoded and resized as in training."""
        return predict(self.model, images_of(files))

    def logits_of_files(self, files):
        """The outputs of the Keras model for files, before its softmax."""
        with logits(self.model):
            return predict(self.model, images_of(files))


def images_of(files):
    return np.array([to_square(decode(tf.constant(content), 3), 32).numpy() for content in files])


def predict(model, images):
    return model(images, training=False).numpy()


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    subjects, folder = nets.small(), tmp_path_factory.mktemp("served") / "net"
    folder.mkdir()
    nets.publish(subjects.warm, folder, 1)
    with serving("net", f"--model_base_path={folder}") as server, Client(server) as client:
        yield Served(subjects.networks[0], subjects.pixels[:5], folder, server, client)


@pytest.fixture
def changeable(served, tmp_path):
    """A server whose versions a test can change. It has version 1 of the same network."""
    folder = tmp_path / "net"
    folder.mkdir()
    nets.publish(nets.small().folder, folder, 1)
    shutil.rmtree(folder / "1" / "assets.extra")  # a warm-up takes seconds
    flags = ["--max_num_load_retries=0"] if REAL else []
    with serving("net", f"--model_base_path={folder}", *flags) as server, Client(server) as client:
        yield folder, server, client


def check(result, expected):
    np.testing.assert_allclose(result, expected, atol=1e-5)


def check_classes(classes, scores, probabilities):
    best = np.argsort(-probabilities, axis=-1)[:, :5]
    assert [list(row) for row in classes] == [[NAMES[i] for i in row] for row in best]
    check(scores, np.take_along_axis(probabilities, best, -1))


def check_answer(answer, expected):
    """Checks the outputs of `serving_bytes`, which are arrays or lists."""
    check(answer["probabilities"], expected)
    check_classes(answer["classes"], answer["scores"], expected)
    assert all(answer["valid"])
    assert not any(answer["error"])


@pytest.mark.slow
def test_pixels_to_probabilities(served):
    expected = predict(served.model, served.pixels)
    version, answer = served.client.predict("serving_default", {"image": served.pixels})
    assert (version, list(answer)) == (1, ["probabilities"])
    check(answer["probabilities"], expected)
    rows, columns = served.pixels.tolist(), {"inputs": {"image": served.pixels.tolist()}}
    check(served.client.post(":predict", {"instances": rows})["predictions"], expected)
    check(served.client.post(":predict", {"instances": [{"image": row} for row in rows]})["predictions"], expected)
    check(served.client.post("/versions/1:predict", columns)["outputs"], expected)


@pytest.mark.slow
def test_files_to_classes(served):
    expected = served.predict_files(FILES)
    _, answer = served.client.predict("serving_bytes", {"image_bytes": FILES})
    check_answer({**answer, "classes": [[name.decode() for name in row] for row in answer["classes"]]}, expected)
    instances = [{"image_bytes": b64(content)} for content in FILES]
    rows = served.client.post(":predict", {"signature_name": "serving_bytes", "instances": instances})["predictions"]
    check_answer({name: [row[name] for row in rows] for name in rows[0]}, expected)
    inputs = {"image_bytes": [b64(content) for content in FILES]}
    check_answer(
        served.client.post(":predict", {"signature_name": "serving_bytes", "inputs": inputs})["outputs"], expected
    )


@pytest.mark.slow
def test_examples_to_classes(served):
    expected = served.predict_files(FILES)
    by_grpc = served.client.classify([file_example(content) for content in FILES])
    examples = [{"image/encoded": b64(content)} for content in FILES]
    by_rest = served.client.post(":classify", {"signature_name": "classify", "examples": examples})["results"]
    for rows in (by_grpc, by_rest):
        check_classes(
            [[name for name, _ in row] for row in rows], [[score for _, score in row] for row in rows], expected
        )


@pytest.mark.slow
def test_pixels_to_features(served):
    before = keras.Model(served.model.input, served.model.layers[-1].input)
    expected = predict(before, served.pixels)
    check(served.client.predict("features", {"image": served.pixels})[1]["features"], expected)
    body = {"signature_name": "features", "instances": served.pixels.tolist()}
    check(served.client.post(":predict", body)["predictions"], expected)


@pytest.mark.slow
def test_files_to_heat_maps(served):
    expected = served.predict_files(FILES)
    best = expected.argmax(-1)
    files = [FILES[0], NO_IMAGE, *FILES[1:]]
    _, by_grpc = served.client.predict("explain", {"image_bytes": files})
    by_grpc["class"] = np.array([name.decode() for name in by_grpc["class"]])
    body = {"signature_name": "explain", "instances": [{"image_bytes": b64(content)} for content in files]}
    rows = served.client.post(":predict", body)["predictions"]
    for answer in (by_grpc, {name: np.array([row[name] for row in rows]) for name in rows[0]}):
        assert answer["valid"].tolist() == [True, False, True, True, True, True]
        assert (answer["class"][1], answer["score"][1], answer["heat_map"][1].any()) == ("", 0, False)
        sound = {name: np.delete(value, 1, axis=0) for name, value in answer.items()}
        assert sound["index"].tolist() == best.tolist()
        assert sound["class"].tolist() == [NAMES[index] for index in best]
        check(sound["score"], expected.max(-1))
        check(sound["heat_map"].mean((1, 2)), served.logits_of_files(FILES).max(-1))  # the bias of this network is 0


@pytest.mark.slow
def test_one_file_that_is_no_image_harms_no_other(served):
    expected = served.predict_files(FILES[:2])
    _, answer = served.client.predict("serving_bytes", {"image_bytes": [FILES[0], NO_IMAGE, FILES[1]]})
    assert answer["valid"].tolist() == [True, False, True]
    assert NO_IMAGE_ERROR in answer["error"][1].decode()
    assert {*answer["classes"][1]} == {b""}
    assert not answer["probabilities"][1].any()
    check(answer["probabilities"][[0, 2]], expected)
    # The same holds for bytes that are not a `tf.Example`. TensorFlow's parser would repeat them in its error.
    _, answer = served.client.predict("classify", {"inputs": [file_example(FILES[0]).SerializeToString(), b"secret"]})
    check_classes([[name.decode() for name in answer["classes"][0]]], answer["scores"][:1], expected[:1])
    assert {*answer["classes"][1]} == {b""}


@pytest.mark.slow
def test_the_wire_contract_is_as_recorded(served):
    result = contract.contract(served.client.signatures())
    assert result == contract.PATH.read_text(), f"if this change is intended, run: {contract.COMMAND}"


@pytest.mark.slow
def test_rest_tells_state_and_metadata(served):
    import requests

    (status,) = requests.get(served.server.url, timeout=60).json()["model_version_status"]
    assert (status["version"], status["state"], status["status"]["error_code"]) == ("1", "AVAILABLE", "OK")
    metadata = requests.get(f"{served.server.url}/metadata", timeout=60).json()
    assert (metadata["model_spec"]["name"], metadata["model_spec"]["version"]) == ("net", "1")
    signature = metadata["metadata"]["signature_def"]["signature_def"]["serving_bytes"]
    assert signature["inputs"]["image_bytes"]["dtype"] == "DT_STRING"
    assert set(signature["outputs"]) == {"classes", "scores", "probabilities", "valid", "error"}
    missing = requests.get(f"{served.server.rest}/v1/models/other", timeout=60)
    assert (missing.status_code, list(missing.json())) == (404, ["error"])


@pytest.mark.slow
def test_warm_up_requests_are_answered_before_any_other(served):
    path = served.folder / "1" / "assets.extra" / "tf_serving_warmup_requests"
    records = list(tf.data.TFRecordDataset(str(path)).as_numpy_iterator())
    logs = [PredictionLog.FromString(record) for record in records]
    predict_requests = [log.predict_log.request for log in logs if log.HasField("predict_log")]
    counts = {}
    for request in predict_requests:
        served.client.call("Predict", request)
        (tensor,) = request.inputs.values()
        counts.setdefault(request.model_spec.signature_name, []).append(tensor.tensor_shape.dim[0].size)
    assert counts == {"serving_default": [1, 2, 4, 5], "serving_bytes": [5], "features": [5], "explain": [5]}
    (classify_request,) = (log.classify_log.request for log in logs if log.HasField("classify_log"))
    assert len(served.client.call("Classify", classify_request).result.classifications) == 5


@pytest.mark.slow
def test_saved_model_cli_runs_it(served, tmp_path):
    np.save(tmp_path / "pixels.npy", served.pixels)
    command = ("-m", "tensorflow.python.tools.saved_model_cli", "run", "--dir", served.folder / "1")
    options = ("--tag_set", "serve", "--signature_def", "serving_default", "--outdir", tmp_path)
    processes.printed(processes.python(*command, *options, "--inputs", f"image={tmp_path / 'pixels.npy'}"))
    check(np.load(tmp_path / "probabilities.npy"), predict(served.model, served.pixels))


@pytest.mark.slow
def test_neither_half_an_export_nor_a_corrupt_one_is_picked_up(served, changeable):
    folder, server, client = changeable
    expected = predict(served.model, served.pixels)
    (folder / ".2-123").mkdir()  # an export that has not finished or was killed
    content = (folder / "1" / "saved_model.pb").read_bytes()
    (folder / ".2-123" / "saved_model.pb").write_bytes(content[: len(content) // 2])
    shutil.copytree(
        folder / ".2-123", folder / "3"
    )  # half an export with the name of a version: our export never leaves this
    server.wait_for(3, "END")
    assert server.versions() == {1: "AVAILABLE", 3: "END"}
    assert client.predict("serving_default", {"image": served.pixels})[0] == 1
    shutil.copytree(folder / "1", folder / ".4-aside")
    (folder / ".4-aside").rename(folder / "4")
    server.wait_for(4)
    version, answer = client.predict("serving_default", {"image": served.pixels})
    assert version == 4
    check(answer["probabilities"], expected)
    server.wait_for(1, "END")


@pytest.mark.slow
def test_an_export_that_is_killed_leaves_nothing_to_be_picked_up(tmp_path):
    code = """
import os, sys, tensorflow as tf, keras_resnet as kr
save = tf.saved_model.save
def killed(*arguments, **options):
    save(*arguments, **options)
    os.kill(os.getpid(), 9)
tf.saved_model.save = killed
kr.export.saved_model(kr.ResNet((1,), filters=(4,), input_shape=(8, 8, 3), classes=3), sys.argv[1])
"""
    ended = processes.python("-c", code, tmp_path / "net")
    assert ended.returncode == -9, ended.stderr
    (left,) = (tmp_path / "net").iterdir()
    assert (left / "saved_model.pb").is_file()
    assert not left.name.isdecimal()  # a server ignores names that are not numbers
