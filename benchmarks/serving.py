"""How fast an exported ResNet-50 answers, over keras.applications' `model.export`, beside other engines.

Targets over that at batch 1, 8 and 32: float32 1.15; bfloat16 2.0, 2.2, 2.2, of V2 1.5, 1.6, 1.6; int8 3, 4, 4, of V2
2; OpenVINO's int8 at batch 8 4.5, of V2 4. Weights are random: what they are costs no time. What fewer bits cost in
accuracy is `serving_accuracy`. OpenVINO, onnxruntime and torch are in the table where they are installed.
"""

from __future__ import annotations

import functools
import importlib.util
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import keras_resnet as kr
from benchmarks.measure import in_turns
from benchmarks.torchvision_on_cpu import torchvision
from keras_resnet.weights.table import table

BATCHES = (1, 8, 32)
IMAGES = 32  # a turn, in batches
ANY = 1e-9  # random weights agree with nothing: what is measured is the speed
TARGETS = {
    ("ResNet50", "float32"): (1.15, 1.15, 1.15),
    ("ResNet50", "bfloat16"): (2.0, 2.2, 2.2),
    ("ResNet50", "int8"): (3.0, 4.0, 4.0),
    ("ResNet50", "OpenVINO int8"): (None, 4.5, None),
    ("ResNet50V2", "bfloat16"): (1.5, 1.6, 1.6),
    ("ResNet50V2", "int8"): (2.0, 2.0, 2.0),
    ("ResNet50V2", "OpenVINO int8"): (None, 4.0, None),
}
Answer = Callable[[np.ndarray], Any]


def stock(name: str, folder: Path) -> Answer:
    """keras.applications' network as Keras exports it."""
    getattr(keras.applications, name)(weights=None).export(folder / "stock", verbose=False)
    serve = tf.saved_model.load(str(folder / "stock")).signatures["serving_default"]
    (argument,) = serve.structured_input_signature[1]
    return lambda images: serve(**{argument: tf.constant(images)})


def ours(model: keras.Model, precision: str, calibration: np.ndarray, folder: Path) -> Answer:
    """`kr.export.saved_model`."""
    path = kr.export.saved_model(model, folder / precision, precision=precision, calibration=calibration, agreement=ANY)
    if not re.search(rf"^computed in +{precision}\b", (path / "card.txt").read_text(), re.M):
        raise RuntimeError(f"{precision} became another precision: {(path / 'card.txt').read_text()}")
    serve = tf.saved_model.load(str(path)).signatures["serving_default"]
    return lambda images: serve(image=tf.constant(images))


def openvino(model: keras.Model, precision: str, calibration: np.ndarray, folder: Path) -> Answer:
    """OpenVINO's IR, computed in float32, in bfloat16, or in int8 and bfloat16."""
    import openvino as library  # noqa: PLC0415

    path = kr.export.openvino(
        model, folder / f"{precision}.xml", "int8" if precision == "int8" else "float32", calibration
    )
    hint = {"INFERENCE_PRECISION_HINT": "f32" if precision == "float32" else "bf16", "PERFORMANCE_HINT": "LATENCY"}
    compiled = library.Core().compile_model(path, "CPU", hint)
    return lambda images: compiled({"image": images})


def onnxruntime(model: keras.Model, folder: Path) -> Answer:
    """onnxruntime in float32."""
    import onnxruntime as library  # noqa: PLC0415

    options = library.SessionOptions()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # it would take the others' cores
    session = library.InferenceSession(kr.export.onnx(model, folder / "net.onnx"), options)
    return lambda images: session.run(None, {"image": images})


def inductor(kind: str) -> Answer:
    """torchvision's ResNet-50 under `torch.compile`, channels_last, in float32 or bfloat16; once for each shape."""
    import torch  # noqa: PLC0415

    net = torchvision().models.resnet50().eval().to(memory_format=torch.channels_last)
    compiled = torch.compile(net, dynamic=False)

    def answer(images: np.ndarray) -> Any:
        pixels = torch.from_numpy(images).permute(0, 3, 1, 2)
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=kind == "bfloat16"):
            return compiled(pixels)

    return answer


def subjects(name: str, folder: Path) -> dict[str, Answer]:
    """All that can answer here, by name."""
    # In keras.applications' form, which strides elsewhere: the zoo's own has 6 % (V2: 17 %) more to compute.
    model = getattr(kr, name)(**next(row.fields for row in table() if (row.model, row.tag) == (name, "keras")))
    calibration = np.random.default_rng(0).uniform(0, 255, (16, 224, 224, 3)).astype("float32")
    found = {"stock export": stock(name, folder)}
    found |= {precision: ours(model, precision, calibration, folder) for precision in ("float32", "bfloat16", "int8")}
    if _there("openvino", "nncf"):
        for precision in ("float32", "bfloat16", "int8"):
            found[f"OpenVINO {precision}"] = openvino(model, precision, calibration, folder)
    if _there("onnxruntime", "tf2onnx"):
        found["onnxruntime float32"] = onnxruntime(model, folder)
    if _there("torch", "torchvision") and name == "ResNet50":
        found |= {f"torch inductor {kind}": inductor(kind) for kind in ("float32", "bfloat16")}
    return found


def _there(*packages: str) -> bool:
    return all(importlib.util.find_spec(package) for package in packages)


def speeds(name: str) -> dict[str, float]:
    """Of each subject at each batch size: milliseconds, and how many times as fast as the stock export."""
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as directory:
        answers = subjects(name, Path(directory))
        for place, batch in enumerate(BATCHES):
            images = np.random.default_rng(1).uniform(0, 255, (batch, 224, 224, 3)).astype("float32")
            turns = {
                subject: functools.partial(_repeated, answer, images, IMAGES // batch)
                for subject, answer in answers.items()
            }
            times = in_turns(turns)
            for subject, seconds in times.items():
                ratio = times["stock export"].median / seconds.median
                figures[f"{name} {subject} at {batch}, ms"] = 1000 * seconds.median * batch / IMAGES
                figures[f"{name} {subject} at {batch}"] = ratio
                target = TARGETS.get((name, subject), (None,) * len(BATCHES))[place]
                said = "" if target is None else f"; target {target:g}: {'holds' if ratio >= target else 'missed'}"
                print(f"{name:11} batch {batch:2} {subject:24} {ratio:5.2f}{said}", flush=True)
    return figures


def _repeated(answer: Answer, images: np.ndarray, times: int) -> None:
    for _ in range(times):
        answer(images)


def run() -> dict[str, float]:
    """Of both networks."""
    return speeds("ResNet50") | speeds("ResNet50V2")
