"""Heat maps are those of the packages grad-cam and captum, for networks of timm with the same weights.

For grad-cam: methods x layers x classes for one network, methods for the other networks, and each backend.
"""

import dataclasses

import keras
import numpy as np
import pytest

import keras_resnet as kr
from keras_resnet.explain import METHODS, heat_maps, occlusion
from tests import needs, processes
from tests.torch_peers import cut_fields, dark_and_bright, peers, randomised, stages_of, timm_name, timm_net
from tests.weights.test_parity_timm import FIELDS, ROWS

pytestmark = [pytest.mark.parity, pytest.mark.slow]
SIDE = 64
# Pre-activation, groups, average pooling in shortcuts and a deep stem, and two kinds of gates.
OTHER_NETWORKS = ("ResNet50V2", "ResNeXt50_32x4d", "ResNet50D", "SEResNet50", "ECAResNet50D")
INNER = "conv3_block1_out"
SOME_LAYERS = ("conv5", INNER)  # for other networks and backends; ResNet18 on TensorFlow is compared at all layers
THEIR_NAMES = {"gradcam": "GradCAM", "gradcam++": "GradCAMPlusPlus", "hirescam": "HiResCAM", "layercam": "LayerCAM"}


@dataclasses.dataclass
class Pair:
    """timm's network, ours with the same weights, and images for both.

    timm's network computes in float64. Some maps are almost the same everywhere, from 0.1714 to 0.1722 for example.
    Scaled to the range from 0 to 1, such maps of timm's network in float32 and in float64 differ by 0.0002.
    """

    theirs: object
    ours: keras.Model
    images: np.ndarray
    tensor: object


@pytest.fixture
def pair(request, tmp_path, rng, cheap_weights):
    from safetensors.torch import save_file

    torch, _, _ = peers()
    row = ROWS[request.param]
    theirs = randomised(timm_net(timm_name(row)), rng)
    save_file(theirs.state_dict(), tmp_path / "net.safetensors")
    source = {"source": str(tmp_path / "net.safetensors"), "fields": cut_fields(FIELDS[request.param])}
    ours = getattr(kr, request.param)(weights=dataclasses.replace(row, **source), input_shape=(SIDE, SIDE, 3))
    images = dark_and_bright(rng, SIDE, SIDE)
    prepared = ((images / 255 - row.mean) / row.std).transpose(0, 3, 1, 2)
    return Pair(theirs.double(), ours, images, torch.tensor(prepared, dtype=torch.float64))


def layers_of(net):
    """Modules of timm's network by the names of our layers: the end of each stage, and the end of a block in it."""
    stages = stages_of(net)
    ends = {f"conv{number + 2}": blocks[-1] for number, blocks in enumerate(stages)}
    return {**ends, INNER: stages[1][0]}


def their_maps(pair, classes, layers):
    """The maps of grad-cam by method and layer, scaled to the range from 0 to 1, as that package does it."""
    cam = needs.import_package("pytorch_grad_cam")
    targets = needs.import_package("pytorch_grad_cam.utils.model_targets")
    assert THEIR_NAMES.keys() == METHODS.keys()
    modules = layers_of(pair.theirs)
    return {
        (method, layer): getattr(cam, name)(pair.theirs, [modules[layer]])(
            pair.tensor, [targets.ClassifierOutputTarget(index) for index in classes]
        )
        for method, name in THEIR_NAMES.items()
        for layer in layers
    }


def scaled(maps):
    """From 0 to 1. grad-cam does so twice, so that the 1e-7 that it adds to the maximum matters for no small map."""
    maps = maps - maps.min((1, 2), keepdims=True)
    largest = maps.max((1, 2), keepdims=True)
    return maps / np.where(largest == 0, 1, largest)  # a class that nothing speaks for has a map of zeros


