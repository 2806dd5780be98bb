"""Many devices: TensorFlow's MirroredStrategy on one machine, `keras.distribution` on JAX on one or many.

Nothing here moves data between devices; that is TensorFlow's and JAX's own.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any, NamedTuple

import keras

from keras_resnet.arguments import integer
from keras_resnet.training.in_place import layers_of


class Place(NamedTuple):
    """Where a training runs: how many devices share a batch, and which part of it this process reads."""

    devices: int = 1
    process: int = 0
    processes: int = 1

    @property
    def shard(self) -> tuple[int, int]:
        """Of each batch, as `keras_resnet.data.train_pipeline` takes it."""
        return self.process, self.processes


def place(model: keras.Model) -> Place:
    """The place that `model` was built for: under a strategy's scope, a `keras.distribution`, or neither."""
    if keras.backend.backend() == "tensorflow":
        return Place(model.distribute_strategy.num_replicas_in_sync)
    distribution = keras.distribution.distribution()
    if distribution is None:
        return Place()
    import jax  # noqa: PLC0415

    return Place(distribution.device_mesh.devices.size, jax.process_index(), jax.process_count())


@contextlib.contextmanager
def synchronised(model: keras.Model) -> Iterator[None]:
    """Lets batch norms take mean and variance of the whole batch, on all devices, as one device would.

    On JAX they do already. Keras' own kernel then, not the fused one.
    """
    if keras.backend.backend() != "tensorflow" or place(model).devices == 1:
        yield
        return
    norms = [layer for layer in layers_of(model) if isinstance(layer, keras.layers.BatchNormalization)]
    before = [layer.synchronized for layer in norms]
    for layer in norms:
        layer.synchronized = True
    try:
        with model.distribute_strategy.scope():
            yield
    finally:
        for layer, value in zip(norms, before, strict=True):
            layer.synchronized = value


def devices(count: int) -> contextlib.AbstractContextManager[Any]:
    """The scope to build and train a model in, for it to use `count` devices of this machine, or of all processes.

    Args:
        count: of devices, GPUs where there are any; 0: all.

    Raises:
        ValueError: there are not as many.
    """
    integer("devices", count, minimum=0)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf  # noqa: PLC0415

        found = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        chosen = [device.name for device in found[: count or None]]
        _enough(count, chosen)
        return tf.distribute.MirroredStrategy(chosen).scope() if len(chosen) > 1 else contextlib.nullcontext()
    chosen = keras.distribution.list_devices()[: count or None]
    _enough(count, chosen)
    if len(chosen) == 1:
        return contextlib.nullcontext()
    # Each process reads its own part, see `train_pipeline`: Keras need not cut.
    return keras.distribution.DataParallel(devices=chosen, auto_shard_dataset=False).scope()


def _enough(count: int, chosen: list[str]) -> None:
    if len(chosen) < count:
        raise ValueError(f"devices must be at most those that are there, {len(chosen)}. Received: devices={count}")


def join(processes: int, process: int | None, coordinator: str | None) -> None:
    """Joins this process to the others of a training on several machines, or several processes of one; JAX only.

    What is None comes from Keras' own environment variables KERAS_DISTRIBUTION_JOB_ADDRESSES,
    KERAS_DISTRIBUTION_NUM_PROCESSES and KERAS_DISTRIBUTION_PROCESS_ID, or from the cluster, where JAX knows it
    (Slurm, Open MPI, Kubernetes, cloud TPUs).

    Args:
        processes: how many there are.
        process: which one this is, from 0; process 0 writes the run.
        coordinator: HOST:PORT of process 0.

    Raises:
        ValueError: the backend is not JAX, or `process` is not below `processes`.
    """
    if keras.backend.backend() != "jax":
        raise ValueError(f"processes must be 1 on the backend {keras.backend.backend()}; several need jax")
    if process is not None and integer("process", process, minimum=0) >= processes:
        raise ValueError(f"process must be below processes, {processes}. Received: process={process}")
    keras.distribution.initialize(coordinator or os.environ.get("KERAS_DISTRIBUTION_JOB_ADDRESSES"), processes, process)
