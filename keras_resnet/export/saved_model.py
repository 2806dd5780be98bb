"""A SavedModel as TF Serving takes it: `path/version/`, named inputs and outputs."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import keras
import tensorflow as tf

from keras_resnet.arguments import integer


def saved_model(model: keras.Model, path: str | os.PathLike[str], version: int = 1) -> Path:
    """Writes `path/version/` with the signature `serving_default`: `image`, raw pixels, to `probabilities`.

    The version appears whole: it is written aside and renamed, so a server that polls `path` never sees half a model.

    Args:
        model: takes one image batch.
        path: directory of the versions; made where it does not exist.
        version: number of this one, at least 1.

    Returns:
        The directory of the version.

    Raises:
        ValueError: the version exists already, or the backend is not TensorFlow.

    Example:
        >>> import keras_resnet as kr
        >>> kr.export.saved_model(kr.ResNet20(), "models/cifar")  # doctest: +SKIP
    """
    if keras.backend.backend() != "tensorflow":
        raise ValueError(
            "saved_model needs the tensorflow backend: save the model, and load it under KERAS_BACKEND=tensorflow. "
            f"Received: {keras.backend.backend()}"
        )
    target = Path(path) / str(integer("version", version))
    if target.exists():
        raise ValueError(f"version must be new. Received: version={version}, and {target} exists")
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.with_name(f".{version}-{os.getpid()}")
    image = tf.TensorSpec(model.inputs[0].shape, "float32", name="image")

    @tf.function(input_signature=[image])
    def serve(image: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"probabilities": model(image, training=False)}

    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint("serving_default", serve)
    try:
        archive.write_out(str(aside), verbose=False)
        aside.rename(target)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return target
