"""Speed of an exported ResNet-50, compared with `model.export` of keras.applications and with other engines.

The weights are random, because trained weights are not available for all subjects. The values do not change the speed,
except for zeros, which save time. `serve_accuracy` measures the accuracy that is lost with fewer bits. Each subject
runs in its own process, and computes batches for one second per turn. The networks of this package have the form of
keras.applications. The networks of KerasHub and torch stride later, and have 6 % (V2: 17 %) more to compute. With
inductor, torch's weights are frozen, as the weights in a SavedModel are.

What keeps ResNet-50 in bfloat16 below the ceiling (on AVX512_BF16, profiled by oneDNN and by a trace of the session):
TensorFlow fuses everything with the convolutions except two poolings, the scaling of the pixels (2 %) and the end of
the network (1 %). oneDNN's kernels alone run at 0.38 TFLOP/s (1 image) to 0.42 TFLOP/s (8 images), and the ceiling is
0.46 TFLOP/s. At 8 and 32 images, 3x3 convolutions run at 0.42 to 0.53, 1x1 at 0.27 to 0.42, the stem at 0.33.
TensorFlow adds 60 us to each kernel, which is 3 of 24 ms at one image. Other numbers of threads (inter-op 1 or 2,
intra-op 1 or 3) and memory that is never returned to the system bring no clear gain.
"""

from __future__ import annotations

import dataclasses
import functools
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

import keras_resnet as kr
from benchmarks import keras_hub_nets, torch_nets
from benchmarks.ceilings import ceilings, names
from benchmarks.measure import ROUNDS, in_turns, repeated
from benchmarks.report import Report
from benchmarks.workers import Turn, UnavailableError, needs, workers
from keras_resnet import zoo
from keras_resnet.export.int8_kernels import available
from keras_resnet.weights.table import table

PEER = "keras.applications"
OTHER_FORM = ("KerasHub", "torch")  # these have the zoo's own form
NO_AGREEMENT = 1e-9  # with random weights int8 does not agree with float32; only the speed is measured
AUTO = "auto"  # the precision that is chosen when the network is exported
Answer = Callable[[np.ndarray], Any]


@dataclasses.dataclass(frozen=True)
class Amount:
    """How much is measured: networks, batch sizes, number of rounds."""

    networks: tuple[str, ...]
    batches: tuple[int, ...]
    rounds: int


FULL = Amount(("ResNet50", "ResNet50V2"), (1, 8, 32), ROUNDS)
QUICK = Amount(("ResNet50",), (8,), 3)


def as_trained(model: keras.Model) -> keras.Model:
    """Gives the batch norms of a model means and offsets that are not zero, as after training, and returns the model.

    With zeros, TensorFlow would remove the additions and fuse fewer operations.
    """
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            for variable in (layer.beta, layer.moving_mean):
                variable.assign(rng.normal(0, 0.1, variable.shape))
        elif isinstance(layer, keras.Model):
            as_trained(layer)
    return model


def in_applications_form(name: str) -> keras.Model:
    """This package's network in the form of keras.applications, which has its strides elsewhere.

    The zoo's own form has 6 % (V2: 17 %) more to compute.
    """
    fields = next(row.fields for row in table() if (row.model, row.tag) == (name, "keras"))
    return as_trained(getattr(kr, name)(**fields))


def noise(count: int) -> np.ndarray:
    """Images of noise."""
    return np.random.default_rng(1).uniform(0, 255, (count, 224, 224, 3)).astype("float32")


def turn_of(answer: Answer) -> Turn:
    """A turn that takes a batch size and returns images per second."""

    def turn(batch: int) -> float:
        pixels = noise(batch)
        return repeated(batch, lambda: answer(pixels))

    return turn


def stock(name: str, build: Callable[[str], keras.Model]) -> Turn:
    """A turn of another library's Keras model, exported with `model.export`."""
    import tensorflow as tf

    model = as_trained(build(name))
    with tempfile.TemporaryDirectory() as directory:
        model.export(directory, verbose=False)
        serve = tf.saved_model.load(directory).signatures["serving_default"]
    (argument,) = serve.structured_input_signature[1]
    return turn_of(lambda pixels: serve(**{argument: tf.constant(pixels)}))


def of_applications(name: str) -> keras.Model:
    """The network of keras.applications."""
    return getattr(keras.applications, name)(weights=None)


def ours(name: str, precision: str) -> Turn:
    """A turn of an export with `kr.export.saved_model`."""
    with tempfile.TemporaryDirectory() as directory:
        return turn_of(exported(in_applications_form(name), precision, noise(16), Path(directory)))


