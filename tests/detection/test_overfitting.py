"""A small detector learns eight real images by heart: data, losses, optimizer and detections fit together."""

import dataclasses
import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_resnet as kr
from keras_resnet.detection import RECIPES, Design, FasterRCNN, evaluate_split, fit, load, training_batches
from keras_resnet.detection.anchors import Anchors
from keras_resnet.detection.heads import proposal_head, two_dense
from keras_resnet.detection.necks import features
from tests import needs
from tests.conftest import SHARED

# Their cells hardly cover each other: non-maximum suppression drops one of two that do.
IMAGES = (62, 65, 75, 76, 87, 128, 149, 170)
STEPS = 200


def conv3(backbone, image):
    """One map at stride 8. A pyramid takes three times as long to trace."""
    return keras.tree.flatten(features(backbone, ("C3",))(image))


DESIGN = Design(
    neck=conv3,
    strides=(8,),
    anchors=Anchors(((12, 30, 60),)),
    proposal_head=proposal_head,
    box_head=functools.partial(two_dense, units=128),
    pre_nms_top_n=(200, 200),
    post_nms_top_n=(60, 60),
    regions_per_image=32,
    roi_size=5,
    sampling_ratio=1,
    shorter=144,
    longer=192,
    detections_per_image=40,
)


@needs.shared_data
@pytest.mark.slow
def test_eight_images_are_learned_by_heart():
    split = load(f"voc:{SHARED / 'bccd'}", "train").part(np.array(IMAGES))
    recipe = dataclasses.replace(
        RECIPES["small_data"],
        epochs=1,
        batch_size=len(IMAGES),
        learning_rate=3e-3,
        weight_decay=0.0,
        warmup_steps=20,
    )
    # The same batch in each step, so that the images are decoded once.
    batch = next(iter(training_batches(split, DESIGN, len(IMAGES), augmentations=())))
    keras.utils.set_random_seed(0)
    backbone = kr.ResNet(
        (1, 1, 1, 1), kr.residual_block, filters=(16, 64, 8, 8), include_top=False, input_shape=(None, None, 3)
    )
    detector = FasterRCNN(backbone, 3, DESIGN, frozen_until=recipe.frozen_until, frozen_norms=recipe.frozen_norms)
    before = evaluate_split(detector, split, DESIGN, len(IMAGES))
    result = fit(detector, DESIGN, recipe, lambda step: tf.data.Dataset.from_tensors(batch).repeat(), STEPS)
    after = evaluate_split(detector, split, DESIGN, len(IMAGES))
    assert before.map50 < 0.1
    assert after.map50 > 0.95, (result.history, [curve.area for curve in after.curves])
