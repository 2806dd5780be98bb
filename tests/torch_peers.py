"""timm and torchvision, on a machine without a GPU, and nets of theirs with random weights."""

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
DEPTHS = (1, 2, 1, 1)  # of a net that is cut: all other blocks of a stage are as its second
SIDES = ((64, 71),)  # one even, one odd


def timm_name(row):
    """The architecture of a row of the table, as timm calls it."""
    return row.source.removeprefix("hf://timm/").partition(".")[0]


@functools.cache
def peers():
    """torch, timm and torchvision; the test is skipped where they are not."""
    torch = needs.import_package("torch")
    torch.set_num_threads(1)  # nets this small gain nothing from more, and threads that wait for work take time
    torchvision = torchvision_on_cpu.torchvision()
    return torch, needs.import_package("timm"), torchvision


def cut(build, name):
    """What `build(name)` gives, cut to `DEPTHS`; the depths and the number of parameters that it had before.

    The whole net is never more than names and shapes.
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


def timm_net(name, most=DEPTHS):
    """timm's network with these blocks a stage or fewer, of names and shapes alone."""
    torch, timm, _ = peers()
    with torch.device("meta"):
        return timm.create_model(name, layers=tuple(map(min, timm_depths(name), most)))


def timm_depths(name):
    """The blocks a stage that timm's network has, without building it."""
    _, timm, _ = peers()
    with pytest.MonkeyPatch.context() as patch:
        for module in (timm.models.resnet, timm.models.resnetv2):
            patch.setattr(module, "build_model_with_cfg", lambda *_, layers, **__: types.SimpleNamespace(layers=layers))
        return tuple(timm.create_model(name).layers)


TWO = (2, 2, 2, 2)


@functools.cache
def timm_printed(name):
    """What torch prints of the modules of timm's network with two blocks a stage or fewer."""
    return repr(timm_net(name, TWO))


def cut_fields(fields):
    """The same of ours: from the arguments of `ResNet` that make a network to those that make it when it is cut."""
    return {**fields, "depths": tuple(map(min, fields["depths"], DEPTHS))}


def families(fields):
    """By the name of each network, the first that is the same when both are cut.

    Args:
        fields: the arguments of `ResNet` that make each network, by name.
    """
    first = {}
    return {name: first.setdefault(repr(sorted(cut_fields(f).items())), name) for name, f in fields.items()}


@functools.cache
def printed(build, name):
    """What torch prints of the modules of a net that is cut."""
    return repr(cut(build, name)[0])


def randomised(net, rng):
    """`net` in evaluation, with random weights and statistics that keep the scale of what passes."""
    torch, _, _ = peers()
    if next(net.parameters()).is_meta:
        net = net.to_empty(device="cpu")
    state = net.state_dict()
    for name, value in state.items():
        if name.endswith("num_batches_tracked"):
            continue
        if value.ndim > 1:
            # A little less than keeps the scale: with branches of full weight the deepest random net is chaotic, and
            # torch in float32 is 20 % off torch in float64.
            drawn = 0.7 * np.prod(value.shape[1:]) ** -0.5 * 12**0.5 * (rng.random(value.shape, "float32") - 0.5)
        elif name.endswith("running_var") or (name.endswith("weight") and value.ndim == 1):
            drawn = rng.uniform(0.5, 1.5, value.shape)
        else:
            drawn = rng.uniform(-0.1, 0.1, value.shape)
        state[name] = torch.from_numpy(drawn.astype("float32"))
    net.load_state_dict(state)
    return net.eval()


def dark_and_bright(rng, height, width):
    """Two noisy images that no network takes for the same."""
    return rng.integers([[[[0]]], [[[150]]]], [[[[100]]], [[[256]]]], (2, height, width, 3)).astype("uint8")


def answer(net, images, mean, std):
    """What a net of torch says of uint8 images (N, H, W, C)."""
    torch, _, _ = peers()
    prepared = (images.astype("float32") / 255 - mean) / std
    with torch.inference_mode():
        return net(torch.from_numpy(prepared.astype("float32").transpose(0, 3, 1, 2))).numpy()


def compare(build, net, checkpoint, tmp_path, rng, write=None, sides=SIDES):
    """Builds ours from a file of theirs, and compares the logits of images with even and odd sides."""
    path = tmp_path / "model.safetensors"
    (write or write_safetensors)(net, path)
    ours = build(
        weights=dataclasses.replace(checkpoint, source=str(path)),
        input_shape=(None, None, 3),
        classifier_activation=None,
    )
    for height, width in sides:
        images = dark_and_bright(rng, height, width)
        wanted = answer(net, images, checkpoint.mean, checkpoint.std)
        got = keras.ops.convert_to_numpy(ours(images, training=False))
        # Held against what the images make of it: the larger part of a random net's answer is one and the same.
        assert np.abs(got - wanted).max() <= 1e-3 * np.ptp(wanted, axis=0).max()


def write_safetensors(net, path):
    """The file as the hub has it."""
    from safetensors.torch import save_file

    save_file(net.state_dict(), path)
