"""Training on several devices.

TensorFlow uses a `MirroredStrategy` on one machine; JAX uses `keras.distribution` on one or several machines. This file
moves no data between devices: TensorFlow and JAX do that. On JAX the compiler makes a step on several devices equal to
a step on one device. On TensorFlow this file does what Keras leaves to its caller.
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
    """The devices and processes of a training.

    Attributes:
        devices: number of devices, of all processes together, that share each batch.
        process: number of this process, from 0.
        processes: number of processes.
    """

    devices: int = 1
    process: int = 0
    processes: int = 1

    @property
    def shard(self) -> tuple[int, int]:
        """The part of each batch that this process reads: `shard` of `keras_resnet.data.train_pipeline`."""
        return self.process, self.processes


def placement_of(model: keras.Model) -> Placement:
    """The devices and processes that `model` was built for.

    Args:
        model: a model that was built under `devices(...)`, or without it for one device.

    Returns:
        The placement of the strategy or `keras.distribution` in use; one device if there is none.

    Raises:
        ValueError: the model was built under another `devices(...)` than the one in use now.

    Example:
        >>> import keras_resnet as kr
        >>> from keras_resnet.training import distribution
        >>> distribution.placement_of(kr.ResNet20())
        Placement(devices=1, process=0, processes=1)
    """
    requirement = "model must be built under the same `devices(...)` that it is trained in"
    if keras.backend.backend() == "tensorflow":
        strategy = model.distribute_strategy
        for variable in model.variables:
            if not strategy.extended.variable_created_in_scope(variable.value):
                raise ValueError(
                    f"{requirement}. Received: a model with the variable {variable.path!r}, "
                    f"which was not created under the {type(strategy).__name__} in use"
                )
        return Placement(strategy.num_replicas_in_sync)
    distribution = keras.distribution.distribution() if keras.backend.backend() == "jax" else None
    if distribution is None:
        return Placement()
    import jax  # noqa: PLC0415

    where = Placement(distribution.device_mesh.devices.size, jax.process_index(), jax.process_count())
    for variable in model.variables:
        count = len(variable.value.sharding.device_set)
        if count != where.devices:
            raise ValueError(
                f"{requirement}. Received: a model with the variable {variable.path!r} on {count} devices, "
                f"while keras.distribution has {where.devices}"
            )
    return where


def check_recipe(recipe: Recipe, images: int, where: Placement) -> None:
    """Checks that a training by `recipe` is possible on several devices.

    Args:
        recipe: the recipe.
        images: number of training images.
        where: the devices of the training.

    Raises:
        ValueError: `batch_size` or a smaller number of images is not divisible by the number of devices, or TensorFlow
            cannot use an option of the recipe on several devices.
    """
    if recipe.batch_size % where.devices or (images < recipe.batch_size and images % where.devices):
        raise ValueError(
            f"batch_size, or a smaller number of images, must be divisible by the number of devices, {where.devices}. "
            f"Received: batch_size={recipe.batch_size}, {images} images"
        )
    if where.devices == 1 or keras.backend.backend() != "tensorflow":
        return
    # Keras updates the weights inside a `cond`, in which a MirroredStrategy cannot add the gradients of all devices.
    if recipe.gradient_accumulation_steps > 1:
        raise ValueError(
            "gradient_accumulation_steps must be 1 on several TensorFlow devices. "
            f"Received: gradient_accumulation_steps={recipe.gradient_accumulation_steps}"
        )
    # Devices recompute blocks in different orders, and a synchronized batch norm waits for the means of all devices.
    if recipe.remat:
        raise ValueError("remat must be False on several TensorFlow devices. Received: remat=True")


@contextlib.contextmanager
def synchronized_batch_norm(model: keras.Model, where: Placement) -> Iterator[None]:
    """Makes batch norms use mean and variance of the whole batch, of all devices together, inside the block.

    Only TensorFlow needs this; on JAX batch norms use the whole batch anyway. Synchronized batch norms run on the
    kernel of Keras, and not on the fused kernel of TensorFlow.

    Args:
        model: a model that was built for `where`.
        where: the devices of the training; with one device nothing changes.
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


def choose_gradient_reduction(optimizer: keras.optimizers.Optimizer, where: Placement) -> None:
    """Makes an optimizer of TensorFlow reduce gradients as the devices need it; nothing changes on other backends."""
    if keras.backend.backend() == "tensorflow":
        (clip_gradients_of_all_devices if where.devices > 1 else skip_gradient_reduction)(optimizer)


