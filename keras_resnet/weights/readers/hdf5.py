"""HDF5: what Keras 2 and keras.applications wrote, by layer name, and Keras 3's `.weights.h5`."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np

from keras_resnet.weights.tensors import Tensor, WeightsError

MOST_NAMES = 100_000
DEEPEST = 10
UNNAMED = "#"


@contextlib.contextmanager
def opened(path: Path, limit: int) -> Iterator[dict[str, Tensor]]:
    """The tensors of an HDF5 file by `layer/variable`."""
    with h5py.File(path, "r") as file:
        root = _child(file, "model_weights") if "model_weights" in file else file
        if _names(root, "layer_names"):
            yield _by_layer(root)
        elif "layers" in file:
            yield _by_group(_group(file, "layers"))
        else:
            raise WeightsError(f"weights: {path} must have been written by Keras. Received: HDF5 with {list(file)[:5]}")


def _by_layer(root: h5py.Group) -> dict[str, Tensor]:
    """Keras 2: attributes list the layers, and the weights of each."""
    tensors = {}
    for layer in _names(root, "layer_names"):
        group = _group(root, layer)
        for path in _names(group, "weight_names"):
            variable = path.split("/")[-1].split(":")[0]
            tensors[f"{layer}/{variable}"] = _dataset(group, path)
    return tensors


def _by_group(root: h5py.Group) -> dict[str, Tensor]:
    """Keras 3: a group `vars` for each layer, which has the layer's name as attribute, and variables by number."""
    tensors: dict[str, Tensor] = {}
    seen: set[int] = set()

    def visit(group: h5py.Group, depth: int) -> None:
        address = h5py.h5o.get_info(group.id).addr
        if address in seen:
            return
        seen.add(address)
        if depth > DEEPEST or len(seen) > MOST_NAMES:
            raise WeightsError(f"weights: HDF5 must not be nested deeper than {DEEPEST}. Received: {group.name}")
        for name in group:
            child = _child(group, name)
            if name == "vars" and isinstance(child, h5py.Group):
                tensors.update(_variables(child))
            elif isinstance(child, h5py.Group):
                visit(child, depth + 1)

    visit(root, 0)
    return tensors


def _variables(group: h5py.Group) -> dict[str, Tensor]:
    if not len(group):
        return {}
    # The first versions of Keras 3 left the names out: then a layer is known by its type and number, `conv2d_3`.
    layer = str(group.attrs["name"]) if "name" in group.attrs else UNNAMED + group.parent.name.rsplit("/", 1)[-1]
    datasets = [_dataset(group, str(number)) for number in range(len(group))]
    if len(datasets) == 4 and all(len(d.shape) == 1 for d in datasets):
        names: tuple[str, ...] = ("gamma", "beta", "moving_mean", "moving_variance")
    elif len(datasets) <= 2 and len(datasets[0].shape) > 1:
        names = ("kernel", "bias")
    else:
        names = tuple(map(str, range(len(datasets))))
    return {f"{layer}/{name}": dataset for name, dataset in zip(names, datasets)}


def _names(group: h5py.Group, attribute: str) -> list[str]:
    """A list of names; a long one is cut into `{attribute}0`, `{attribute}1` ..."""
    keys = [attribute] if attribute in group.attrs else []
    while f"{attribute}{len(keys)}" in group.attrs and attribute not in group.attrs:
        keys.append(f"{attribute}{len(keys)}")
    names: list[str] = []
    for key in keys:
        shape = group.attrs.get_id(key).shape
        if math.prod(shape) > MOST_NAMES:
            raise WeightsError(
                f"weights: HDF5 must not list more than {MOST_NAMES:,} names. Received: {shape} in {key}"
            )
        names += [n.decode() if isinstance(n, bytes) else str(n) for n in np.ravel(group.attrs[key])]
    return names


def _child(group: h5py.Group, path: str) -> h5py.Group | h5py.Dataset:
    """What is at `path`, reached by hard links alone."""
    found: h5py.Group | h5py.Dataset = group
    for part in path.split("/"):
        if not isinstance(found, h5py.Group) or part not in found:
            raise WeightsError(f"weights: {path!r} is listed in the HDF5 file but is not there")
        if not isinstance(found.get(part, getlink=True), h5py.HardLink):
            raise WeightsError(f"weights: HDF5 links to other places are not followed. Received: {path!r}")
        found = found[part]
    return found


def _group(group: h5py.Group, path: str) -> h5py.Group:
    child = _child(group, path)
    if not isinstance(child, h5py.Group):
        raise WeightsError(f"weights: {path!r} must be an HDF5 group. Received: a {type(child).__name__}")
    return child


def _dataset(group: h5py.Group, path: str) -> Tensor:
    dataset = _child(group, path)
    if not isinstance(dataset, h5py.Dataset) or dataset.shape is None:
        raise WeightsError(f"weights: {path!r} must be an HDF5 dataset. Received: a {type(dataset).__name__}")
    if dataset.external or dataset.is_virtual:
        raise WeightsError(f"weights: HDF5 data in other files is not read. Received: {path!r}")
    # HDF5 inflates a compressed chunk to whatever size it has, not to the size it declares; Keras compresses nothing.
    if dataset.id.get_create_plist().get_nfilters():
        raise WeightsError(f"weights: compressed HDF5 is not read. Received: {path!r}")
    if dataset.chunks and math.prod(dataset.chunks) > max(dataset.size, 2**18):
        raise WeightsError(
            f"weights: HDF5 chunks must not be larger than the tensor. Received: {path!r}, {dataset.chunks}"
        )
    return Tensor(tuple(dataset.shape), dataset.dtype.name, lambda: dataset[()])
