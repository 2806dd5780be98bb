"""Writes what a finished run leaves in its directory."""

from __future__ import annotations

import dataclasses
import logging
import shutil
from pathlib import Path

import keras
import tensorflow as tf

from keras_resnet._internal.atomic_files import atomic_write, writing
from keras_resnet._internal.keras_graph import keras_file
from keras_resnet._internal.validation import printable
from keras_resnet.data import Split
from keras_resnet.evaluation.report import write_report
from keras_resnet.evaluation.result import Evaluation
from keras_resnet.export import saved_model
from keras_resnet.export.serving import CHANNELS
from keras_resnet.training import checkpoints
from keras_resnet.training.batches import resize
from keras_resnet.training.curves import plot_curves
from keras_resnet.training.resuming import CHECKPOINTS
from keras_resnet.training.run_directory import MODEL, REPORT, RUN, Run, as_checkpoint, write_json

SAMPLES = 8
log = logging.getLogger("keras_resnet.training")


def write_results(run: Run, model: keras.Model, history: dict[str, list[float]], test: Split, out: Path) -> None:
    """Writes the files of a finished run; `run.json` is the last one, because it marks the run as finished."""
    save(model, out / MODEL)
    plot_curves(history, f"{run.model} on {run.data}", out / "curves.png", run.best_epoch)
    _write_samples(test, out / "samples")
    if keras.backend.backend() == "tensorflow" and test.channels in CHANNELS:
        shutil.rmtree(out / "export", ignore_errors=True)  # from a run that was killed while it exported
        saved_model(
            model,
            out / "export",
            class_names=run.classes,
            checkpoint=as_checkpoint(run, model, out),
            resize=resize(run.recipe),
        )
    write_json(dataclasses.asdict(run), out / RUN)
    checkpoints.keep_newest(out / CHECKPOINTS)  # from which more epochs can go on


def write_run_report(evaluation: Evaluation, model: keras.Model, title: str, out: Path) -> None:
    """Writes the report of a finished run, in place of that of a shorter training. An error is only a warning."""
    new = out / f".{REPORT}"
    try:
        shutil.rmtree(new, ignore_errors=True)  # from a run that was killed while it wrote
        shutil.rmtree(out / REPORT, ignore_errors=True)  # it describes another training
        write_report(evaluation, new, title, model)
        new.rename(out / REPORT)
    except Exception as error:  # the run is finished and whole: nothing that a report needs may spoil it
        log.warning(
            "the run is finished, but its report is not written: %s; `keras-resnet evaluate %s --report DIR` writes it",
            *(error, printable(out)),
        )
    finally:
        shutil.rmtree(new, ignore_errors=True)


def save(model: keras.Model, path: Path) -> None:
    """Saves a model as a `.keras` file; if the process is killed meanwhile, a file that was there before stays."""
    with atomic_write(path) as temporary:
        temporary.write_bytes(keras_file(model))


def _write_samples(split: Split, directory: Path) -> None:
    """Writes the first images of a split as `NUMBER_is_CLASS.png`."""
    directory.mkdir(exist_ok=True)
    for number, (image, label) in enumerate(split.examples.take(SAMPLES)):
        name = "".join(c if c.isalnum() else "_" for c in split.classes[int(label)])
        path = directory / f"{number}_is_{name}.png"
        with writing(path):
            path.write_bytes(tf.io.encode_png(image).numpy())
