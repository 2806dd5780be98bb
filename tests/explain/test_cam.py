"""Class activation maps: right values, layers, backends, and the package `grad-cam`."""

import keras
import numpy as np
import pytest

import keras_resnet as kr
from keras_resnet.explain import METHODS, heat_maps
from keras_resnet.explain.gradients import features, layer_with_map
from tests import needs, processes
from tests.torch_peers import peers

SIDE = 16


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    return kr.ResNet(
        (1, 1), kr.residual_block, filters=(8, 16), stem=kr.stems.cifar, input_shape=(SIDE, SIDE, 3), classes=4
    )


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (3, SIDE, SIDE, 3)).astype("uint8")


def test_features_and_gradients_are_those_of_the_head(model, images):
    """The head is average pooling and a dense layer: each place has the class's weights, divided by the places."""
    found = features(model, images, layer_with_map(model, None), np.array([2, 0, 3]))
    expected = keras.Model(model.input, model.get_layer("conv3_block1_out").output).predict(images, verbose=0)
    np.testing.assert_allclose(found.values, expected, rtol=1e-5, atol=1e-6)
    kernel, _ = model.get_layer("predictions").get_weights()
    np.testing.assert_allclose(
        found.gradients, np.broadcast_to(kernel.T[[2, 0, 3], None, None] / 64, (3, 8, 8, 16)), rtol=1e-5
    )


def test_the_class_with_the_highest_score_is_explained(model, images):
    best = model.predict(images, verbose=0).argmax(-1)
    np.testing.assert_array_equal(heat_maps(model, images), heat_maps(model, images, list(best)))
    assert features(model, images, layer_with_map(model, None), None).classes.tolist() == best.tolist()


def test_without_places_of_their_own_the_methods_agree(model, images):
    """Before average pooling all places have the same gradients, so Grad-CAM is HiResCAM."""
    maps = {name: heat_maps(model, images, 1, method=method) for name, method in METHODS.items()}
    np.testing.assert_allclose(maps["gradcam"], maps["hirescam"], atol=1e-6)
    assert np.abs(maps["gradcam"] - maps["layercam"]).max() > 1e-3
    assert all(values.min() >= 0 and values.shape == (3, SIDE, SIDE) for values in maps.values())


def test_batches_change_nothing(model, images):
    one_by_one = heat_maps(model, images, [0, 1, 2], batch_size=1, layer="conv2")
    np.testing.assert_allclose(heat_maps(model, images, [0, 1, 2], layer="conv2"), one_by_one, atol=1e-6)


def test_the_map_is_bright_where_the_class_is_seen(model):
    """A network that counts red pixels: its map marks the red square."""
    inputs = keras.Input((SIDE, SIDE, 3))
    x = keras.layers.Conv2D(2, 1, name="colors")(inputs)
    outputs = keras.layers.Dense(2, "softmax")(keras.layers.GlobalAveragePooling2D()(x))
    counting = keras.Model(inputs, outputs)
    red_or_blue = np.zeros((1, 1, 3, 2), "float32")
    red_or_blue[..., 0, 0] = red_or_blue[..., 2, 1] = 1
    counting.set_weights([red_or_blue, np.zeros(2), np.eye(2), np.zeros(2)])
    image = np.zeros((1, SIDE, SIDE, 3), "float32")
    image[:, 2:6, 3:8, 0] = 1
    np.testing.assert_allclose(heat_maps(counting, image, 0), image[..., 0] / SIDE**2, atol=1e-9)
    assert heat_maps(counting, image, 1).max() == 0


@pytest.mark.parametrize("around", ["sequential", "nested", "nested twice", "logits", "frozen", "saved"])
def test_models_of_all_kinds_have_the_same_maps(around, model, images, tmp_path):
    expected = heat_maps(model, images, 3, layer="conv2")
    if around == "sequential":
        backbone = keras.Model(model.input, model.get_layer("avg_pool").output, name="backbone")
        other = keras.Sequential(
            [keras.Input((SIDE, SIDE, 3)), backbone, keras.layers.Dense(4), keras.layers.Softmax()]
        )
        other.layers[-2].set_weights(model.get_layer("predictions").get_weights())
    elif around.startswith("nested"):
        other = keras.Sequential([keras.Input((SIDE, SIDE, 3)), model])
        if around == "nested twice":
            image = keras.Input((SIDE, SIDE, 3))
            other = keras.Model(image, other(image))
    elif around == "logits":
        other = keras.models.clone_model(model)
        other.get_layer("predictions").activation = keras.activations.linear
        other.set_weights(model.get_weights())
    elif around == "frozen":
        other = keras.models.clone_model(model)
        other.set_weights(model.get_weights())
        other.trainable = False
    else:
        model.save(tmp_path / "model.keras")
        other = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(heat_maps(other, images, 3, layer="conv2"), expected, atol=1e-6)


def test_layers_are_named_by_stage_or_by_name(model):
    assert layer_with_map(model, "conv2").name == layer_with_map(model, "conv2_block1_out").name == "conv2_block1_out"
    assert layer_with_map(model, None).name == "conv3_block1_out"
    assert layer_with_map(model, "conv1").name == "conv1_relu"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"layer": "avg_pool"},
            r"layer must be .* Received: layer='avg_pool', whose output has the shape \(None, 16\)",
        ),
        (
            {"layer": "conv9"},
            "layer must be .*'conv3_block1_out', or of a stage: conv2, conv3. Did you mean .*layer='conv9'",
        ),
        (
            {"layer": "conv3_block1_output"},
            r"Did you mean conv3_block1_out, .*\? Received: layer='conv3_block1_output'",
        ),
        ({"classes": 4}, r"classes must be indices of the model's output, .*\(None, 4\). Received: classes=4"),
        ({"classes": [0, 1]}, "classes must have one entry for each of the 3 images. Received: 2 entries"),
        ({"classes": -1}, r"classes\[0\] must be an integer of at least 0|classes must be an integer of at least 0"),
        ({"classes": 0.5}, "classes must be an integer"),
    ],
)
def test_what_cannot_be_explained_is_said(options, message, model, images):
    with pytest.raises((ValueError, TypeError), match=message):
        heat_maps(model, images, **options)


