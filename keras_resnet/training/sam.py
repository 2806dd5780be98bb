"""Sharpness-aware minimization (`sam` of a recipe; SAM, arXiv:2010.01412): flat minima generalize better.

A step computes the gradient g at the weights w, and then the gradient at w + rho * g / |g|, with which the optimizer
updates w (equations 2 and 3 of the paper). It takes twice the time.

Statistics of batch norm move once in a step, in the first pass, as in https://github.com/davda54/sam. The second pass
has the random numbers of the first one, so both gradients are of the same function. Loss and metrics are those of the
first pass. The norm is that of the gradient without weight decay, which belongs to the optimizer.

The step of Keras stays as it is on each backend: only the gradients are replaced on their way to the optimizer.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
from keras import ops

from keras_resnet.training.distribution import Placement

Gradients = Sequence[Any]


@contextlib.contextmanager
def sharpness_aware(model: keras.Model, rho: float, where: Placement) -> Iterator[None]:
    """Makes the training steps of a compiled model those of SAM inside the block.

    Args:
        model: a compiled model.
        rho: distance between the weights of the two gradients; 0: nothing changes.
        where: the devices of the training.
    """
    if not rho:
        yield
        return
    step, optimizer, backend = model.train_step, model.optimizer, keras.backend.backend()
    # TensorFlow runs the steps of its devices in threads of their own, each with its part of the batch.
    current = threading.local()

    def train_step(*arguments: Any) -> Any:
        *state, data = arguments
        current.states, current.data = _states(model, *state), data
        return step(*arguments)

    def at_neighbor(gradients: Gradients, weights: Sequence[Any]) -> Gradients:
        if where.devices > 1 and backend == "tensorflow":
            gradients = _added(gradients)
        return _GRADIENTS[backend](
            lambda values: _loss(model, current.data, [*zip(model.trainable_variables, values), *current.states]),
            neighbor(gradients, weights, rho),
        )

    stateful, stateless = optimizer.apply, optimizer.stateless_apply

    def apply(gradients: Gradients, variables: Sequence[Any]) -> Any:
        variables = list(variables)
        return stateful(at_neighbor(gradients, [variable.value for variable in variables]), variables)

    def stateless_apply(variables: Sequence[Any], gradients: Gradients, weights: Sequence[Any]) -> Any:
        return stateless(variables, at_neighbor(gradients, weights), weights)

    replaced = {"stateless_apply": stateless_apply} if backend == "jax" else {"apply": apply}
    optimizer.__dict__.update(replaced)  # not tracked by Keras as attributes
    model.__dict__["train_step"] = train_step
    try:
        yield
    finally:
        del model.__dict__["train_step"]
        for name in replaced:
            del optimizer.__dict__[name]


def neighbor(gradients: Gradients, weights: Sequence[Any], rho: float) -> list[Any]:
    """The weights at the distance `rho` in the direction of the gradient.

    A factor of the gradient, such as the scale of the loss in float16, changes nothing.

    Args:
        gradients: the gradient of each weight; None: it has none.
        weights: tensors.
        rho: the distance.
    """
    norm = ops.sqrt(sum(ops.sum(ops.square(gradient)) for gradient in gradients if gradient is not None))
    factor = rho / ops.maximum(norm, 1e-12)
    return [
        weight if gradient is None else weight + ops.cast(factor * gradient, weight.dtype)
        for gradient, weight in zip(gradients, weights, strict=True)
    ]


def _states(model: keras.Model, state: Sequence[Any] = ()) -> list[tuple[Any, Any]]:
    """The variables that are not trained, with their values before a step.

    Args:
        model: the model.
        state: what the step of Keras gets on JAX, where variables have no values in a step.
    """
    if state:
        _, *values = state
        variables = model.non_trainable_variables, model.optimizer.variables, model.metrics_variables
        return [pair for each, known in zip(variables, values, strict=True) for pair in zip(each, known, strict=True)]
    return [(variable, ops.copy(variable.value)) for variable in model.non_trainable_variables]


def _loss(model: keras.Model, data: Any, mapping: Sequence[tuple[Any, Any]]) -> Any:
    """The scaled loss of a batch if variables have other values. No variable changes."""
    x, y, weight = keras.utils.unpack_x_y_sample_weight(data)
    with keras.StatelessScope(state_mapping=mapping):
        predictions = model(x, training=True)
        loss = model.compute_loss(x=x, y=y, y_pred=predictions, sample_weight=weight, training=True)
        return model.optimizer.scale_loss(loss)


def _added(gradients: Gradients) -> Gradients:
    """The gradients of the whole batch from those of one TensorFlow device."""
    import tensorflow as tf  # noqa: PLC0415

    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, list(gradients))


def _tensorflow(loss: Callable[[list[Any]], Any], values: list[Any]) -> Gradients:
    import tensorflow as tf  # noqa: PLC0415

    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(values)
        value = loss(values)
    return tape.gradient(value, values)


def _jax(loss: Callable[[list[Any]], Any], values: list[Any]) -> Gradients:
    import jax  # noqa: PLC0415

    return jax.grad(loss)(values)


def _torch(loss: Callable[[list[Any]], Any], values: list[Any]) -> Gradients:
    import torch  # noqa: PLC0415

    with torch.enable_grad():
        values = [value.detach().requires_grad_() for value in values]
        return torch.autograd.grad(loss(values), values, allow_unused=True)


# The gradient of a function of tensors, by backend.
_GRADIENTS: dict[str, Callable[[Callable[[list[Any]], Any], list[Any]], Gradients]] = {
    "tensorflow": _tensorflow,
    "jax": _jax,
    "torch": _torch,
}