def classes_to_explain(pair):
    """For each kind of class one class for each image: the best and the worst."""
    order = pair.ours.predict_on_batch(pair.images).argsort(-1)
    return {"best": order[:, -1].tolist(), "worst": order[:, 0].tolist()}


def compare(pair, classes, layers):
    for (method, layer), expected in their_maps(pair, classes, layers).items():
        found = heat_maps(pair.ours, pair.images, classes, method=METHODS[method], layer=layer)
        np.testing.assert_allclose(scaled(found), expected, atol=1e-4, err_msg=f"{method}, {layer}")


@pytest.mark.parametrize("pair", ["ResNet18"], indirect=True)
@pytest.mark.parametrize("kind", ["best", "worst"])
def test_the_maps_are_those_of_grad_cam(kind, pair):
    compare(pair, classes_to_explain(pair)[kind], layers_of(pair.theirs))


@pytest.mark.parametrize("pair", OTHER_NETWORKS, indirect=True)
def test_the_maps_of_other_architectures_are_those_of_grad_cam(pair):
    compare(pair, classes_to_explain(pair)["best"], SOME_LAYERS)


ON_A_BACKEND = """
import sys, numpy as np, keras, keras_resnet as kr
model = keras.models.load_model(sys.argv[1])
with np.load(sys.argv[2]) as data:
    images, classes = data["images"], data["classes"].tolist()
np.savez(sys.argv[3], **{
    f"{method} {layer}": kr.explain.heat_maps(model, images, classes, method=function, layer=layer)
    for method, function in kr.explain.METHODS.items()
    for layer in sys.argv[4:]
})
"""


@pytest.mark.processes
@pytest.mark.parametrize("pair", ["ResNet18"], indirect=True)
@pytest.mark.parametrize("backend", [pytest.param(name, marks=needs.package(name)) for name in ("jax", "torch")])
def test_on_each_backend_the_maps_are_those_of_grad_cam(backend, pair, tmp_path):
    classes = classes_to_explain(pair)["worst"]
    pair.ours.save(tmp_path / "model.keras")
    np.savez(tmp_path / "images.npz", images=pair.images, classes=classes)
    files = [tmp_path / name for name in ("model.keras", "images.npz", "maps.npz")]
    environment = {"KERAS_BACKEND": backend, **processes.UNOPTIMIZED}
    processes.printed(processes.python("-c", ON_A_BACKEND, *files, *SOME_LAYERS, environment=environment))
    with np.load(tmp_path / "maps.npz") as found:
        for (method, layer), expected in their_maps(pair, classes, SOME_LAYERS).items():
            found_map = scaled(found[f"{method} {layer}"])
            np.testing.assert_allclose(found_map, expected, atol=1e-4, err_msg=f"{method}, {layer}")


@pytest.mark.parametrize("pair", ["ResNet18"], indirect=True)
def test_occlusion_is_that_of_captum(pair):
    """Its last square sticks out of the image, and ours ends at the border, so the stride divides the way here."""
    torch, _, _ = peers()
    captum = needs.import_package("captum.attr")
    classes = classes_to_explain(pair)["best"]
    means = np.rint(pair.images.mean((1, 2), keepdims=True)).astype("uint8")
    row = ROWS["ResNet18"]
    baselines = torch.tensor(((means / 255 - row.mean) / row.std).transpose(0, 3, 1, 2), dtype=torch.float64)
    for patch, stride in ((16, 8), (24, 20)):
        with torch.inference_mode():
            attributions = captum.Occlusion(lambda images: torch.softmax(pair.theirs(images), -1)).attribute(
                pair.tensor,
                (3, patch, patch),
                (3, stride, stride),
                baselines.expand_as(pair.tensor),
                target=classes,
                perturbations_per_eval=16,
            )
        expected = attributions.numpy()[:, 0]  # all channels are covered together, and have the same values
        found = occlusion(pair.ours, pair.images, classes, patch=patch, stride=stride)
        np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max(), err_msg=f"{patch}, {stride}")
