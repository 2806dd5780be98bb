"""The SavedModel: where it lands, what it takes, what it answers."""

import resource

import numpy as np
import pytest
import tensorflow as tf

import keras_resnet as kr


def tiny(**options):
    return kr.ResNet((1,), kr.residual_block, filters=(4,), stem=kr.stems.cifar, classes=3, **options)


def serve(path):
    return tf.saved_model.load(str(path)).signatures["serving_default"]


@pytest.mark.parametrize("shape", [(8, 8, 3), (None, None, 1)])
def test_a_served_model_says_what_the_model_says(shape, tmp_path, rng):
    model = tiny(input_shape=shape)
    path = kr.export.saved_model(model, tmp_path / "net")
    assert path == tmp_path / "net" / "1"
    images = rng.uniform(0, 255, (2, 8, 8, shape[-1])).astype("float32")
    answer = serve(path)(image=tf.constant(images))
    assert list(answer) == ["probabilities"]
    np.testing.assert_allclose(answer["probabilities"], model.predict(images, verbose=0), atol=1e-6)


def test_versions_stand_side_by_side_and_nothing_else_does(tmp_path):
    kr.export.saved_model(tiny(input_shape=(8, 8, 3)), tmp_path)
    kr.export.saved_model(tiny(input_shape=(8, 8, 3)), tmp_path, version=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "2"]


def test_a_version_that_exists_is_not_touched(tmp_path):
    (tmp_path / "1").mkdir()
    with pytest.raises(ValueError, match="version must be new. Received: version=1"):
        kr.export.saved_model(tiny(input_shape=(8, 8, 3)), tmp_path)
    with pytest.raises(ValueError, match="version must be an integer of at least 1"):
        kr.export.saved_model(tiny(input_shape=(8, 8, 3)), tmp_path, version=0)


def test_an_export_that_cannot_be_written_leaves_nothing(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    model = tiny(input_shape=(8, 8, 3))
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))  # no file above 1,000 bytes, as on a full disk
    try:
        with pytest.raises(Exception, match="File too large"):
            kr.export.saved_model(model, tmp_path / "net")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list((tmp_path / "net").iterdir()) == []
