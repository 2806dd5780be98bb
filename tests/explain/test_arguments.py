"""What explanations take: classifiers with inputs and outputs of any structure; others are refused in a sentence."""

import keras
import numpy as np
import pytest

import keras_resnet as kr
from keras_resnet.explain import deletion_and_insertion, heat_maps, occlusion
from keras_resnet.explain.arguments import outputs_for

SIDE = 8
IMAGES = np.random.default_rng(0).integers(0, 256, (2, SIDE, SIDE, 3)).astype("uint8")
EXPLANATIONS = {
    "heat_maps": heat_maps,
    "occlusion": occlusion,
    "deletion_and_insertion": lambda model, images, *classes, **options: deletion_and_insertion(
        model, images, np.arange(np.prod(np.shape(images)[:3])).reshape(np.shape(images)[:3]), *classes, **options
    ),
}


class Subclass(keras.Model):
    def __init__(self):
        super().__init__()
        self.conv = keras.layers.Conv2D(4, 3)
        self.pool = keras.layers.GlobalAveragePooling2D()
        self.dense = keras.layers.Dense(3)

    def call(self, images):
        return self.dense(self.pool(self.conv(images)))


def scores(image, name="scores", activation="softmax"):
    x = keras.layers.Conv2D(4, 3, name=f"conv_{name}")(image)
    return keras.layers.Dense(3, activation, name=name)(keras.layers.GlobalAveragePooling2D()(x))


def image():
    return keras.Input((SIDE, SIDE, 3), name="image")


@pytest.fixture(scope="module")
def model():
    first = image()
    return keras.Model(first, scores(first))


@pytest.mark.parametrize("structure", ["name", "list", "named output"])
@pytest.mark.parametrize("name", EXPLANATIONS)
def test_the_structure_of_inputs_and_outputs_does_not_matter(name, structure, model):
    other = {
        "name": lambda: keras.Model({"image": model.input}, model.output),
        "list": lambda: keras.Model([model.input], model.output),
        "named output": lambda: keras.Model(model.input, {"answer": model.output}),
    }[structure]()
    for classes in ((), (1,)):
        found, expected = (np.array(EXPLANATIONS[name](each, IMAGES, *classes)) for each in (other, model))
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_subclass_inside_a_model_can_be_occluded():
    first, inside = image(), Subclass()
    wrapped = keras.Model(first, inside(first))
    plain = keras.Model(first, inside.dense(inside.pool(inside.conv(first))))
    np.testing.assert_allclose(occlusion(wrapped, IMAGES), occlusion(plain, IMAGES), atol=1e-6)


def two_inputs():
    first, second = image(), keras.Input((3,))
    return keras.Model([first, second], keras.layers.Add()([scores(first), second]))


def two_outputs():
    first = image()
    return keras.Model(first, [scores(first), scores(first, "others")])


def segmentation():
    first = image()
    return keras.Model(first, keras.layers.Conv2D(5, 1)(keras.layers.Conv2D(4, 3)(first)))


def feature_pyramid():
    backbone = kr.ResNet(
        (1, 1), kr.residual_block, filters=(4, 8), stem=kr.stems.cifar, include_top=False, input_shape=(SIDE, SIDE, 3)
    )
    return keras.Model(backbone.input, kr.pyramid(backbone))


@pytest.mark.parametrize(
    ("build", "received"),
    [
        (two_inputs, r"2 inputs \(None, 8, 8, 3\), \(None, 3\) and 1 outputs \(None, 3\)"),
        (two_outputs, r"1 inputs \(None, 8, 8, 3\) and 2 outputs \(None, 3\), \(None, 3\)"),
        (segmentation, r"1 inputs \(None, 8, 8, 3\) and 1 outputs \(None, 6, 6, 5\)"),
        (feature_pyramid, r"and 2 outputs \(None, 8, 8, 4\), \(None, 4, 4, 8\)"),
    ],
)
@pytest.mark.parametrize("name", EXPLANATIONS)
def test_what_is_no_classifier_of_images_is_refused(name, build, received):
    model = build()
    for classes in ((), (1,)):
        with pytest.raises(
            ValueError, match=rf"model must have one input, images .*Received: a model with .*{received}"
        ):
            EXPLANATIONS[name](model, IMAGES, *classes)


@pytest.mark.parametrize("build", [Subclass, lambda: keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(2)])])
@pytest.mark.parametrize("name", EXPLANATIONS)
def test_a_model_without_a_graph_is_refused(name, build):
    with pytest.raises(TypeError, match="model must be a functional or sequential keras.Model whose input is known"):
        EXPLANATIONS[name](build(), IMAGES)


@pytest.mark.parametrize(
    ("images", "options", "message"),
    [
        (IMAGES[..., :1], {}, r"images must have the shape \(None, 8, 8, 3\), .*Received: .*\(2, 8, 8, 1\)"),
        (IMAGES[:, :6], {}, r"images must have the shape \(None, 8, 8, 3\), .*Received: .*\(2, 6, 8, 3\)"),
        (IMAGES[0], {}, r"images must have the shape \(N, H, W, C\). Received: .*\(8, 8, 3\)"),
        (IMAGES, {"batch_size": 0}, "batch_size must be an integer of at least 1. Received: batch_size=0"),
        (IMAGES, {"classes": 3}, r"classes must be indices of the model's output, .*\(None, 3\). Received: classes=3"),
    ],
)
@pytest.mark.parametrize("name", EXPLANATIONS)
def test_other_arguments_are_refused(name, images, options, message, model):
    explain = EXPLANATIONS[name]
    if name == "deletion_and_insertion" and images.ndim == 3:
        explain = lambda model, images: deletion_and_insertion(model, images, np.zeros((1, 8, 8)))
    with pytest.raises(ValueError, match=message):
        explain(model, images, **options)


def test_a_method_by_its_name_is_refused(model):
    with pytest.raises(TypeError, match=r"method must be a function, one of kr.explain.METHODS.*'layercam'"):
        heat_maps(model, IMAGES, method="layercam")


def test_a_subclass_inside_a_model_has_no_map():
    first = image()
    with pytest.raises((TypeError, ValueError), match=r"model must have a layer with a map"):
        heat_maps(keras.Model(first, keras.layers.Softmax()(Subclass()(first))), IMAGES)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_outputs_are_float32(policy):
    keras.config.set_dtype_policy(policy)
    first = image()
    assert outputs_for(keras.Model(first, scores(first)), IMAGES).dtype == "float32"
