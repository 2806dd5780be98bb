"""Networks of timm and torchvision with random weights, on a machine without a GPU."""

import dataclasses
import functools
import types

import keras
import numpy as np
import pytest

from benchmarks import torchvision_on_cpu
from keras_resnet.weights.table import table
from tests import needs

FROM_TIMM = [row for row in table() if row.source.startswith("hf://timm/")]
DEPTHS = (1, 2, 1, 1)  # of a cut network: all later blocks of a stage are like its second block
SIDES = ((64, 71),)  # one even, one odd


def timm_name(row):
    """The name of a row's architecture in timm."""
    return row.source.removeprefix("hf://timm/").partition(".")[0]


@functools.cache
def peers():
    """torch, timm and torchvision. Skips the test if one of them is not installed."""
    torch = needs.import_package("torch")
    torch.set_num_threads(1)  # more threads do not help small networks, and waiting threads use processor time
    torchvision = torchvision_on_cpu.torchvision()
    return torch, needs.import_package("timm"), torchvision


def cut(build, name):
    """The network of `build(name)`, cut to `DEPTHS`; its depths and number of parameters before the cut.

    The whole network has no values, only names and shapes.
    """
    torch, _, _ = peers()
    with torch.device("meta"):
        net = build(name)
    stages = stages_of(net)
    depths = tuple(map(len, stages))
    parameters = parameters_of(net)
    for blocks, depth in zip(stages, DEPTHS, strict=True):
        del blocks[depth:]
    return net.to_empty(device="cpu"), depths, parameters


def stages_of(net):
    """The blocks of each stage."""
    return [s.blocks for s in net.stages] if hasattr(net, "stages") else [getattr(net, f"layer{n}") for n in "1234"]


def parameters_of(module):
    return sum(parameter.numel() for parameter in module.parameters())


def timm_net(name, max_depths=DEPTHS):
    """timm's network with at most `max_depths` blocks per stage. It has no values, only names and shapes."""
    torch, timm, _ = peers()
    with torch.device("meta"):
        return timm.create_model(name, layers=tuple(map(min, timm_depths(name), max_depths)))


def timm_depths(name):
    """The number of blocks in each stage of timm's network, which is not built."""
    _, timm, _ = peers()
    with pytest.MonkeyPatch.context() as patch:
        for module in (timm.models.resnet, timm.models.resnetv2):
            patch.setattr(module, "build_model_with_cfg", lambda *_, layers, **__: types.SimpleNamespace(layers=layers))
        return tuple(timm.create_model(name).layers)


TWO = (2, 2, 2, 2)


@functools.cache
def timm_printed(name):
    """The modules of timm's network with at most two blocks per stage, as torch prints them."""
    return repr(timm_net(name, TWO))


def cut_fields(fields):
    """Changes the arguments of `ResNet` for a whole network into those for the cut network."""
    return {**fields, "depths": tuple(map(min, fields["depths"], DEPTHS))}


def families(fields):
    """For each network the name of the first network that is equal to it after both are cut.

    Args:
        fields: the arguments of `ResNet` for each network, by its name.
    """
    first = {}
    return {name: first.setdefault(repr(sorted(cut_fields(f).items())), name) for name, f in fields.items()}


@functools.cache
def printed(build, name):
    """The modules of a cut network, as torch prints them."""
    return repr(cut(build, name)[0])


def randomised(net, rng):
    """`net` in evaluation mode, with random weights and statistics that keep the scale of the features."""
    torch, _, _ = peers()
    if next(net.parameters()).is_meta:
        net = net.to_empty(device="cpu")
    state = net.state_dict()
    for name, value in state.items():
        if name.endswith("num_batches_tracked"):
            continue
        if value.ndim > 1:
            # A little smaller than what keeps the scale. With larger weights the deepest random network is chaotic:
            # the outputs of torch in float32 and in float64 differ by 20 %.
            values = 0.7 * np.prod(value.shape[1:]) ** -0.5 * 12**0.5 * (rng.random(value.shape, "float32") - 0.5)
        elif name.endswith("running_var") or (name.endswith("weight") and value.ndim == 1):
            values = rng.uniform(0.5, 1.5, value.shape)
        else:
            values = rng.uniform(-0.1, 0.1, value.shape)
        state[name] = torch.from_numpy(values.astype("float32"))
    net.load_state_dict(state)
    return net.eval()


def dark_and_bright(rng, height, width):
    """Two noisy images, a dark and a bright one, for which every network has different outputs."""
    return rng.integers([[[[0]]], [[[150]]]], [[[[100]]], [[[256]]]], (2, height, width, 3)).astype("uint8")


def answer(net, images, mean, std):
    """The outputs of a torch network for uint8 images (N, H, W, C)."""
    torch, _, _ = peers()
    prepared = (images.astype("float32") / 255 - mean) / std
    with torch.inference_mode():
        return net(torch.from_numpy(prepared.astype("float32").transpose(0, 3, 1, 2))).numpy()


def compare(build, net, checkpoint, tmp_path, rng, write=None, sides=SIDES):
    """Builds this package's network from a file of `net`, and compares the logits for images of even and odd sides."""
    path = tmp_path / "model.safetensors"
    (write or write_safetensors)(net, path)
    model = build(
        weights=dataclasses.replace(checkpoint, source=str(path)),
        input_shape=(None, None, 3),
        classifier_activation=None,
    )
    for height, width in sides:
        images = dark_and_bright(rng, height, width)
        expected = answer(net, images, checkpoint.mean, checkpoint.std)
        logits = keras.ops.convert_to_numpy(model(images, training=False))
        # Relative to the difference between the images: most of a random network's output does not depend on the image.
        assert np.abs(logits - expected).max() <= 1e-3 * np.ptp(expected, axis=0).max()


def write_safetensors(net, path):
    """Writes a file like those on the hub."""
    from safetensors.torch import save_file

    save_file(net.state_dict(), path)
