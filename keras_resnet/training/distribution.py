"""Many devices: TensorFlow's MirroredStrategy on one machine, `keras.distribution` on JAX on one or many.

Nothing here moves data between devices; that is TensorFlow's and JAX's own. On JAX it is the compiler that makes a
step on many devices equal to one device's; on TensorFlow this file does what Keras leaves to its caller.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_resnet._internal.keras_graph import all_layers, replace_gradient_reduction
from keras_resnet._internal.validation import integer
from keras_resnet.training.optimizers import innermost
from keras_resnet.training.recipe import Recipe


class Placement(NamedTuple):
    """Where a training runs: how many devices share a batch, and which part of it this process reads."""

    devices: int = 1
    process: int = 0
    processes: int = 1

    @property
    def shard(self) -> tuple[int, int]:
        """Of each batch, as `keras_resnet.data.train_pipeline` takes it."""
        return self.process, self.processes


def place(model: keras.Model) -> Placement:
    """The place that `model` was built for: under a strategy's scope, a `keras.distribution`, or neither.

    Raises:
        ValueError: it was built elsewhere than it is to be trained.
    """
    wrong = "model must be built under the same `devices(...)` that it is trained in"
    if keras.backend.backend() == "tensorflow":
        strategy = model.distribute_strategy
        if not all(strategy.extended.variable_created_in_scope(variable.value) for variable in model.variables):
            raise ValueError(f"{wrong}. Received: one of other devices than {type(strategy).__name__}'s")
        return Placement(strategy.num_replicas_in_sync)
    distribution = keras.distribution.distribution() if keras.backend.backend() == "jax" else None
    if distribution is None:
        return Placement()
    import jax  # noqa: PLC0415

    where = Placement(distribution.device_mesh.devices.size, jax.process_index(), jax.process_count())
    if not all(len(variable.value.sharding.device_set) == where.devices for variable in model.variables):
        raise ValueError(f"{wrong}. Received: one of other devices than the {where.devices} of keras.distribution")
    return where


def check(recipe: Recipe, images: int, where: Placement) -> None:
    """A `ValueError` if a recipe cannot be followed on several devices, `images` being those to train on."""
    if recipe.batch_size % where.devices or (images < recipe.batch_size and images % where.devices):
        raise ValueError(
            f"batch_size, and where there are fewer the number of images, must divide by the {where.devices} devices. "
            f"Received: batch_size={recipe.batch_size}, {images} images"
        )
    if where.devices == 1 or keras.backend.backend() != "tensorflow":
        return
    # Keras updates inside of a `cond`, where a MirroredStrategy cannot add gradients.
    if recipe.gradient_accumulation_steps > 1:
        raise ValueError(
            "gradient_accumulation_steps must be 1 on several devices of TensorFlow. "
            f"Received: {recipe.gradient_accumulation_steps}"
        )
    # What devices compute again they do not do in the same order, and the means of a batch norm wait for each other.
    if recipe.remat:
        raise ValueError("remat must be False on several devices of TensorFlow. Received: remat=True")


@contextlib.contextmanager
def synchronized_batch_norm(model: keras.Model, where: Placement) -> Iterator[None]:
    """Lets batch norms take mean and variance of the whole batch, on all devices, as one device would.

    On JAX they do already. Keras' own kernel then, not the fused one.
    """
    if keras.backend.backend() != "tensorflow" or where.devices == 1:
        yield
        return
    norms = [layer for layer in all_layers(model) if isinstance(layer, keras.layers.BatchNormalization)]
    before = [layer.synchronized for layer in norms]
    for layer in norms:
        layer.synchronized = True
    try:
        with model.distribute_strategy.scope():
            yield
    finally:
        for layer, value in zip(norms, before, strict=True):
            layer.synchronized = value


def clip_gradients_of_all_devices(optimizer: keras.optimizers.Optimizer) -> None:
    """Makes the optimizer of a MirroredStrategy clip the gradient of the whole batch, as one device would.

    Keras clips the gradients of each device, and adds them afterwards.
    """
    optimizer = innermost(optimizer)
    norm = optimizer.global_clipnorm
    if not norm:
        return
    import tensorflow as tf  # noqa: PLC0415

    def add_and_clip(add: Any, pairs: Any) -> list[Any]:
        gradients, variables = zip(*add(pairs))
        return list(zip(tf.clip_by_global_norm(gradients, norm)[0], variables))

    optimizer.global_clipnorm = None
    replace_gradient_reduction(optimizer, add_and_clip)


def devices(count: int | None = None) -> contextlib.AbstractContextManager[Any]:
    """The scope to build and train a model in, for it to use several devices.

    Args:
        count: of devices of this machine, GPUs where there are any; 0: all. None: one, or where several processes have
            joined, all devices of theirs.

    Raises:
        ValueError: there are not as many, the backend knows no several, or in several processes it is not all.

    Example:
        >>> import keras_resnet as kr
        >>> from keras_resnet.training import distribution
        >>> with distribution.devices(1):
        ...     model = kr.ResNet20()
    """
    count = None if count is None else integer("devices", count, minimum=0)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf  # noqa: PLC0415

        found = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        chosen = _chosen(1 if count is None else count, [device.name for device in found])
        return tf.distribute.MirroredStrategy(chosen).scope() if len(chosen) > 1 else contextlib.nullcontext()
    if keras.backend.backend() == "torch":
        if count not in {None, 1}:
            raise ValueError(f"devices must be 1 on the backend torch, which shares no batches. Received: {count}")
        return contextlib.nullcontext()
    import jax  # noqa: PLC0415

    found, processes = keras.distribution.list_devices(), jax.process_count()
    if processes > 1 and count not in {None, 0, len(found)}:
        raise ValueError(f"devices must be all {len(found)} where there are several processes. Received: {count}")
    chosen = _chosen((0 if processes > 1 else 1) if count is None else count, found)
    if len(chosen) == 1:
        return contextlib.nullcontext()
    # Each process reads its own part, see `train_pipeline`: Keras need not cut.
    return keras.distribution.DataParallel(devices=chosen, auto_shard_dataset=False).scope()


def _chosen(count: int, found: list[str]) -> list[str]:
    if count > len(found):
        raise ValueError(f"devices must be at most those that are there, {len(found)}. Received: devices={count}")
    return found[: count or None]


def join(processes: int = 0, process: int | None = None, coordinator: str | None = None) -> None:
    """Joins this process to the others of a training on several machines, or several processes of one; JAX only.

    To be called before any device is used. `keras.distribution` and JAX do the rest. When a process is killed the
    others end with an error: at once where its connections are closed, else when JAX has missed its heartbeat for 100
    seconds. The same commands go on from the last checkpoint.

    Args:
        processes: how many there are; 0: as the cluster says, where JAX knows it (Slurm, Open MPI, Kubernetes, cloud
            TPUs).
        process: which one this is, from 0; process 0 writes the run. None: as the cluster says.
        coordinator: HOST:PORT of process 0. None: as the cluster says.

    Raises:
        ValueError: the backend is not JAX, `process` is not below `processes`, or the cluster does not say what is
            None.
    """
    if keras.backend.backend() != "jax":
        raise ValueError(f"processes must be 1 on the backend {keras.backend.backend()}; several need jax")
    if process is not None and integer("process", process, minimum=0) >= (processes or process + 1):
        raise ValueError(f"process must be below processes, {processes}. Received: process={process}")
    try:
        keras.distribution.initialize(coordinator, processes or None, process)
    except ValueError as error:
        raise ValueError(
            f"processes, process and coordinator must be given where no cluster says them: {error} "
            f"Received: processes={processes}, process={process}, coordinator={coordinator}"
        ) from error


def current_process() -> Placement:
    """Which process of how many this is, before there is a model."""
    if keras.backend.backend() != "jax":
        return Placement()
    import jax  # noqa: PLC0415

    return Placement(process=jax.process_index(), processes=jax.process_count())


def gather(value: int, where: Placement) -> list[int]:
    """`value` of each process, in order; every process waits here for the others."""
    if where.processes == 1:
        return [value]
    from jax.experimental import multihost_utils  # noqa: PLC0415

    return multihost_utils.process_allgather(np.int32(value)).tolist()
