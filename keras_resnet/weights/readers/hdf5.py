"""HDF5: what Keras 2 and keras.applications wrote, by layer name, and Keras 3's `.weights.h5`."""

from __future__ import annotations

import collections
import contextlib
import math
import re
from collections.abc import Iterator
from pathlib import Path

import h5py

from keras_resnet.weights.tensors import LONGEST_NAME, MOST_TENSORS, Tensor, WeightsError

DEEPEST = 10
UNNAMED = "#"
BLOCK = 2**20
HEAP = re.compile(rb"GCOL\x01...(.{8})", re.DOTALL)  # HDF5 File Format Specification, III.E
LARGEST_HEAP = 2**16  # bytes; those that Keras' names take have 4,096


@contextlib.contextmanager
def open_hdf5(path: Path, limit: int) -> Iterator[dict[str, Tensor]]:
    """The tensors of an HDF5 file by `layer/variable`."""
    with h5py.File(path, "r") as file:
        root = _group(file, "model_weights") if "model_weights" in file else file
        if "layer_names" in root.attrs or "layer_names0" in root.attrs:
            yield _by_layer(root)
        elif "layers" in file:
            _check_heaps(path)
            yield _by_group(_group(file, "layers"))
        else:
            raise WeightsError("HDF5 must have been written by Keras. Received: a file without layers")


def _by_layer(root: h5py.Group) -> dict[str, Tensor]:
    """Keras 2: a group for each layer, and below it variables by name, `conv1_conv/kernel:0`.

    Attributes list both once more. They are not read, as each name in them may be as long as the file.
    """
    paths = [(path, path.split("/"), path.split("/")[-1].split(":")[0]) for path in _datasets(root)]
    layers = collections.Counter((parts[0], variable) for _, parts, variable in paths)
    tensors: dict[str, Tensor] = {}
    for path, parts, variable in paths:
        # The group is the layer's name; that of a nested model has all of its layers, and they are a level deeper.
        nested = layers[parts[0], variable] > 1
        key = f"{parts[-2] if nested else parts[0]}/{variable}"
        if key in tensors:
            raise WeightsError(f"HDF5 must have one {key!r}. Received: two")
        tensors[key] = _tensor(root, path)
    return tensors


def _by_group(root: h5py.Group) -> dict[str, Tensor]:
    """Keras 3: a group `vars` for each layer, which has the layer's name as attribute, and variables by number."""
    groups: collections.defaultdict[str, list[str]] = collections.defaultdict(list)
    for path in _datasets(root):
        parent, _, name = path.rpartition("/")
        if parent.endswith("/vars"):
            groups[parent].append(name)
    tensors: dict[str, Tensor] = {}
    for parent, names in groups.items():
        variables = [_tensor(root, f"{parent}/{number}") for number in range(len(names))]
        layer = _layer(root[parent])
        for name, variable in zip(_variables(variables), variables):
            if f"{layer}/{name}" in tensors:
                raise WeightsError(f"HDF5 must have one layer {layer!r}. Received: two")
            tensors[f"{layer}/{name}"] = variable
    return tensors


def _variables(variables: list[Tensor]) -> tuple[str, ...]:
    if len(variables) == 4 and all(len(variable.shape) == 1 for variable in variables):
        return ("gamma", "beta", "moving_mean", "moving_variance")
    if len(variables) <= 2 and len(variables[0].shape) > 1:
        return ("kernel", "bias")
    return tuple(map(str, range(len(variables))))


def _layer(group: h5py.Group) -> str:
    # The first versions of Keras 3 left the names out: then a layer is known by its type and number, `conv2d_3`.
    if "name" not in group.attrs:
        return UNNAMED + group.parent.name.rsplit("/", 1)[-1]
    attribute = group.attrs.get_id("name")
    small = attribute.shape == () and attribute.dtype.itemsize <= LONGEST_NAME
    if not small or not isinstance(name := group.attrs["name"], str):
        raise WeightsError(f"the HDF5 attribute 'name' must be a text. Received: another in {group.name!r}")
    return name


def _check_heaps(path: Path) -> None:
    """Refuses a file with a heap of texts that is longer than any name: how long a text is HDF5 says by reading it."""
    before = b""
    with path.open("rb") as file:
        size = path.stat().st_size
        while block := file.read(BLOCK):
            for heap in HEAP.finditer(before + block):
                if LARGEST_HEAP < int.from_bytes(heap[1], "little") <= size:
                    raise WeightsError(
                        f"names in HDF5 must have at most {LONGEST_NAME} letters. Received: longer texts"
                    )
            before = block[-15:]


def _datasets(root: h5py.Group) -> list[str]:
    """The paths of all datasets below. A group that is in itself is nested too deep."""
    paths: list[str] = []
    links = 0

    # What HDF5 knows of an object, such as its address, it does not ask for: adding up the sizes of a damaged group, it
    # may go round in circles for ever (seen in HDF5 1.14).
    def visit(group: h5py.Group, prefix: str, depth: int) -> None:
        nonlocal links
        links += len(group)
        if depth > DEEPEST:
            raise WeightsError(f"HDF5 must not be nested deeper than {DEEPEST}. Received: {prefix!r}")
        if links > 3 * MOST_TENSORS:  # each layer has two groups
            raise WeightsError(f"HDF5 must have at most {MOST_TENSORS:,} tensors. Received: more")
        for name in group:
            if isinstance(child := _child(group, name), h5py.Group):
                visit(child, f"{prefix}{name}/", depth + 1)
            else:
                paths.append(f"{prefix}{name}")

    visit(root, "", 0)
    return paths


def _child(group: h5py.Group, name: str) -> h5py.Group | h5py.Dataset:
    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
        raise WeightsError(f"HDF5 links to other places are not followed. Received: {group.name!r}, {name!r}")
    return group[name]


def _group(group: h5py.Group, name: str) -> h5py.Group:
    child = _child(group, name)
    if not isinstance(child, h5py.Group):
        raise WeightsError(f"{name!r} must be an HDF5 group. Received: a {type(child).__name__}")
    return child


def _tensor(root: h5py.Group, path: str) -> Tensor:
    dataset = root[path]
    if not isinstance(dataset, h5py.Dataset) or dataset.shape is None:
        raise WeightsError(f"{path!r} must be an HDF5 dataset with a shape. Received: another thing")
    if dataset.external or dataset.is_virtual:
        raise WeightsError(f"HDF5 data in other files is not read. Received: {path!r}")
    # HDF5 inflates a compressed chunk to whatever size it has, not to the size it declares; Keras compresses nothing.
    if dataset.id.get_create_plist().get_nfilters():
        raise WeightsError(f"compressed HDF5 is not read. Received: {path!r}")
    if dataset.chunks and math.prod(dataset.chunks) > max(dataset.size, 2**18):
        raise WeightsError(f"HDF5 chunks must not be larger than the tensor. Received: {path!r}, {dataset.chunks}")
    if dataset.id.get_storage_size() < dataset.size * dataset.id.get_type().get_size():
        raise WeightsError(f"{path!r} must have all its values in the file. Received: fewer")
    return Tensor(tuple(dataset.shape), dataset.dtype.name, lambda: root[path][()])
