"""The epochs of a training that may have begun in an earlier process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_resnet.training.resuming import ResumeCallback
from keras_resnet.training.waiting import WaitingForImages


def run_epochs(
    resume: ResumeCallback,
    epochs: int,
    batches_from: Callable[[int], tf.data.Dataset],
    callbacks: Sequence[keras.callbacks.Callback],
    before: Sequence[keras.callbacks.Callback] = (),
    validation_data: tf.data.Dataset | None = None,
    begin_phase: Callable[[int], int] | None = None,
) -> None:
    """Trains a compiled model until its last epoch, from where it stands.

    Args:
        resume: the state of the training, which was restored.
        epochs: number of epochs of the training.
        batches_from: function that gets the number of a step, from 0, and returns the batches of that step and of all
            steps after it.
        callbacks: callbacks of the user.
        before: callbacks that add to the logs, for the others.
        validation_data: batches for `keras.Model.fit`; None: no validation by Keras.
        begin_phase: function that gets the number of the next epoch, and returns that of the epoch before which it must
            be called again; None: there is one phase.
    """
    model, state, steps = resume.model, resume.state, resume.steps
    callback_list = CallbacksOfSeveralFits(
        [*before, LearningRateInLogs(), *callbacks, resume],
        add_history=True,  # Keras' `fit` returns the history
        model=model,
        epochs=epochs,
        steps=steps,
        start=(state.epoch, state.step),  # this and the next one are for ProgressBar
        directory=resume.directory,
        verbose=0,
    )
    callback_list.begin()
    while state.epoch < epochs and not state.ended:
        # If an epoch was stopped in its middle, a call of `fit` for that epoch alone does the rest.
        end_of_phase = begin_phase(state.epoch) if begin_phase else epochs
        end_epoch = state.epoch + 1 if state.step else min(epochs, end_of_phase)
        batches = batches_from(state.epoch * steps + state.step)
        for waiting in (callback for callback in callbacks if isinstance(callback, WaitingForImages)):
            batches = waiting.watch(batches)
        model.fit(
            batches,
            initial_epoch=state.epoch,
            epochs=end_epoch,
            steps_per_epoch=steps - state.step,
            validation_data=validation_data,
            callbacks=callback_list,
            verbose=0,
            shuffle=False,
        )
    callback_list.end()


class LearningRateInLogs(keras.callbacks.Callback):
    """Adds the learning rate to the logs, for the callbacks after this one.

    Every process needs it, because the devices of all processes compute the rate together.
    """

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Adds the learning rate."""
        if logs is not None:
            logs["learning_rate"] = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))


class CallbacksOfSeveralFits(keras.callbacks.CallbackList):
    """Callbacks for which several calls of Keras' `fit` are one training.

    Some callbacks, such as TensorBoard, cannot start again after `on_train_end`.
    """

    def begin(self) -> None:
        """Tells the callbacks that the training begins."""
        super().on_train_begin()

    def end(self) -> None:
        """Tells the callbacks that the training ends."""
        super().on_train_end()

    def on_train_begin(self, logs: Any = None) -> None:
        """A call of `fit` begins: the callbacks are not told."""

    def on_train_end(self, logs: Any = None) -> None:
        """A call of `fit` ends: the callbacks are not told."""
