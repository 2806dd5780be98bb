"""What is exported, asked over the wire: gRPC by the official stubs, and REST."""

import shutil
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

from keras_resnet.data.decode import decode, to_square
from tests import processes
from tests.export.test_images import SOUND, WRONG
from tests.serving import contract, nets
from tests.serving.asking import Asking, b64, of_file
from tests.serving.process import REAL, Server, serving

pytestmark = [pytest.mark.serving, pytest.mark.processes]

NAMES = nets.CLASSES[1]
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
        return says(self.model, np.array(images))


def says(model, images):
    return model(images, training=False).numpy()


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    subjects, folder = nets.small(), tmp_path_factory.mktemp("served") / "net"
    folder.mkdir()
    nets.put(subjects.warm, folder, 1)
    with serving("net", f"--model_base_path={folder}") as server, Asking(server) as asking:
        yield Served(subjects.networks[0], subjects.pixels[:5], folder, server, asking)


@pytest.fixture
def own(served, tmp_path):
    """A server whose versions a test can change; it has version 1 of the same."""
    folder = tmp_path / "net"
    folder.mkdir()
    nets.put(nets.small().folder, folder, 1)
    shutil.rmtree(folder / "1" / "assets.extra")  # to warm up takes seconds
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


@pytest.mark.slow
def test_pixels_to_probabilities(served):
    wanted = says(served.model, served.pixels)
    version, answer = served.asking.predict("serving_default", {"image": served.pixels})
    assert (version, list(answer)) == (1, ["probabilities"])
    check(answer["probabilities"], wanted)
    rows, column = served.pixels.tolist(), {"inputs": {"image": served.pixels.tolist()}}
    check(served.asking.post(":predict", {"instances": rows})["predictions"], wanted)
    check(served.asking.post(":predict", {"instances": [{"image": row} for row in rows]})["predictions"], wanted)
    check(served.asking.post("/versions/1:predict", column)["outputs"], wanted)


@pytest.mark.slow
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


@pytest.mark.slow
def test_examples_to_classes(served):
    wanted = served.of_files(FILES)
    by_grpc = served.asking.classify([of_file(content) for content in FILES])
    examples = [{"image/encoded": b64(content)} for content in FILES]
    by_rest = served.asking.post(":classify", {"signature_name": "classify", "examples": examples})["results"]
    for rows in (by_grpc, by_rest):
        check_named([[name for name, _ in row] for row in rows], [[score for _, score in row] for row in rows], wanted)


@pytest.mark.slow
def test_pixels_to_features(served):
    before = keras.Model(served.model.input, served.model.layers[-1].input)
    wanted = says(before, served.pixels)
    check(served.asking.predict("features", {"image": served.pixels})[1]["features"], wanted)
    asked = {"signature_name": "features", "instances": served.pixels.tolist()}
    check(served.asking.post(":predict", asked)["predictions"], wanted)


@pytest.mark.slow
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
    check_named([[name.decode() for name in answer["classes"][0]]], answer["scores"][:1], wanted[:1])
    assert {*answer["classes"][1]} == {b""}


@pytest.mark.slow
def test_the_wire_contract_is_as_recorded(served):
    found = contract.contract(served.asking.signatures())
    assert found == contract.PATH.read_text(), f"if this is meant, run: {contract.COMMAND}"


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_saved_model_cli_runs_it(served, tmp_path):
    np.save(tmp_path / "pixels.npy", served.pixels)
    command = ("-m", "tensorflow.python.tools.saved_model_cli", "run", "--dir", served.folder / "1")
    options = ("--tag_set", "serve", "--signature_def", "serving_default", "--outdir", tmp_path)
    processes.printed(processes.python(*command, *options, "--inputs", f"image={tmp_path / 'pixels.npy'}"))
    check(np.load(tmp_path / "probabilities.npy"), says(served.model, served.pixels))


@pytest.mark.slow
def test_neither_half_an_export_nor_a_corrupt_one_is_picked_up(served, own):
    folder, server, asking = own
    wanted = says(served.model, served.pixels)
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
    ran = processes.python("-c", code, tmp_path / "net")
    assert ran.returncode == -9, ran.stderr
    (left,) = (tmp_path / "net").iterdir()
    assert (left / "saved_model.pb").is_file()
    assert not left.name.isdecimal()  # a server looks at numbers only
