"""timm and torchvision, on a machine without a GPU, and nets of theirs with random weights."""

import dataclasses
import functools
import importlib.util

import keras
import numpy as np
import pytest

from benchmarks import torchvision_on_cpu
from keras_resnet.weights.table import table

FROM_TIMM = [row for row in table() if row.source.startswith("hf://timm/")]


def timm_name(row):
    """The architecture of a row of the table, as timm calls it."""
    return row.source.removeprefix("hf://timm/").partition(".")[0]


@functools.cache
def peers():
    """torch, timm and torchvision; the test is skipped where they are not (extra `parity`)."""
    torch = pytest.importorskip("torch")
    if importlib.util.find_spec("timm") is None:
        pytest.skip("needs the extra `parity`")
    torchvision = torchvision_on_cpu.torchvision()
    import timm

    return torch, timm, torchvision


def randomised(net, rng):
    """`net` in evaluation, with random weights and statistics that keep the scale of what passes."""
    torch, _, _ = peers()
    state = net.state_dict()
    for name, value in state.items():
        if name.endswith("num_batches_tracked"):
            continue
        if value.ndim > 1:
            # A little less than keeps the scale: with branches of full weight the deepest random net is chaotic, and
            # torch in float32 is 20 % off torch in float64.
            drawn = 0.7 * np.prod(value.shape[1:]) ** -0.5 * rng.standard_normal(value.shape, "float32")
        elif name.endswith("running_var") or (name.endswith("weight") and value.ndim == 1):
            drawn = rng.uniform(0.5, 1.5, value.shape)
        else:
            drawn = rng.uniform(-0.1, 0.1, value.shape)
        state[name] = torch.from_numpy(drawn.astype("float32"))
    net.load_state_dict(state)
    return net.eval()


def answer(net, images, mean, std):
    """What a net of torch says of uint8 images (N, H, W, C)."""
    torch, _, _ = peers()
    prepared = (images.astype("float32") / 255 - mean) / std
    with torch.inference_mode():
        return net(torch.from_numpy(prepared.astype("float32").transpose(0, 3, 1, 2))).numpy()


def compare(build, net, checkpoint, tmp_path, rng, write=None):
    """Builds ours from a file of theirs, and compares the logits at 224 and at an odd size."""
    path = tmp_path / "model.safetensors"
    (write or write_safetensors)(net, path)
    ours = build(
        weights=dataclasses.replace(checkpoint, source=str(path)),
        input_shape=(None, None, 3),
        classifier_activation=None,
    )
    for sides in ((224, 224), (97, 131)):
        images = rng.integers([[[[0]]], [[[150]]]], [[[[100]]], [[[256]]]], (2, *sides, 3)).astype("uint8")
        wanted = answer(net, images, checkpoint.mean, checkpoint.std)
        got = keras.ops.convert_to_numpy(ours(images, training=False))
        # Held against what the images make of it: the larger part of a random net's answer is one and the same.
        assert np.abs(got - wanted).max() <= 1e-3 * np.ptp(wanted, axis=0).max()


def write_safetensors(net, path):
    """The file as the hub has it."""
    from safetensors.torch import save_file

    save_file(net.state_dict(), path)