def test_images_of_another_rank_are_refused(model, images):
    with pytest.raises(ValueError, match=r"images must have the shape \(N, H, W, C\). Received: .*\(16, 16, 3\)"):
        heat_maps(model, images[0])


def test_a_layer_that_is_called_twice_has_no_map():
    inputs = keras.Input((8, 8, 4))
    shared = keras.layers.Conv2D(4, 1, name="shared")
    x = keras.layers.GlobalAveragePooling2D()(shared(shared(inputs)))
    twice = keras.Model(inputs, keras.layers.Dense(2, "softmax")(x))
    with pytest.raises(ValueError, match="layer must be called once in the model. Received: layer='shared', called 2"):
        heat_maps(twice, np.ones((1, 8, 8, 4)))


def test_a_network_without_maps_is_refused():
    inputs = keras.Input((8, 8, 1))
    with pytest.raises(ValueError, match=r"model must have a layer with a map"):
        heat_maps(keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Flatten()(inputs))), np.ones((1, 8, 8, 1)))


ON_A_BACKEND = """
import sys, numpy as np, keras, keras_resnet as kr
model = keras.models.load_model(sys.argv[1])
with np.load(sys.argv[2]) as data:
    images = data["images"]
maps = {name: kr.explain.heat_maps(model, images, [0, 1, 2], method=method, layer="conv2")
        for name, method in kr.explain.METHODS.items()}
maps["occlusion"] = kr.explain.occlusion(model, images, [0, 1, 2])
np.savez(sys.argv[3], **maps)
"""


@pytest.mark.slow
@pytest.mark.processes
@pytest.mark.parametrize("backend", [pytest.param(name, marks=needs.package(name)) for name in ("jax", "torch")])
def test_backends_have_the_same_maps(backend, model, images, tmp_path):
    model.save(tmp_path / "model.keras")
    np.savez(tmp_path / "images.npz", images=images)
    arguments = [tmp_path / "model.keras", tmp_path / "images.npz", tmp_path / "maps.npz"]
    processes.printed(
        processes.python(
            "-c", ON_A_BACKEND, *arguments, environment={"KERAS_BACKEND": backend, **processes.UNOPTIMIZED}
        )
    )
    with np.load(tmp_path / "maps.npz") as found:
        for name, method in METHODS.items():
            expected = heat_maps(model, images, [0, 1, 2], method=method, layer="conv2")
            np.testing.assert_allclose(found[name], expected, atol=1e-5 * expected.max())
        np.testing.assert_allclose(found["occlusion"], kr.explain.occlusion(model, images, [0, 1, 2]), atol=1e-5)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_has_nearly_the_same_maps(policy, model, images):
    keras.config.set_dtype_policy(policy)
    try:
        mixed = kr.ResNet(
            (1, 1), kr.residual_block, filters=(8, 16), stem=kr.stems.cifar, input_shape=(SIDE, SIDE, 3), classes=4
        )
    finally:
        keras.config.set_dtype_policy("float32")
    mixed.set_weights(model.get_weights())
    expected = heat_maps(model, images, 1)
    found = heat_maps(mixed, images, 1)
    assert found.dtype == "float32"
    np.testing.assert_allclose(found, expected, atol=0.03 * expected.max())


@pytest.mark.slow
@pytest.mark.parity
@pytest.mark.parametrize("net", ["resnet18"])  # other networks: test_parity.py
def test_the_maps_are_those_of_grad_cam(net, tmp_path):
    """Scaled to the range from 0 to 1, as that package does it."""
    torch, _, torchvision = peers()
    cam = needs.import_package("pytorch_grad_cam")
    targets = needs.import_package("pytorch_grad_cam.utils.model_targets")
    torch.manual_seed(0)
    theirs = torchvision.models.get_model(net, num_classes=10).eval()
    for module in theirs.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_mean, -0.2, 0.2)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
    torch.save(theirs.state_dict(), tmp_path / "net.pt")
    name = {"resnet18": "ResNet18", "resnet50": "ResNet50", "wide_resnet50_2": "WideResNet50_2"}[net]
    ours = kr.create_model(name, weights=tmp_path / "net.pt", input_shape=(96, 96, 3), classes=10)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 96, 96, 3)).astype("uint8")
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    tensor = torch.tensor(((pixels / 255 - mean) / std).transpose(0, 3, 1, 2), dtype=torch.float32)
    methods = {"gradcam": "GradCAM", "gradcam++": "GradCAMPlusPlus", "hirescam": "HiResCAM", "layercam": "LayerCAM"}
    assert methods.keys() == METHODS.keys()
    for layer, stage in (("conv5", theirs.layer4), ("conv4", theirs.layer3)):
        for name, method in METHODS.items():
            explainer = getattr(cam, methods[name])(theirs, [stage])
            expected = explainer(tensor, [targets.ClassifierOutputTarget(index) for index in (1, 7)])
            found = heat_maps(ours, pixels, [1, 7], method=method, layer=layer)
            scaled = found - found.min((1, 2), keepdims=True)
            scaled /= scaled.max((1, 2), keepdims=True) + 1e-7  # a class that nothing speaks for has a map of zeros
            np.testing.assert_allclose(scaled, expected, atol=1e-4)
