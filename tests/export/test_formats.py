"""Tests of other formats: they give the same outputs as the model, under the same names."""

import functools
import sys
import warnings

import numpy as np
import pytest

import keras_resnet as kr
from tests import needs
from tests.conftest import randomise_evenly
from tests.serving import nets


def read_onnx(path):
    runtime = needs.import_package("onnxruntime")
    session = runtime.InferenceSession(path)
    assert [x.name for x in session.get_outputs()] == ["probabilities"]
    return lambda images: session.run(None, {"image": images})[0]


def read_openvino(path):
    runtime = needs.import_package("openvino")
    compiled = runtime.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda images: compiled({"image": images})["probabilities"]


def read_litert(path):
    runtime = needs.import_package("ai_edge_litert.interpreter")
    serve = runtime.Interpreter(str(path)).get_signature_runner("serving_default")
    return lambda images: serve(image=images)["probabilities"]


FORMATS = {
    "onnx": ("net.onnx", kr.export.onnx, read_onnx, ("tf2onnx", "onnxruntime")),
    "openvino": ("net.xml", kr.export.openvino, read_openvino, ("openvino",)),
    "litert": ("net.tflite", kr.export.litert, read_litert, ("ai_edge_litert",)),
}
NETS = {
    "v1": lambda: kr.ResNet((1, 1), filters=(16, 32), input_shape=(32, 32, 3), classes=5),
    "v2": lambda: kr.ResNet(
        (1, 1), filters=(16, 32), ordering="full_preactivation", input_shape=(32, 32, 3), classes=5
    ),
    "gated, grouped": lambda: kr.ResNet(
        (1, 1), filters=(16, 32), groups=2, gate=kr.gates.squeeze_excite, input_shape=(32, 32, 3), classes=5
    ),
    "small, sigmoid": lambda: kr.CifarResNet(8, input_shape=(32, 32, 1), classes=5, classifier_activation="sigmoid"),
}


@pytest.fixture(scope="module")
def trained():
    """Function from a name in `NETS` to the network, images and its outputs for them."""
    rng = np.random.default_rng(0)

    @functools.cache
    def make(name):
        model = NETS[name]()
        randomise_evenly(model, rng)
        images = rng.uniform(0, 255, (8, *model.input_shape[1:])).astype("float32")
        return model, images, model(images, training=False).numpy()

    return make


@pytest.mark.slow
@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("name", FORMATS)
def test_another_format_says_the_same(name, net, trained, tmp_path):
    file, write, read, packages = FORMATS[name]
    for package in packages:
        needs.import_package(package)
    model, images, expected = trained(net)
    assert write(model, tmp_path / file) == tmp_path / file
    predict = read(tmp_path / file)
    for count in (1, 8) if name != "litert" else (1,):
        np.testing.assert_allclose(predict(images[:count]), expected[:count], atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "package"), [("openvino", "nncf"), ("litert", "ai_edge_litert")])
def test_int8_says_nearly_the_same(name, package, trained, tmp_path):
    needs.import_package(package)
    file, write, read, _ = FORMATS[name]
    model, images, expected = trained("v1")
    write(model, tmp_path / file, "int8", images)
    predict = read(tmp_path / file)
    result = np.concatenate([predict(image[None]) for image in images])
    assert 1e-6 < np.abs(result - expected).max() < 0.1


ALL_PRECISIONS = [(name, ()) for name in FORMATS] + [("openvino", ("int8",)), ("litert", ("int8",))]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "precision"), ALL_PRECISIONS)
def test_an_image_with_pixels_that_are_no_numbers_gets_no_probabilities(name, precision, trained, tmp_path):
    file, write, read, packages = FORMATS[name]
    for package in (*packages, *(["nncf"] if (name, precision) == ("openvino", ("int8",)) else [])):
        needs.import_package(package)
    model, images, _ = trained("v1")
    write(model, tmp_path / file, *precision, *([images] if precision else []))
    predict = read(tmp_path / file)
    changed = images[:4].copy()
    changed[:3, 2, 3, 1] = np.nan, np.inf, -np.inf
    sound, result = (np.concatenate([predict(image[None]) for image in part]) for part in (images[:4], changed))
    assert np.isfinite(sound).all()
    assert np.isnan(result[:3]).all()
    np.testing.assert_array_equal(result[3], sound[3])


@pytest.mark.slow
def test_an_onnx_file_that_is_converted_to_float16_says_nearly_the_same(trained, tmp_path):
    """Of sound images. The sum of the pixels of an image is larger than any number of float16."""
    needs.import_package("tf2onnx")
    needs.import_package("onnxruntime")
    tools = pytest.importorskip("onnxruntime.transformers.float16", reason="needs onnxruntime's tools for transformers")
    onnx = pytest.importorskip("onnx", reason="needs onnx, which tf2onnx installs")
    model, images, expected = trained("v1")
    path = kr.export.onnx(model, tmp_path / "net.onnx")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*will be truncated")  # the tool says it of every large constant
        converted = tools.convert_float_to_float16(onnx.load(path), keep_io_types=True)
    onnx.save(converted, path)
    images = images.copy()
    images[0] = 255
    images[-3:, 2, 3, 1] = np.nan, np.inf, -np.inf
    result = read_onnx(path)(images)
    assert np.isfinite(result[:-3]).all()
    np.testing.assert_allclose(result[1:-3], expected[1:-3], atol=0.05)
    assert np.isnan(result[-3:]).all()


@pytest.mark.slow
def test_openvino_computes_in_the_precision_that_it_is_asked_for(trained, tmp_path):
    core = needs.import_package("openvino").Core()
    if "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("needs bfloat16: a CPU with AMX or AVX512_BF16")
    model, images, expected = trained("v1")
    path = kr.export.openvino(model, tmp_path / "net.xml")
    compiled = core.compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "bf16"})
    assert 1e-6 < np.abs(compiled({"image": images})["probabilities"] - expected).max() < 0.05


@pytest.mark.slow
def test_openvino_reads_the_saved_model_that_its_server_is_given(trained):
    """OpenVINO Model Server serves `serving_default` of a SavedModel. This test reads it as that server does."""
    core, (network, folder) = needs.import_package("openvino").Core(), nets.strict()
    images = trained("v1")[1]
    compiled = core.compile_model(folder / "1", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    expected = network(images, training=False).numpy()
    np.testing.assert_allclose(compiled({"image": images})["probabilities"], expected, atol=1e-4)


def test_what_is_missing_is_named(trained, tmp_path, monkeypatch):
    model, _, _ = trained("v1")
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(ValueError, match="needs the package openvino: pip install"):
        kr.export.openvino(model, tmp_path / "net.xml")


@pytest.mark.slow
def test_wrong_arguments_are_refused(trained, tmp_path):
    model, images, _ = trained("v1")
    with pytest.raises(ValueError, match="precision must be one of 'float32', 'int8'. Received: precision='bfloat16'"):
        kr.export.litert(model, tmp_path / "net.tflite", "bfloat16")
    with pytest.raises(ValueError, match="calibration must be images .* Received: calibration=None"):
        kr.export.litert(model, tmp_path / "net.tflite", "int8")
    with pytest.raises(ValueError, match="calibration must be images"):
        kr.export.litert(model, tmp_path / "net.tflite", "int8", images[:, :16])
    with pytest.raises(ValueError, match="model must end in a Dense layer"):
        kr.export.litert(kr.CifarResNet(8, include_top=False), tmp_path / "net.tflite")
    assert list(tmp_path.iterdir()) == []
