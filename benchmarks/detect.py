"""Speed and memory of Faster R-CNN with ResNet-50 and a feature pyramid, compared with torchvision's.

Both have the same random values and get the same raw pixels, and both resize them. Objects are found by the exported
SavedModel and OpenVINO IR. The training is that of fine-tuning, with frozen norms and first stages. The memory is the
largest that the process has during its turns, with its libraries.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import torch_nets
from benchmarks.measure import bytes_of_process, in_turns, reset_peak_of_memory, timed
from benchmarks.memory import GIB
from benchmarks.report import Report
from benchmarks.train import LastEpoch
from benchmarks.workers import Turn, needs, workers

PEER = "torchvision"
NAME = "fasterrcnn_resnet50_fpn"
CLASSES = 90
OBJECTS = 12  # in an image that is trained
SIDES = (480, 640)
EXPORTED, IR, STATE = "detector", "detector.xml", "detector.pth"
RATE = 1e-6  # so small that random values stay finite


@dataclasses.dataclass(frozen=True)
class Case:
    """The shorter side to which images are resized, and the images of a request or of a step."""

    shorter: int
    images: int

    @property
    def longer(self) -> int:
        """The largest longer side, as in torchvision: 1,333 for 800."""
        return self.shorter * 5 // 3

    def pixels(self) -> np.ndarray:
        """Images of noise, because the content of images does not change the speed."""
        return np.random.default_rng(0).integers(0, 256, (self.images, *SIDES, 3), "uint8")

    def boxes(self) -> np.ndarray:
        """Boxes of objects in them, float32 (N, OBJECTS, 4)."""
        rng = np.random.default_rng(0)
        corners = rng.uniform(0, [SIDES[1] / 2, SIDES[0] / 2], (self.images, OBJECTS, 2))
        return np.concatenate([corners, corners + rng.uniform(20, 200, corners.shape)], axis=2).astype("float32")


@dataclasses.dataclass(frozen=True)
class Amount:
    """How much is measured: cases of finding, cases of training, steps of a turn of training, and rounds."""

    found: tuple[Case, ...]
    trained: tuple[Case, ...]
    steps: int
    rounds: int


FULL = Amount((Case(800, 1), Case(480, 4)), (Case(480, 2),), 2, 5)
QUICK = Amount((Case(320, 1),), (Case(320, 2),), 1, 3)


def with_peak(act: Callable[[], float]) -> Turn:
    """A turn of `act`; with an argument, it returns the peak of the memory since now, in bytes."""
    reset_peak_of_memory()
    return lambda *arguments: bytes_of_process("VmHWM") if arguments else act()


def weights(case: Case, folder: Path) -> Turn:
    """A turn that writes the random values of torchvision's detector."""

    def write() -> None:
        net = torch_nets.detector(CLASSES, case.shorter, case.longer)
        import torch

        torch.save(net.state_dict(), folder / STATE)

    return write


def design_of(case: Case) -> Any:
    """The design of our detector."""
    from keras_resnet import detection

    return dataclasses.replace(detection.design_of(NAME), shorter=case.shorter, longer=case.longer)


def detector_of(folder: Path) -> Any:
    """Our detector, with the values of torchvision's."""
    from keras_resnet import detection

    return detection.create_detector(NAME, CLASSES, weights=str(folder / STATE))


def export(case: Case, folder: Path) -> Turn:
    """A turn that exports the detector as a SavedModel, and as OpenVINO IR if OpenVINO is installed."""
    from keras_resnet import detection

    def write() -> None:
        detector, design = detector_of(folder), design_of(case)
        detection.saved_model(detector, design, folder / EXPORTED)
        if importlib.util.find_spec("openvino"):
            detection.openvino(detector, design, folder / IR)

    return write


def served(case: Case, folder: Path) -> Turn:
    """A turn of a request to the SavedModel; it returns images per second."""
    import tensorflow as tf

    loaded = tf.saved_model.load(str(folder / EXPORTED / "1"))
    signature, pixels = loaded.signatures["serving_default"], tf.constant(case.pixels().astype("float32"))
    return with_peak(timed(case.images, lambda: (signature(image=pixels), loaded)))


