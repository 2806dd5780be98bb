"""The table of recipes for detectors.

A row is the default recipe, torchvision's, with a few fields changed. To change more fields, use
`dataclasses.replace(RECIPES["small_data"], epochs=5)`.
"""

from __future__ import annotations

from keras_resnet._internal.validation import known
from keras_resnet.detection.recipe import DetectionRecipe

RECIPES = {
    # He et al. 2015 (arXiv:1512.03385), appendix A, with the settings of Faster R-CNN (arXiv:1506.01497), section 3.3:
    # one image a step, 60,000 steps with a rate of 0.001, then 20,000 with a tenth of it. ResNet-101 reaches 76.4 mAP
    # on VOC 2007, trained on 2007 and 2012. The papers train the region proposal network and the detector one after
    # the other; here both are trained together (arXiv:1506.01497, section 3.2, approximate joint training).
    "he2015_voc": DetectionRecipe(
        iterations=80_000,
        batch_size=1,
        learning_rate=0.001,
        milestones=(0.75,),
        weight_decay=5e-4,
        warmup_steps=0,
    ),
    # The same paper: 8 images a step, 240,000 steps with a rate of 0.001, then 80,000 with a tenth of it. ResNet-101
    # reaches 27.2 AP on COCO.
    "he2015_coco": DetectionRecipe(
        iterations=320_000,
        batch_size=8,
        learning_rate=0.001,
        milestones=(0.75,),
        weight_decay=5e-4,
        warmup_steps=0,
    ),
    # torchvision's references/detection: 26 epochs on 8 GPUs with 2 images each; ResNet-50 reaches 37.0 AP on COCO.
    "torchvision_fpn": DetectionRecipe(),
    # torchvision's pull request 5763: 400 epochs on 32 GPUs with 2 images each, and large-scale jitter
    # (arXiv:2012.07177); ResNet-50 with `FPN_V2` reaches 46.7 AP on COCO.
    "torchvision_fpn_v2": DetectionRecipe(
        epochs=400,
        batch_size=64,
        learning_rate=0.1,
        milestones=(352 / 400, 384 / 400),
        weight_decay=4e-5,
        frozen_norms=False,
        scale_jitter=(0.1, 2.0),
        jitter_size=1024,
    ),
    # For a few hundred images, machines without a GPU and a backbone without pretrained weights: all of it is trained,
    # also its batch norms (arXiv:1811.08883, training from scratch). Adam needs no search for the learning rate.
    "small_data": DetectionRecipe(
        epochs=30,
        batch_size=4,
        optimizer="adamw",
        learning_rate=1e-3,
        schedule="cosine",
        milestones=(),
        weight_decay=0.05,
        clip_norm=10.0,
        warmup_steps=100,
        frozen_until="conv1",
        frozen_norms=False,
    ),
}


def recipe_named(recipe: DetectionRecipe | str) -> DetectionRecipe:
    """The recipe of the table with this name; a recipe itself is returned.

    Raises:
        ValueError: the table has no such recipe.
        TypeError: `recipe` is neither a recipe for detectors nor a name.
    """
    if isinstance(recipe, DetectionRecipe):
        return recipe
    if not isinstance(recipe, str):
        raise TypeError(
            "recipe must be a keras_resnet.detection.DetectionRecipe, or a name in keras_resnet.detection.RECIPES. "
            f"Received: recipe={recipe!r:.100}"
        )
    return RECIPES[known("recipe", recipe, RECIPES, "keras_resnet.detection.RECIPES")]