def clip_gradients_of_all_devices(optimizer: keras.optimizers.Optimizer) -> None:
    """Makes the optimizer of a MirroredStrategy clip the gradient of the whole batch.

    One device does that too. Keras clips the gradient of each device, and then adds the clipped gradients.
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


def skip_gradient_reduction(optimizer: keras.optimizers.Optimizer) -> None:
    """Makes an optimizer for one device of TensorFlow use the gradients as they are.

    Keras adds the gradients of all devices also if there is one. For that, TensorFlow registers a gradient function,
    which keeps the graph of the step in memory until the process ends.
    """
    replace_gradient_reduction(innermost(optimizer), lambda add, pairs: list(pairs))


def devices(count: int | None = None) -> contextlib.AbstractContextManager[Any]:
    """The context in which a model is built and trained on several devices.

    Args:
        count: number of devices of this machine; GPUs if it has any, otherwise CPUs. 0: all. None: one; or, after
            `join`, all devices of all processes.

    Returns:
        A context manager.

    Raises:
        ValueError: `count` is higher than the number of devices; or it is not 1 on torch; or several processes train
            together, and it is not the number of all devices.
        TypeError: `count` is not an integer.

    Example:
        >>> import keras_resnet as kr
        >>> from keras_resnet.training import distribution
        >>> with distribution.devices(1):
        ...     model = kr.ResNet20()
    """
    count = None if count is None else integer("devices", count, minimum=0)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf  # noqa: PLC0415

        available = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        chosen = _first_devices(1 if count is None else count, [device.name for device in available])
        return tf.distribute.MirroredStrategy(chosen).scope() if len(chosen) > 1 else contextlib.nullcontext()
    if keras.backend.backend() == "torch":
        if count not in {None, 1}:
            raise ValueError(
                "devices must be 1 on the torch backend, which cannot share batches between devices. "
                f"Received: devices={count}"
            )
        return contextlib.nullcontext()
    import jax  # noqa: PLC0415

    available, processes = keras.distribution.list_devices(), jax.process_count()
    if processes > 1 and count not in {None, 0, len(available)}:
        raise ValueError(
            f"devices must be 0 or {len(available)}, which is all, if {processes} processes train together. "
            f"Received: devices={count}"
        )
    chosen = _first_devices((0 if processes > 1 else 1) if count is None else count, available)
    if len(chosen) == 1:
        return contextlib.nullcontext()
    # Each process reads only its part of a batch, see `train_pipeline`, so Keras must not divide the batches again.
    return keras.distribution.DataParallel(devices=chosen, auto_shard_dataset=False).scope()


def _first_devices(count: int, available: list[str]) -> list[str]:
    """The first `count` devices; 0: all."""
    if count > len(available):
        raise ValueError(
            f"devices must be at most {len(available)}, the number of available devices. Received: devices={count}"
        )
    return available[: count or None]


def join(processes: int = 0, process: int | None = None, coordinator: str | None = None) -> None:
    """Connects this process with the other processes of a training, on one or several machines; JAX only.

    Call it before any device is used. `keras.distribution` and JAX do the rest. If a process is killed, the others end
    with an error: at once if its connections are closed, otherwise when JAX has missed its heartbeat for 100 seconds.
    The same commands continue the training from the last checkpoint.

    Args:
        processes: number of processes; 0: the number that the cluster sets, if JAX knows the cluster (Slurm, Open MPI,
            Kubernetes, cloud TPUs).
        process: number of this process, from 0; process 0 writes the run. None: the number that the cluster sets.
        coordinator: HOST:PORT of process 0. None: the address that the cluster sets.

    Raises:
        ValueError: the backend is not JAX; `process` is not below `processes`; or a value is missing that the cluster
            does not set.
        TypeError: `process` is not an integer.

    Example:
        >>> from keras_resnet.training import distribution
        >>> distribution.join(2, 0, "10.0.0.1:1234")  # doctest: +SKIP
    """
    if keras.backend.backend() != "jax":
        raise ValueError(
            f"processes must be 1 on the {keras.backend.backend()} backend; several processes need the jax backend. "
            f"Received: processes={processes}"
        )
    if process is not None and integer("process", process, minimum=0) >= (processes or process + 1):
        raise ValueError(f"process must be below processes={processes}. Received: process={process}")
    try:
        keras.distribution.initialize(coordinator, processes or None, process)
    except ValueError as error:
        raise ValueError(
            "processes, process and coordinator must be given if the cluster does not set them. "
            f"Received: processes={processes}, process={process}, coordinator={coordinator} ({error})"
        ) from error


def current_process() -> Placement:
    """The number of this process and of all processes; use it before there is a model."""
    if keras.backend.backend() != "jax":
        return Placement()
    import jax  # noqa: PLC0415

    return Placement(process=jax.process_index(), processes=jax.process_count())


def gather(value: int, where: Placement) -> list[int]:
    """Collects an integer from all processes; each process waits here for the others.

    Args:
        value: the integer of this process.
        where: the processes of the training.

    Returns:
        The integers of all processes, in the order of their numbers.
    """
    if where.processes == 1:
        return [value]
    from jax.experimental import multihost_utils  # noqa: PLC0415

    return multihost_utils.process_allgather(np.int32(value)).tolist()