def by_openvino(case: Case, folder: Path) -> Turn:
    """A turn of a request to the OpenVINO IR, in float32."""
    needs("openvino")
    import openvino

    compiled = openvino.Core().compile_model(folder / IR, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    pixels = case.pixels().astype("float32")
    return with_peak(timed(case.images, lambda: compiled({"image": pixels})))


def torch_images(case: Case) -> list[Any]:
    """The images as torchvision takes them."""
    import torch

    return list(torch.from_numpy(case.pixels()).permute(0, 3, 1, 2).float() / 255)


def by_torchvision(case: Case, folder: Path) -> Turn:
    """A turn of torchvision's detector."""
    net = torch_nets.detector(CLASSES, case.shorter, case.longer)
    import torch

    images = torch_images(case)

    def find() -> None:
        with torch.inference_mode():
            net(images)

    return with_peak(timed(case.images, find))


def trained(case: Case, steps: int, folder: Path) -> Turn:
    """A turn of `detection.fit`: two epochs, of which the second one is measured."""
    import tensorflow as tf

    from keras_resnet import detection
    from keras_resnet.detection.resizing import resized_sides

    detector, design = detector_of(folder), design_of(case)
    recipe = detection.DetectionRecipe(
        epochs=2, batch_size=case.images, learning_rate=RATE, warmup_steps=0, milestones=()
    )
    sides = resized_sides(*SIDES, case.shorter, case.longer)
    batch = {
        "images": case.pixels(),
        "sizes": np.full((case.images, 2), sides, "int32"),
        "boxes": case.boxes() * case.shorter / SIDES[0],
        "labels": np.zeros((case.images, OBJECTS), "int32"),
    }

    def resized(batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return {**batch, "images": tf.image.resize(batch["images"], sides)}

    def batches_from(step: int) -> tf.data.Dataset:
        return tf.data.Dataset.from_tensors(batch).repeat().map(resized).prefetch(1)

    def turn() -> float:
        clock = LastEpoch()
        detection.fit(detector, design, recipe, batches_from, steps, callbacks=[clock])
        return case.images * steps / clock.seconds

    return with_peak(turn)


def trained_by_torchvision(case: Case, steps: int, folder: Path) -> Turn:
    """A turn of the same steps in torch, as in torchvision's references."""
    net = torch_nets.detector(CLASSES, case.shorter, case.longer).train()
    import torch

    images = torch_images(case)
    # torchvision counts the background as class 0.
    labels = torch.ones(OBJECTS, dtype=torch.int64)
    targets = [{"boxes": torch.from_numpy(boxes), "labels": labels} for boxes in case.boxes()]
    optimizer = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], RATE, 0.9, weight_decay=1e-4)

    def train() -> None:
        for _ in range(steps):
            optimizer.zero_grad()
            sum(net(images, targets).values()).backward()
            optimizer.step()

    return with_peak(timed(case.images * steps, train))


def run(report: Report, amount: Amount) -> None:
    """Measures each case: images per second, the ratio to torchvision, and the memory."""
    finding = {PEER: by_torchvision, "keras_resnet": served, "keras_resnet, OpenVINO": by_openvino}
    for case in amount.found:
        with tempfile.TemporaryDirectory() as directory:
            folder = Path(directory)
            prepare(report, {"weights": weights, "export": export}, case, folder)
            compare(
                report,
                f"found in {case.images} images of {case.shorter} pixels",
                {name: functools.partial(build, case, folder) for name, build in finding.items()},
                amount.rounds,
            )
    training = {PEER: trained_by_torchvision, "keras_resnet": trained}
    for case in amount.trained:
        with tempfile.TemporaryDirectory() as directory:
            folder = Path(directory)
            prepare(report, {"weights": weights}, case, folder)
            compare(
                report,
                f"trained with {case.images} images of {case.shorter} pixels",
                {name: functools.partial(build, case, amount.steps, folder) for name, build in training.items()},
                amount.rounds,
            )


def prepare(report: Report, writers: dict[str, Callable[[Case, Path], Turn]], case: Case, folder: Path) -> None:
    """Writes files in processes of their own, so that the measured ones have neither Keras' nor torch's memory."""
    for name, write in writers.items():
        with workers({name: functools.partial(write, case, folder)}, report.leave_out) as started:
            for worker in started.values():
                worker()


def compare(report: Report, case: str, subjects: dict[str, Callable[[], Turn]], rounds: int) -> None:
    """Lets the subjects take turns, then asks each for its memory."""
    with workers(subjects, report.leave_out_of(case)) as started:
        report.compare(case, in_turns(started, rounds), PEER, "images")
        for name, worker in started.items():
            report.add(f"{case}, {name}, GiB", worker("peak") / GIB)