def exported(model: keras.Model, precision: str, calibration: np.ndarray, folder: Path) -> Answer:
    """Exports a model with `saved_model`, and loads the export. For "auto", it prints what was measured.

    Raises:
        UnavailableError: the precision is int8, and this machine has no kernel for it.
        RuntimeError: the export computes in another precision, although this machine supports the requested one.
    """
    import tensorflow as tf

    if precision == "int8" and not available():
        raise UnavailableError("this TensorFlow has no exact int8 convolution on this processor")
    path = kr.export.saved_model(
        model, folder / precision, precision=precision, calibration=calibration, agreement=NO_AGREEMENT
    )
    found = re.search(r"^computed in +(.*)$", (path / "card.txt").read_text(), re.M)
    if found is not None and precision == AUTO:
        print(f"  {AUTO}: {found[1]}", flush=True)
    elif found is None or not found[1].startswith(precision):
        raise RuntimeError(f"{precision} was asked for, and it is computed in {found and found[1]}")
    serve = tf.saved_model.load(str(path)).signatures["serving_default"]
    return lambda pixels: serve(image=tf.constant(pixels))


def openvino(name: str, precision: str) -> Turn:
    """A turn of this package's network in OpenVINO, which computes in float32, in bfloat16, or in int8 and bfloat16."""
    needs("openvino", "nncf")
    import openvino as library

    hint = {"INFERENCE_PRECISION_HINT": "f32" if precision == "float32" else "bf16", "PERFORMANCE_HINT": "LATENCY"}
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "net.xml")
        kr.export.openvino(in_applications_form(name), path, "int8" if precision == "int8" else "float32", noise(16))
        compiled = library.Core().compile_model(path, "CPU", hint)
    return turn_of(lambda pixels: compiled({"image": pixels}))


def onnxruntime(name: str) -> Turn:
    """A turn of this package's network as an ONNX file in onnxruntime."""
    needs("onnxruntime", "tf2onnx")
    import onnxruntime as library

    with tempfile.TemporaryDirectory() as directory:
        session = library.InferenceSession(kr.export.onnx(in_applications_form(name), Path(directory, "net.onnx")))
    return turn_of(lambda pixels: session.run(None, {"image": pixels}))


def torch(name: str, how: str, precision: str) -> Turn:
    """A turn of torchvision's or timm's network in torch; `how`: "eager" or "inductor"."""
    net = torch_nets.net(name).eval()
    import torch as library
    from torch._inductor import config

    config.freezing = True  # makes weights constant and folds batch norms, which inductor does not do by default
    run = torch_nets.compiled(net, how)

    def answer(pixels: np.ndarray) -> Any:
        with library.inference_mode(), library.autocast("cpu", library.bfloat16, enabled=precision == "bfloat16"):
            return run(library.from_numpy(pixels).permute(0, 3, 1, 2))

    return turn_of(answer)


def subjects(name: str, precisions: tuple[str, ...]) -> dict[str, Callable[[], Turn]]:
    """All subjects, by name."""
    of = functools.partial
    peers: dict[str, Callable[[], Turn]] = {
        PEER: of(stock, name, of_applications),
        "KerasHub": of(stock, name, keras_hub_nets.net),
        **{f"keras_resnet {kind}": of(ours, name, kind) for kind in (*precisions, "int8", AUTO)},
        **{f"OpenVINO {kind}": of(openvino, name, kind) for kind in (*precisions, "int8")},
        "onnxruntime float32": of(onnxruntime, name),
    }
    for how in ("eager", "inductor"):
        peers |= {f"torch {how} {kind}": of(torch, name, how, kind) for kind in precisions}
    return peers


def run(report: Report, amount: Amount) -> None:
    """Measures each subject of each network at each batch size."""
    precisions = report.precisions()
    for name in amount.networks:
        requested = subjects(name, precisions)
        flops = dict.fromkeys(requested, 2.0 * kr.macs(in_applications_form(name)))
        flops |= dict.fromkeys(
            (subject for subject in requested if subject.startswith(OTHER_FORM)), 2.0 * zoo.ROWS[name].macs
        )
        tops = {
            subject: names("bfloat16" if "bfloat16" in subject else "float32")
            for subject in requested
            if "int8" not in subject and AUTO not in subject
        }
        with workers(requested | ceilings(*precisions), report.leave_out_of(name)) as started:
            for batch in amount.batches:
                rates = in_turns(started, amount.rounds, batch)
                report.compare(f"{name} at {batch}", rates, PEER, "images", flops, tops)
                of_precisions = {subject: rate for subject, rate in rates.items() if subject.startswith("keras_resnet")}
                if (auto := of_precisions.pop(f"keras_resnet {AUTO}", None)) is not None:
                    report.compare_with_best(f"{name} at {batch}, keras_resnet {AUTO}", auto, of_precisions)
