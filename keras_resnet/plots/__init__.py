"""Pictures: one style for all of them, and the architecture of a network."""

from typing import TYPE_CHECKING

from keras_resnet._internal.lazy_names import lazy_names

__all__ = ["plot_architecture"]

if TYPE_CHECKING:
    from keras_resnet.plots.architecture import plot_architecture
else:
    __getattr__, __dir__ = lazy_names(__name__, {"plot_architecture": "architecture"})
