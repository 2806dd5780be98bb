"""HDF5 files: those of Keras 2 and keras.applications, which have layer names, and Keras 3's `.weights.h5`."""

from __future__ import annotations

import bisect
import collections
import contextlib
import itertools
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
LARGEST_HEAP = 2**16  # bytes; the heaps that Keras writes for names have 4,096
# What HDF5 itself stores: the superblock, a header for each group and tensor, and indexes (B-trees, symbol tables and
# heaps; II and III of the specification), which their fields distinguish from numbers.
SUPERBLOCK, HEADER = 48, 16  # bytes that each of them has at least
ADDRESS = rb"(?:\xff{8}|.{5}\x00{3})"
INDEXES = {
    b"TREE": re.compile(rb"TREE[\x00\x01][\x00-\x0f].." + 2 * ADDRESS, re.DOTALL),
    b"SNOD": re.compile(rb"SNOD\x01\x00"),
    b"HEAP": re.compile(rb"HEAP\x00{4}"),
    b"GCOL": re.compile(rb"GCOL\x01\x00{3}"),
}
LONGEST_INDEX = 23  # bytes of a pattern, without the first
MOST_PLACES = 500_000


@contextlib.contextmanager
def open_hdf5(path: Path, limit: int) -> Iterator[dict[str, Tensor]]:
    """The tensors of an HDF5 file by `layer/variable`."""
    with h5py.File(path, "r") as file:
        root = _group(file, "model_weights") if "model_weights" in file else file
        if "layer_names" in root.attrs or "layer_names0" in root.attrs:
            tensors = _by_layer(root)
            _check_places(file, path)
            yield tensors
        elif "layers" in file:
            _check_heaps(path)
            tensors = _by_group(_group(file, "layers"))
            _check_places(file, path)
            yield tensors
        else:
            raise WeightsError(
                "an HDF5 file must have the layers of a Keras model. Received: a file without layer_names and layers"
            )


def check_hdf5(path: Path) -> None:
    """Raises a `WeightsError` unless every tensor of an HDF5 file has its values in the file, at a place of its own."""
    with h5py.File(path, "r") as file:
        _check_heaps(path)
        for name in _datasets(file):
            _tensor(file, name)
        _check_places(file, path)


def _by_layer(root: h5py.Group) -> dict[str, Tensor]:
    """The tensors of a file of Keras 2: a group for each layer has variables with names, `conv1_conv/kernel:0`.

    Attributes list the same names. They are not read, because each name in them may be as long as the file.
    """
    paths = [(path, path.split("/"), path.split("/")[-1].split(":")[0]) for path in _datasets(root)]
    layers = collections.Counter((parts[0], variable) for _, parts, variable in paths)
    tensors: dict[str, Tensor] = {}
    for path, parts, variable in paths:
        # The group has the name of the layer. The group of a nested model has all of its layers, one level deeper.
        nested = layers[parts[0], variable] > 1
        key = f"{parts[-2] if nested else parts[0]}/{variable}"
        if key in tensors:
            raise WeightsError(f"an HDF5 file must have one tensor {key!r}. Received: two")
        tensors[key] = _tensor(root, path)
    return tensors


def _by_group(root: h5py.Group) -> dict[str, Tensor]:
    """The tensors of a file of Keras 3: a group `vars` for each layer has numbered variables and the layer's name."""
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
                raise WeightsError(f"an HDF5 file must have one layer {layer!r}. Received: two")
            tensors[f"{layer}/{name}"] = variable
    return tensors


def _variables(variables: list[Tensor]) -> tuple[str, ...]:
    if len(variables) == 4 and all(len(variable.shape) == 1 for variable in variables):
        return ("gamma", "beta", "moving_mean", "moving_variance")
    if len(variables) <= 2 and len(variables[0].shape) > 1:
        return ("kernel", "bias")
    return tuple(map(str, range(len(variables))))


def _layer(group: h5py.Group) -> str:
    # The first versions of Keras 3 wrote no names. A layer then has only its type and number, `conv2d_3`.
    if "name" not in group.attrs:
        return UNNAMED + group.parent.name.rsplit("/", 1)[-1]
    attribute = group.attrs.get_id("name")
    allowed = f"the HDF5 attribute 'name' must be a string of at most {LONGEST_NAME} bytes"
    if attribute.shape != ():
        raise WeightsError(f"{allowed}. Received: a value of shape {attribute.shape} in {group.name!r}")
    if attribute.dtype.itemsize > LONGEST_NAME:
        raise WeightsError(f"{allowed}. Received: {attribute.dtype.itemsize:,} bytes in {group.name!r}")
    name = group.attrs["name"]
    if not isinstance(name, str):
        raise WeightsError(f"{allowed}. Received: a {type(name).__name__} in {group.name!r}")
    return name


def _check_heaps(path: Path) -> None:
    """Raises an error if a heap, where HDF5 stores strings, is much longer than names.

    The length of a single string is not known before HDF5 reads it.
    """
    size = path.stat().st_size
    for _, block in _blocks(path, 15):
        for heap in HEAP.finditer(block):
            heap_size = int.from_bytes(heap[1], "little")
            if LARGEST_HEAP < heap_size <= size:
                raise WeightsError(
                    f"names in HDF5 must have at most {LONGEST_NAME} characters. Received: {heap_size:,} bytes of "
                    "strings in one heap"
                )


