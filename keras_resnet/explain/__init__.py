"""Explanation of a network's answers: heat maps over an image, and the filters of the first layer."""

from typing import TYPE_CHECKING

from keras_resnet._internal.lazy_names import lazy_names

__all__ = [
    "METHODS",
    "deletion_and_insertion",
    "filters",
    "grad_cam",
    "grad_cam_plus_plus",
    "heat_maps",
    "hires_cam",
    "layer_cam",
    "occlusion",
]

if TYPE_CHECKING:
    from keras_resnet.explain.cam import METHODS, grad_cam, grad_cam_plus_plus, hires_cam, layer_cam
    from keras_resnet.explain.covering import occlusion
    from keras_resnet.explain.faithfulness import deletion_and_insertion
    from keras_resnet.explain.first_layer import filters
    from keras_resnet.explain.maps import heat_maps
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "METHODS": "cam",
            "deletion_and_insertion": "faithfulness",
            "filters": "first_layer",
            "grad_cam": "cam",
            "grad_cam_plus_plus": "cam",
            "heat_maps": "maps",
            "hires_cam": "cam",
            "layer_cam": "cam",
            "occlusion": "covering",
        },
    )