def _check_places(file: h5py.File, path: Path) -> None:
    """Raises an error if the values of a tensor overlap those of another one, or what HDF5 itself stores.

    Every tensor must have passed `_tensor`, so that its values are in the file.
    """
    places = _places(file)
    for (_, end, first), (start, _, second) in itertools.pairwise(places):
        if end > start:
            raise WeightsError(f"HDF5 must have each tensor at its own place. Received: {first} and {second} overlap")
    starts = [start for start, _, _ in places]
    for position, block in _blocks(path, LONGEST_INDEX):
        for signature, index in INDEXES.items():
            at = block.find(signature)
            while at >= 0:
                start, end, name = places[bisect.bisect_right(starts, position + at) - 1]
                if start <= position + at < end and index.match(block, at):
                    raise WeightsError(
                        f"HDF5 must have each tensor at its own place. Received: {name} and an index overlap"
                    )
                at = block.find(signature, at + 1)


def _places(file: h5py.File) -> list[tuple[int, int, str]]:
    """The first byte, the end and the name of all headers of groups and tensors, and of the values of all tensors."""
    places = [(0, SUPERBLOCK, "the beginning of the file")]

    def add(start: int, size: int, name: str) -> None:
        if len(places) > MOST_PLACES:
            raise WeightsError(f"HDF5 must have at most {MOST_PLACES:,} pieces. Received: more, for {name}")
        places.append((start, start + size, name))

    for path, is_dataset in _members(file):
        # This function asks for the address alone, see `_members`.
        header = h5py.h5g.get_objinfo(file.id, path.encode("utf-8", "surrogateescape")).objno[0]
        add(header, HEADER, f"the header of {path!r}")
        if is_dataset:
            dataset, name = file[path], repr(path)
            if dataset.chunks:
                dataset.id.chunk_iter(lambda chunk, name=name: add(chunk.byte_offset, chunk.size, name))
            elif (start := dataset.id.get_offset()) is not None:  # None: no values, or they are in the header
                add(start, dataset.id.get_storage_size(), name)
    return sorted(places)


def _blocks(path: Path, overlap: int) -> Iterator[tuple[int, bytes]]:
    """The position and the bytes of each block of a file; a block begins with the last bytes of the one before."""
    with path.open("rb") as file:
        position, before = 0, b""
        while block := file.read(BLOCK):
            yield position - len(before), before + block
            position += len(block)
            before = (before + block)[-overlap:]


def _datasets(root: h5py.Group) -> list[str]:
    """The paths of all datasets in a group and its subgroups."""
    return [path for path, is_dataset in _members(root) if is_dataset]


def _members(root: h5py.Group) -> list[tuple[str, bool]]:
    """The paths of everything in a group and its subgroups, and whether it is a dataset.

    A group that contains itself is nested too deep.
    """
    members: list[tuple[str, bool]] = []
    links = 0

    # This function does not ask HDF5 for information about an object, such as its address: HDF5 then adds up sizes, and
    # may never end if a group is damaged (seen in HDF5 1.14).
    def visit(group: h5py.Group, prefix: str, depth: int) -> None:
        nonlocal links
        links += len(group)
        if depth > DEEPEST:
            raise WeightsError(f"HDF5 groups must not be nested deeper than {DEEPEST}. Received: {prefix!r}")
        if links > 3 * MOST_TENSORS:  # each layer has two groups
            raise WeightsError(
                f"HDF5 must have at most {3 * MOST_TENSORS:,} groups and tensors. Received: at least {links:,}"
            )
        for name in group:
            child = _child(group, name)
            members.append((f"{prefix}{name}", not isinstance(child, h5py.Group)))
            if isinstance(child, h5py.Group):
                visit(child, f"{prefix}{name}/", depth + 1)

    visit(root, "", 0)
    return members


def _child(group: h5py.Group, name: str) -> h5py.Group | h5py.Dataset:
    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
        raise WeightsError(f"HDF5 must have no soft or external links. Received: {name!r} in {group.name!r}")
    return group[name]


def _group(group: h5py.Group, name: str) -> h5py.Group:
    child = _child(group, name)
    if not isinstance(child, h5py.Group):
        raise WeightsError(f"{name!r} must be an HDF5 group. Received: a {type(child).__name__}")
    return child


def _tensor(root: h5py.Group, path: str) -> Tensor:
    dataset = root[path]
    if not isinstance(dataset, h5py.Dataset) or dataset.shape is None:
        received = "no shape" if isinstance(dataset, h5py.Dataset) else f"a {type(dataset).__name__}"
        raise WeightsError(f"{path!r} must be an HDF5 dataset with a shape. Received: {received}")
    if dataset.external or dataset.is_virtual:
        raise WeightsError(f"HDF5 must have its data in the same file. Received: data in other files for {path!r}")
    # HDF5 unpacks a compressed chunk to its real size, whatever size is declared. Keras does not compress.
    if dataset.id.get_create_plist().get_nfilters():
        raise WeightsError(f"HDF5 must not be compressed. Received: {path!r} with a filter")
    if dataset.chunks and math.prod(dataset.chunks) > max(dataset.size, 2**18):
        raise WeightsError(f"HDF5 chunks must not be larger than the tensor. Received: {path!r}, {dataset.chunks}")
    stored, needed = dataset.id.get_storage_size(), dataset.size * dataset.id.get_type().get_size()
    if stored < needed:
        raise WeightsError(f"{path!r} must have {needed:,} bytes in the file. Received: {stored:,}")
    return Tensor(tuple(dataset.shape), dataset.dtype.name, lambda: root[path][()])
