"""The attack corpus: files that `load_weights` must refuse, each made by a function `(folder, network) -> path`.

`python -m tests.hostile FOLDER` makes and loads them one after the other, in a process of its own because some would
end it, and writes a line of JSON for each: what was said, and what it cost. `test_hostile.py` looks at the lines.
"""

import bz2
import dataclasses
import functools
import gc
import hashlib
import io
import json
import lzma
import math
import os
import pickle
import re
import struct
import sys
import time
import zipfile
import zlib
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import h5py
import keras
import numpy as np

import keras_resnet as kr
from keras_resnet.weights import Checkpoint
from tests.conftest import randomise

CASES = {}
HARMLESS = set()
CANARY = "canary"  # what the code in some files would make
TRUNCATIONS = 50
FLIPS = 10


def network(depths=(1, 1), block=kr.residual_block, filters=(8, 16)):
    """A tiny one; its variables take 22 KB."""
    model = kr.ResNet(depths, block, filters=filters, stem=kr.stems.cifar, input_shape=(16, 16, 3), classes=10)
    randomise(model, np.random.default_rng(len(depths) + filters[0]))
    return model


def values(model):
    """The numbers of a network by `layer/variable`."""
    return {f"{layer.name}/{weight.name}": np.array(weight) for layer in model.layers for weight in layer.weights}


def case(name):
    """Adds what it decorates to the corpus."""

    def add(function):
        assert name not in CASES, name
        CASES[name] = function
        return function

    return add


def harmless(name):
    """Adds a file that is odd, and right: it loads, with the network's very numbers."""

    def add(function):
        HARMLESS.add(name)
        return case(name)(function)

    return add


# --- Writers: from values by name to a file of each format, as its own library writes it -------------------------------


def write_keras_2(path, arrays):
    layers = by_layer(arrays)
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [layer.encode() for layer in layers]
        for layer, variables in layers.items():
            group = file.create_group(layer)
            group.attrs["weight_names"] = [f"{layer}/{name}:0".encode() for name in variables]
            for name, array in variables.items():
                group[f"{layer}/{name}:0"] = array
    return path


def write_keras_3(path, arrays):
    with h5py.File(path, "w") as file:
        file.create_group("vars")
        for number, (layer, variables) in enumerate(by_layer(arrays).items()):
            group = file.create_group(f"layers/layer_{number}/vars")
            group.attrs["name"] = layer
            for index, array in enumerate(variables.values()):
                group[str(index)] = array
    return path


def write_keras_zip(path, arrays):
    inner = write_keras_3(path.with_name("inner.h5"), arrays).read_bytes()
    return write_zip(path, keras_members(inner))


def keras_members(inner):
    return [Member("metadata.json", b"{}"), Member("config.json", b"{}"), Member("model.weights.h5", inner)]


def write_npz(path, arrays):
    return write_zip(path, [Member(f"{name}.npy", npy(array)) for name, array in arrays.items()])


def write_safetensors(path, arrays):
    names = {"float32": "F32", "float64": "F64", "float16": "F16", "int8": "I8", "bool": "BOOL", "complex64": "C64"}
    header, end = {}, 0
    for name, array in arrays.items():
        shape, start, end = list(array.shape), end, end + array.nbytes
        header[name] = {"dtype": names[array.dtype.name], "shape": shape, "data_offsets": [start, end]}
    return write_safetensors_raw(path, header, b"".join(array.tobytes() for array in arrays.values()))


def write_safetensors_raw(path, header, body, length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + body)
    return path


def write_torch(path, arrays):
    pickled = {name: tensor(str(key), array) for key, (name, array) in enumerate(arrays.items())}
    return write_torch_raw(path, pickled, arrays.values())


def write_torch_raw(path, state, arrays, changes=()):
    return write_zip(path, torch_members(state, arrays), *changes)


def torch_members(state, arrays):
    pickled = state if isinstance(state, bytes) else program(state)
    return [
        Member("archive/data.pkl", pickled),
        Member("archive/byteorder", b"little"),
        *(Member(f"archive/data/{key}", array.tobytes()) for key, array in enumerate(arrays)),
        Member("archive/version", b"3\n"),
    ]


def write_legacy(path, arrays):
    pickled = {name: tensor(str(key), array, legacy=True) for key, (name, array) in enumerate(arrays.items())}
    return write_legacy_raw(path, pickled, arrays.values())


def write_legacy_raw(path, state, arrays, counts=None, system=None):
    sizes = {"short": 2, "int": 4, "long": 4}
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": sizes} if system is None else system
    pickled = state if isinstance(state, bytes) else program(state)
    # Those that are referred to, as torch lists them.
    kept = {str(key): array for key, array in enumerate(arrays) if code(str(key)) + code("cpu") in pickled}
    parts = [program(0x1950A86A20F9469CFC6C), program(1001), program(system), pickled, program(list(kept))]
    parts += [struct.pack("<q", (counts or {}).get(key, array.size)) + array.tobytes() for key, array in kept.items()]
    path.write_bytes(b"".join(parts))
    return path


def by_layer(arrays):
    layers = {}
    for name, array in arrays.items():
        layer, variable = name.split("/")
        layers.setdefault(layer, {})[variable] = array
    return layers


WRITERS = {
    "keras 2 h5": (".h5", write_keras_2),
    "weights.h5": (".weights.h5", write_keras_3),
    "keras": (".keras", write_keras_zip),
    "npz": (".npz", write_npz),
    "safetensors": (".safetensors", write_safetensors),
    "torch": (".pt", write_torch),
    "torch legacy": (".pth", write_legacy),
}


def write(kind, folder, arrays):
    ending, writer = WRITERS[kind]
    return writer(folder / f"model{ending}", arrays)


# --- ZIP and npy, with lies ---------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Member:
    """A member of an archive; what is None is told truly."""

    name: str
    data: bytes  # as it is stored
    method: int = zipfile.ZIP_STORED
    size: int | None = None
    crc: int | None = None
    flags: int = 0
    packed: int | None = None
    offset: int | None = None


def deflated(name, data, **lies):
    packed = zlib.compressobj(wbits=-15)
    data, size, crc = packed.compress(data) + packed.flush(), len(data), zlib.crc32(data)
    return Member(name, data, zipfile.ZIP_DEFLATED, **{"size": size, "crc": crc, **lies})


def write_zip(path, members, directory=None, end=None, comment=b"", insert=b""):
    out, entries = bytearray(), bytearray()
    for member in members:
        name = member.name.encode()
        size = len(member.data) if member.size is None else member.size
        packed = len(member.data) if member.packed is None else member.packed
        crc = zlib.crc32(member.data) if member.crc is None else member.crc
        common = struct.pack("<HHHHHIII", 20, member.flags, member.method, 0, 33, crc, packed, size)
        common += struct.pack("<HH", len(name), 0)
        offset = len(out) if member.offset is None else member.offset
        entries += b"PK\1\2" + struct.pack("<H", 20) + common + struct.pack("<HHHII", 0, 0, 0, 0, offset) + name
        out += b"PK\3\4" + common + name + member.data
    entries = directory if directory is not None else bytes(entries)
    count = min(len(members), 0xFFFF)
    tail = struct.pack("<HHHHII", 0, 0, count, count, len(entries), len(out)) if end is None else end
    path.write_bytes(bytes(out) + entries + insert + b"PK\5\6" + tail + struct.pack("<H", len(comment)) + comment)
    return path


def npy(array, **lies):
    out = io.BytesIO()
    np.lib.format.write_array(out, array, allow_pickle=True)
    data = out.getvalue()
    if not lies:
        return data
    header = {"descr": array.dtype.str, "fortran_order": False, "shape": array.shape} | lies
    return npy_raw(repr(header).encode(), data[10 + int.from_bytes(data[8:10], "little") :])


def npy_raw(header, body, version=(1, 0), length=None):
    length = len(header) if length is None else length
    return b"\x93NUMPY" + bytes(version) + struct.pack("<H" if version == (1, 0) else "<I", length) + header + body


def zeros_deflated(mebibytes, wbits=-15):
    """Deflated zeros, made in no time."""
    packer = zlib.compressobj(wbits=-15)
    block = packer.compress(bytes(2**20)) + packer.flush(zlib.Z_FULL_FLUSH)
    body = block * mebibytes + b"\3\0"
    return body if wbits < 0 else b"\x78\x9c" + body + b"\0\0\0\0"


# --- Pickles, as torch writes them, instruction by instruction ----------------------------------------------------------


class Code(bytes):
    """Instructions that leave one thing on the stack."""


def code(value):
    """The instructions that make a value."""
    match value:
        case Code():
            return bytes(value)
        case None:
            return b"N"
        case bool():
            return b"\x88" if value else b"\x89"
        case int():
            return pickle.dumps(value, 2)[2:-1]
        case float():
            return b"G" + struct.pack(">d", value)
        case str():
            return b"X" + struct.pack("<I", len(value.encode())) + value.encode()
        case tuple():
            return b"(" + b"".join(map(code, value)) + b"t"
        case list():
            return b"](" + b"".join(map(code, value)) + b"e"
        case dict():
            return b"}(" + b"".join(code(part) for item in value.items() for part in item) + b"u"
    raise TypeError(value)


def program(value):
    return b"\x80\2" + code(value) + b"."


def named(module, name):
    return Code(f"c{module}\n{name}\n".encode())


def call(module, name, *arguments):
    return Code(named(module, name) + code(arguments) + b"R")


def storage(key, array, legacy=False, count=None, kind=None):
    kinds = {"float32": "Float", "float64": "Double", "int8": "Char", "bool": "Bool", "complex64": "ComplexFloat"}
    kind = named("torch", f"{kind or kinds[array.dtype.name]}Storage")
    return Code(code(("storage", kind, key, "cpu", array.size if count is None else count) + (None,) * legacy) + b"Q")


def tensor(key, array, legacy=False, offset=0, shape=None, strides=None, **of_storage):
    strides = tuple(stride // array.itemsize for stride in array.strides) if strides is None else strides
    shape = array.shape if shape is None else shape
    hooks = call("collections", "OrderedDict")
    view = (storage(key, array, legacy, **of_storage), offset, shape, strides, False, hooks)
    return call("torch._utils", "_rebuild_tensor_v2", *view)


# --- Every format: another network, wrong numbers, wrong types, a part missing, a bit flipped ---------------------------

FIRST, MIDDLE, LAST = "conv1_conv/kernel", "conv3_block1_1_bn/moving_mean", "predictions/bias"


def with_number(kind, key, number, folder, model):
    arrays = values(model)
    arrays[key].flat[-1] = number
    return write(kind, folder, arrays)


def with_types(kind, keys, dtype, folder, model):
    arrays = values(model)
    return write(kind, folder, arrays | {key: arrays[key].astype(dtype) for key in keys or arrays})


def with_overflow(kind, folder, model):
    arrays = {name: array.astype("float64") for name, array in values(model).items()}
    arrays[LAST][-1] = 1e39
    return write(kind, folder, arrays)


def of_another(kind, change, folder, model):
    return write(kind, folder, change(values(model)))


def without(*keys):
    return lambda arrays: {name: array for name, array in arrays.items() if name not in keys}


def of_network(**arguments):
    other = functools.cache(lambda: values(network(**arguments)))
    return lambda arrays: other()


OTHERS = {
    "deeper": of_network(depths=(2, 1)),
    "shallower": of_network(depths=(1,), filters=(8,)),
    "wider": of_network(filters=(8, 24)),
    "of another block": of_network(block=kr.bottleneck_block),
    "without its last tensor": without(LAST),
    "without its first tensor": without(FIRST),
    "without a layer": without(*(f"conv2_block1_2_bn/{name}" for name in ("gamma", "beta", "moving_mean"))),
    "with a layer more": lambda arrays: arrays | {"more_conv/kernel": arrays[FIRST]},
    "with a head of other features": lambda arrays: arrays | {"predictions/kernel": np.zeros((17, 10), "float32")},
    "with a transposed kernel": lambda arrays: arrays | {"predictions/kernel": arrays["predictions/kernel"].T.copy()},
    "with an axis more": lambda arrays: arrays | {MIDDLE: arrays[MIDDLE][None]},
    "empty": lambda arrays: {},
}


def truncated(kind, number, folder, model):
    path = write(kind, folder, values(model))
    data = path.read_bytes()
    point = np.random.default_rng(0).choice(np.arange(1, len(data)), TRUNCATIONS, replace=False)[number]
    path.write_bytes(data[:point])
    return path


def flipped_in_values(kind, number, folder, model):
    """A bit of the numbers, which a ZIP archive's checksums cover; HDF5, safetensors and old torch have none."""
    arrays = values(model)
    path = write(kind, folder, arrays)
    data, rng = bytearray(path.read_bytes()), np.random.default_rng(number)
    array = arrays[rng.choice([name for name, array in arrays.items() if array.size > 8])]
    data[data.index(array.tobytes()) + rng.integers(array.nbytes)] ^= 1 << rng.integers(8)
    path.write_bytes(data)
    return path


def flipped_under_a_hash(kind, number, folder, model):
    path = write(kind, folder, values(model))
    data, rng = bytearray(path.read_bytes()), np.random.default_rng(number)
    good = checkpoint(path)
    data[rng.integers(len(data))] ^= 1 << rng.integers(8)
    path.write_bytes(data)
    return good


def checkpoint(path):
    """The file at a path as it is now, as a row of the table would have it."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return dataclasses.replace(Checkpoint("", path.name, str(path)), hash=f"sha256:{digest}")


for kind in WRITERS:
    for key in (FIRST, MIDDLE, LAST):
        for number in (math.nan, math.inf, -math.inf):
            case(f"{kind}: {number} in {key}")(functools.partial(with_number, kind, key, number))
    negative = "conv3_block1_2_bn/moving_variance"
    case(f"{kind}: a negative variance")(functools.partial(with_number, kind, negative, -0.1))
    case(f"{kind}: float64 beyond float32")(functools.partial(with_overflow, kind))
    for dtype in ("int8", "bool", "complex64"):
        case(f"{kind}: {dtype} in the last tensor")(functools.partial(with_types, kind, [LAST], dtype))
    case(f"{kind}: int8 throughout")(functools.partial(with_types, kind, None, "int8"))
    for name, change in OTHERS.items():
        case(f"{kind}: {name}")(functools.partial(of_another, kind, change))
    for number in range(TRUNCATIONS):
        case(f"{kind}: truncated at point {number}")(functools.partial(truncated, kind, number))
    for number in range(FLIPS):
        case(f"{kind}: bit flip {number} under a hash")(functools.partial(flipped_under_a_hash, kind, number))
        if kind in ("npz", "keras", "torch"):
            case(f"{kind}: bit flip {number} in the values")(functools.partial(flipped_in_values, kind, number))


# --- HDF5 ---------------------------------------------------------------------------------------------------------------


def hdf5_case(name):
    """A case for the three kinds of file that are HDF5: `change(file, path of the last tensor)` after it is written."""

    def add(change):
        def make(kind, folder, model):
            ending, writer = WRITERS[kind]
            path = writer(folder / f"model{ending}", values(model))
            layers = len(by_layer(values(model)))
            where = "predictions/predictions/bias:0" if kind == "keras 2 h5" else f"layers/layer_{layers - 1}/vars/1"
            inner = path.with_name("inner.h5") if kind == "keras" else path
            with h5py.File(inner, "r+") as file:
                change(file, where)
            return write_zip(path, keras_members(inner.read_bytes())) if kind == "keras" else path

        for kind in ("keras 2 h5", "weights.h5", "keras"):
            case(f"{kind}: {name}")(functools.partial(make, kind))
        return change

    return add


def replaced(file, where, **arguments):
    """Another dataset in the place of one, of the same shape and type unless told otherwise."""
    old = file[where]
    arguments = {"shape": old.shape, "dtype": old.dtype} | arguments
    del file[where]
    return file.create_dataset(where, **arguments)


@hdf5_case("a soft link")
def _(file, where):
    file.move(where, "elsewhere")
    file[where] = h5py.SoftLink("/elsewhere")


@hdf5_case("a soft link to nothing")
def _(file, where):
    del file[where]
    file[where] = h5py.SoftLink("/nowhere")


@hdf5_case("an external link")
def _(file, where):
    with h5py.File(f"{file.filename}.other", "w") as other:
        other["bias"] = file[where][()]
    del file[where]
    file[where] = h5py.ExternalLink(f"{file.filename}.other", "/bias")


@hdf5_case("a layer by an external link")
def _(file, where):
    layer = where.split("/")[0]
    with h5py.File(f"{file.filename}.other", "w") as other:
        file.copy(layer, other)
    del file[layer]
    file[layer] = h5py.ExternalLink(f"{file.filename}.other", f"/{layer}")


@hdf5_case("a link to itself")
def _(file, where):
    del file[where]
    file[where] = h5py.SoftLink(f"/{where}")


@hdf5_case("external storage")
def _(file, where):
    other = Path(f"{file.filename}.raw")
    other.write_bytes(file[where][()].tobytes())
    replaced(file, where, external=[(str(other), 0, 40)])


@hdf5_case("external storage in /etc/passwd")
def _(file, where):
    replaced(file, where, external=[("/etc/passwd", 0, 40)])


@hdf5_case("a virtual dataset")
def _(file, where):
    layout = h5py.VirtualLayout(file[where].shape, file[where].dtype)
    layout[:] = h5py.VirtualSource("." if "elsewhere" in file else f"{file.filename}.other", "bias", file[where].shape)
    del file[where]
    file.create_virtual_dataset(where, layout)


for name, arguments in {
    "a shape bomb of one chunk": {"shape": (2**40,), "chunks": (2**20,), "fillvalue": 1},
    "a shape bomb without chunks": {"shape": (2**38,)},
    "a shape bomb in many axes": {"shape": (2**12, 2**12, 2**12, 2**12), "chunks": (1, 1, 1, 2**10)},
    "a shape that can grow": {"shape": (2**30,), "maxshape": (None,), "chunks": (2**16,)},
    "no data, of a contiguous tensor": {},
    "no data, of a tensor in chunks": {"chunks": (10,)},
    "no data but a value to fill in": {"chunks": (10,), "fillvalue": 0.5},
    "a chunk of 3 GB": {"chunks": (800_000_000,), "maxshape": (None,), "fillvalue": 0.5},
    "an empty dataspace": {"shape": None},
    "a scalar": {"shape": (), "data": np.float32(1)},
    "numbers of 80 bits": {"dtype": np.longdouble, "data": np.zeros(10, np.longdouble)},
    "texts": {"dtype": "S4", "data": np.full(10, b"1.0")},
    "texts of any length": {"dtype": h5py.string_dtype(), "data": ["1.0"] * 10},
    "references": {"dtype": h5py.ref_dtype, "data": np.full(10, h5py.Reference(), h5py.ref_dtype)},
    "an enumeration": {"dtype": h5py.enum_dtype({"one": 1}), "data": np.ones(10, "int32")},
    "opaque bytes": {"dtype": "V4", "data": np.zeros(10, "V4")},
    "a record for each number": {"dtype": None, "data": np.zeros(10, [("a", "<f4"), ("b", "<f4")])},
    "an array of numbers in a record": {"dtype": None, "shape": (1,), "data": np.zeros(1, [("a", "<f4", (10,))])},
    "deflated": {"chunks": (10,), "compression": "gzip", "data": np.zeros(10, "float32")},
    "lzf": {"chunks": (10,), "compression": "lzf", "data": np.zeros(10, "float32")},
    "shuffled": {"chunks": (10,), "shuffle": True, "data": np.zeros(10, "float32")},
    "scaled and offset": {"chunks": (10,), "scaleoffset": 2, "data": np.zeros(10, "float32")},
}.items():

    @hdf5_case(name)
    def _(file, where, arguments=arguments):
        replaced(file, where, **arguments)


@hdf5_case("a chunk of the right size that inflates to 50 MB")
def _(file, where):
    dataset = replaced(file, where, chunks=(10,), compression="gzip")
    dataset.id.write_direct_chunk((0,), zeros_deflated(50, wbits=15))


@hdf5_case("half of the chunks")
def _(file, where):
    dataset = replaced(file, where, chunks=(5,))
    dataset[:5] = 1


@hdf5_case("a group in the place of the last tensor")
def _(file, where):
    del file[where]
    file.create_group(where)


@hdf5_case("a cycle of groups in the place of the last tensor")
def _(file, where):
    del file[where]
    group = file.create_group(where)
    group["up"] = file["/"]
    group["self"] = group


@hdf5_case("groups nested 2,000 deep")
def _(file, where):
    group = file[where].parent
    for _ in range(2000):
        group = group.create_group("g")


@hdf5_case("a tensor more")
def _(file, where):
    file[f"{where}9"] = np.zeros(10, "float32")


@hdf5_case("the same tensor twice")
def _(file, where):
    layer = file[where].parent
    if "name" in layer.attrs:
        file.copy(layer.parent, file["layers"], name="again")
    else:
        file[f"{where.split('/')[0]}/again/bias:0"] = np.zeros(10, "float32")


@hdf5_case("70,000 tensors of one name each")
def _(file, where):
    one, group = file[where], file[where].parent
    for number in range(70_000):
        group[f"n{number}"] = one


@hdf5_case("a layer's name with line breaks and escapes")
def _(file, where):
    group = file[where].parent
    if "name" in group.attrs:
        group.attrs["name"] = "predictions\n\x1b[31mrun me\x07"
    else:
        file.move(where.split("/")[0], "predictions\n\x1b[31mrun me")


@hdf5_case("a layer's name of 60,000 letters")
def _(file, where):
    group = file[where].parent
    if "name" in group.attrs:
        group.attrs["name"] = "p" * 60_000
    else:
        file.move(where.split("/")[0], "p" * 60_000)


@hdf5_case("a name that is no UTF-8")
def _(file, where):
    group = file[where].parent
    if "name" in group.attrs:
        group.attrs["name"] = np.bytes_(b"\xff\xfe\xfd")
    else:
        file.move(where.split("/")[0].encode(), b"\xff\xfe\xfd")


def hdf5_file_case(name, kind="weights.h5"):
    """A case for one kind of HDF5 file: `change(path)` of the file as it is written."""

    def add(change):
        def make(folder, model):
            path = write(kind, folder, values(model))
            change(path)
            return path

        return case(f"{kind}: {name}")(make)

    return add


@hdf5_file_case("a name of 4 MB")
def _(path):
    with h5py.File(path, "r+") as file:
        file["layers/layer_0/vars"].attrs["name"] = "p" * 2**22


for name, attribute in {
    "a list for a name": ["conv1_conv"] * 1000,
    "a number for a name": 7,
    "no value for a name": h5py.Empty("f"),
    "a name of another layer": "predictions",
}.items():

    @hdf5_file_case(name)
    def _(path, attribute=attribute):
        with h5py.File(path, "r+") as file:
            file["layers/layer_0/vars"].attrs["name"] = attribute


@hdf5_file_case("layers without names and in another order")
def _(path):
    with h5py.File(path, "r+") as file:
        for group in file["layers"].values():
            del group["vars"].attrs["name"]


@hdf5_file_case("numbers of variables with a gap")
def _(path):
    with h5py.File(path, "r+") as file:
        file.move("layers/layer_1/vars/2", "layers/layer_1/vars/7")


for kind in ("keras 2 h5", "weights.h5"):

    @hdf5_file_case("only the signature", kind)
    def _(path):
        path.write_bytes(path.read_bytes()[:8] + bytes(500))

    @hdf5_file_case("an end beyond the file", kind)
    def _(path):
        data = bytearray(path.read_bytes())
        data[data.index(struct.pack("<Q", len(data)))] += 8
        path.write_bytes(data)

    @hdf5_file_case("data beyond the end", kind)
    def _(path):
        with h5py.File(path) as file:
            where = "predictions/predictions/bias:0" if "layer_names" in file.attrs else "layers/layer_12/vars/1"
            offset = file[where].id.get_offset()
        data = path.read_bytes()
        path.write_bytes(data.replace(struct.pack("<QQ", offset, 40), struct.pack("<QQ", 2**40, 40)))

    @hdf5_file_case("no layers", kind)
    def _(path):
        with h5py.File(path, "w") as file:
            file["numbers"] = np.zeros(5)


@hdf5_file_case("the model's group by a soft link", "keras 2 h5")
def _(path):
    with h5py.File(path, "r+") as file:
        file["model_weights"] = h5py.SoftLink("/")


@hdf5_file_case("a tensor for the model's group", "keras 2 h5")
def _(path):
    with h5py.File(path, "r+") as file:
        file["model_weights"] = np.zeros(5)


# --- ZIP: npz, .keras and torch -----------------------------------------------------------------------------------------

ZIPPED = {
    "npz": lambda model: [Member(f"{name}.npy", npy(array)) for name, array in values(model).items()],
    "keras": None,
    "torch": lambda model: torch_members(
        {name: tensor(str(key), array) for key, (name, array) in enumerate(values(model).items())},
        values(model).values(),
    ),
}


def members_of(kind, folder, model):
    """The members of a good file, and which of them a lie is told of."""
    if kind == "keras":
        members = keras_members(write_keras_3(folder / "inner.h5", values(model)).read_bytes())
        return members, 2
    members = ZIPPED[kind](model)
    return members, len(members) - (2 if kind == "torch" else 1)


def zip_case(name, **end):
    """A case for the three kinds of file that are ZIP archives: `change(members, index)` before it is written."""

    def add(change):
        def make(kind, folder, model):
            members, index = members_of(kind, folder, model)
            told = change(members, index)
            return write_zip(folder / f"model{WRITERS[kind][0]}", members, **(told or {}))

        for kind in ZIPPED:
            case(f"{kind}: {name}")(functools.partial(make, kind))
        return change

    return add


@zip_case("a member that inflates to 2 GB")
def _(members, index):
    members[index] = Member(members[index].name, zeros_deflated(2000), zipfile.ZIP_DEFLATED, 2000 * 2**20)


@zip_case("a member that inflates to 2 GB and says it is small")
def _(members, index):
    size = len(members[index].data)
    members[index] = Member(members[index].name, zeros_deflated(2000), zipfile.ZIP_DEFLATED, size)


@zip_case("a member that says it inflates to 1 TB")
def _(members, index):
    members[index] = deflated(members[index].name, members[index].data, size=0xFFFFFFF0)


@zip_case("bz2")
def _(members, index):
    data = members[index].data
    members[index] = Member(members[index].name, bz2.compress(data), zipfile.ZIP_BZIP2, len(data), zlib.crc32(data))


@zip_case("a bomb of bz2")
def _(members, index):
    packed = bz2.compress(bytes(2**25))
    members[index] = Member(members[index].name, packed, zipfile.ZIP_BZIP2, len(members[index].data))


@zip_case("a bomb of lzma")
def _(members, index):
    filters = [{"id": lzma.FILTER_LZMA1, "preset": 0}]
    properties = struct.pack("<BBH", 9, 4, 5) + b"\x5d" + struct.pack("<I", 2**22)
    packed = properties + lzma.compress(bytes(2**25), lzma.FORMAT_RAW, filters=filters)
    members[index] = Member(members[index].name, packed, zipfile.ZIP_LZMA, len(members[index].data))


@zip_case("an unknown method")
def _(members, index):
    members[index].method = 98


@zip_case("encrypted")
def _(members, index):
    members[index].flags = 1


@zip_case("a size that is too small")
def _(members, index):
    members[index].size = len(members[index].data) - 4


@zip_case("a size that is too large")
def _(members, index):
    members[index].size = len(members[index].data) + 4


@zip_case("a packed size beyond the file")
def _(members, index):
    members[index].packed = members[index].size = 2**31


@zip_case("a wrong checksum")
def _(members, index):
    members[index].crc = 7


@zip_case("two members of one name")
def _(members, index):
    members.append(dataclasses.replace(members[index]))


@zip_case("two members in one place")
def _(members, index):
    members.append(dataclasses.replace(members[index], name="other.npy", offset=0))


@zip_case("a member within another")
def _(members, index):
    header = 30 + len(members[index].name)
    start = sum(30 + len(member.name) + len(member.data) for member in members[:index])
    members.append(Member("o.npy", b"", offset=start + header))


@zip_case("a member beyond the end")
def _(members, index):
    members[index].offset = 2**31


@zip_case("a name with line breaks and escapes")
def _(members, index):
    members[index].name = f"\x1b[31m\n{members[index].name}"


@zip_case("a name of 60,000 letters")
def _(members, index):
    members[index].name = "n" * 60_000 + members[index].name


@zip_case("a name that leaves the folder")
def _(members, index):
    members[index].name = f"../../../{members[index].name}"


@zip_case("no members that matter")
def _(members, index):
    members[:] = [Member("hello.txt", b"hello")]


@zip_case("a table of contents of 300,000 members")
def _(members, index):
    return {"directory": table_of_contents()}


@functools.cache
def table_of_contents():
    common = struct.pack("<HHHHHHIIIHHHHHII", 20, 20, 0, 0, 0, 33, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0)
    return b"".join(b"PK\1\2" + common + b"%08x" % number for number in range(300_000))


@zip_case("a large table of contents behind a small one")
def _(members, index):
    """The record of ZIP64 comes first for Python, and says how large it is."""
    directory = table_of_contents()
    offset = sum(30 + len(member.name) + len(member.data) for member in members)
    sizes = struct.pack("<QQQQ", 300_000, 300_000, len(directory), offset)
    record = b"PK\6\6" + struct.pack("<QHHII", 44, 45, 45, 0, 0) + sizes
    locator = b"PK\6\7" + struct.pack("<IQI", 0, offset + len(directory), 1)
    end = struct.pack("<HHHHII", 0, 0, 1, 1, 100, 100)
    return {"directory": directory, "insert": record + locator, "end": end}


@case("npz: an end within the end")
def _(folder, model):
    """Searched from behind for its signature, the end is found in its own field for the size, of 101 MB."""
    size = struct.unpack("<I", b"PK\5\6")[0]
    entry = struct.pack("<HHHHHHIIIHHHHHII", 20, 20, 0, 0, 0, 33, 0, 0, 0, 8, 65535, 65535, 0, 0, 0, 0)
    entries = (b"PK\1\2" + entry + bytes(8 + 2 * 65535)) * (size // (46 + 8 + 2 * 65535))
    members, _ = members_of("npz", folder, model)
    end = struct.pack("<HHHH", 0, 0, 1, 1) + b"PK\5\6" + bytes(4)
    return write_zip(folder / "model.npz", members, directory=entries + bytes(size - len(entries)), end=end)


@zip_case("a table of contents beyond the file")
def _(members, index):
    return {"end": struct.pack("<HHHHII", 0, 0, 1, 1, 2**31, 0)}


@zip_case("a table of contents of nothing")
def _(members, index):
    return {"directory": b""}


@zip_case("a comment with an end in it")
def _(members, index):
    return {"comment": b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, 1, 1, 46, 0, 0)}


# --- npz ----------------------------------------------------------------------------------------------------------------


class Runs:
    """Pickled as a call of `os.system`."""

    def __reduce__(self):
        return os.system, (f"touch {CANARY}",)


def npz_case(name, array_of):
    """A case of an npz file, the last of whose arrays is what `array_of(array)` gives."""

    @case(f"npz: {name}")
    def _(folder, model):
        members, index = members_of("npz", folder, model)
        members[index].data = array_of(values(model)[LAST])
        return write_zip(folder / "model.npz", members)


NPY_HEADERS = {
    "a longer shape than its data": {"shape": (10_000,)},
    "a shorter shape than its data": {"shape": (5,)},
    "a shape of 4 TB": {"shape": (10**12,)},
    "a shape that overflows to the right size": {"shape": (2**62, 2**2, 10)},
    "a negative shape": {"shape": (-10,)},
    "a shape of two negatives": {"shape": (-5, -2)},
    "a shape that is no tuple": {"shape": 10},
    "a shape of a billion billion axes": {"shape": (10,) + (1,) * 2000},
    "another type than its data": {"descr": "<f8"},
    "a type of objects": {"descr": "|O"},
    "a record type": {"descr": [("a", "<f4")]},
    "a type of arrays": {"descr": ("<f4", (10,)), "shape": ()},
    "a type of no bytes": {"descr": "|V0"},
    "a type of 2 GB": {"descr": "|V2000000000"},
    "texts": {"descr": "<U1"},
    "times": {"descr": "<M8[s]", "shape": (5,)},
    "no such type": {"descr": "<f7"},
    "Fortran's order of a longer shape": {"fortran_order": True, "shape": (10, 10)},
    "an order that is no order": {"fortran_order": "both"},
    "another field": {"more": 1},
}
for name, lies in NPY_HEADERS.items():
    npz_case(name, functools.partial(npy, **lies))

npz_case("objects", lambda array: npy(np.array([Runs()] * 10, object)))
npz_case("objects and numbers", lambda array: npy(array, descr=[("a", "<f2"), ("b", "|O")]))
npz_case("no header", lambda array: array.tobytes())
npz_case("an empty member", lambda array: b"")
npz_case("a header that runs", lambda array: npy_raw(f"__import__('os').system('touch {CANARY}')".encode(), b""))
npz_case("a header of nested brackets", lambda array: npy_raw(b"(" * 9000, b""))
npz_case("a header beyond the file", lambda array: npy_raw(b"{}", b"", length=60_000))
npz_case("a header of version 2", lambda array: npy_raw(npy(array)[10:128], array.tobytes(), (2, 0)))
npz_case("a header of version 3", lambda array: npy_raw(npy(array)[10:128], array.tobytes(), (3, 0)))
npz_case("a header of version 9", lambda array: npy_raw(npy(array)[10:128], array.tobytes(), (9, 0)))
npz_case("a header that is no text", lambda array: npy_raw(b"\xff" * 118, array.tobytes()))
npz_case("a header of only a part", lambda array: npy_raw(b"{'descr': '<f4'}", array.tobytes()))


@case("npz: a header of 1 GB that is deflated")
def _(folder, model):
    members, index = members_of("npz", folder, model)
    start = b"\x93NUMPY\2\0" + struct.pack("<I", 1000 * 2**20)
    packer = zlib.compressobj(wbits=-15)
    packed = packer.compress(start) + packer.flush(zlib.Z_FULL_FLUSH) + zeros_deflated(1000)
    size = len(start) + 1000 * 2**20
    members[index] = Member(members[index].name, packed, zipfile.ZIP_DEFLATED, size)
    return write_zip(folder / "model.npz", members)


@case("npz: a member that is no array")
def _(folder, model):
    members, index = members_of("npz", folder, model)
    return write_zip(folder / "model.npz", [*members, Member("readme.txt", b"read me")])


@case("npz: 25,000 arrays")
def _(folder, model):
    array = npy(np.zeros(1, "float32"))
    return write_zip(folder / "model.npz", [Member(f"{number}.npy", array) for number in range(25_000)])


# --- .keras -------------------------------------------------------------------------------------------------------------

for name, inner in {
    "weights that are no HDF5": b"hello",
    "weights that are empty": b"",
    "weights that are a pickle": pickle.dumps(Runs(), 2),
    "weights that are a ZIP archive": b"PK\3\4" + bytes(100),
}.items():

    @case(f"keras: {name}")
    def _(folder, model, inner=inner):
        return write_zip(folder / "model.keras", keras_members(inner))


@case("keras: a configuration and no weights")
def _(folder, model):
    return write_zip(folder / "model.keras", keras_members(b"")[:2])


@case("keras: a real model of other layers")
def _(folder, model):
    keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)]).save(folder / "model.keras")
    return folder / "model.keras"


# --- safetensors --------------------------------------------------------------------------------------------------------


def safetensors_case(name, length=None):
    """A case of a safetensors file: `change(header, body)` gives the header, or the header and the body."""

    def add(change):
        @case(f"safetensors: {name}")
        def make(folder, model):
            path = write("safetensors", folder, values(model))
            data = path.read_bytes()
            start = 8 + int.from_bytes(data[:8], "little")
            header, body = json.loads(data[8:start]), data[start:]
            told = change(header, body)
            header, body = told if isinstance(told, tuple) else (told if told is not None else header, body)
            return write_safetensors_raw(path, header, body, length)

        return change

    return add


for name, lies in {
    "offsets beyond the file": {"data_offsets": [21600, 10**12]},
    "offsets that go back": {"data_offsets": [40, 0]},
    "negative offsets": {"data_offsets": [-40, 0]},
    "offsets in the middle of others": {"data_offsets": [0, 40]},
    "offsets that leave a hole": {"data_offsets": [21604, 21644]},
    "three offsets": {"data_offsets": [0, 40, 80]},
    "offsets in fractions": {"data_offsets": [0.5, 40.5]},
    "a shape larger than its data": {"shape": [10**12]},
    "a shape smaller than its data": {"shape": [5]},
    "a shape that overflows": {"shape": [2**40, 2**40]},
    "a shape that overflows to the right size": {"shape": [2**62, 4, 10]},
    "a negative shape": {"shape": [-10]},
    "a shape of 10,000 axes": {"shape": [10] + [1] * 10_000},
    "a shape of words": {"shape": ["ten"]},
    "whole numbers": {"dtype": "I32"},
    "numbers of 8 bits": {"dtype": "F8_E4M3", "shape": [40]},
    "no such type": {"dtype": "F33"},
    "a type that is code": {"dtype": f"__import__('os').system('touch {CANARY}')"},
    "no type": {"dtype": None},
}.items():

    @safetensors_case(name)
    def _(header, body, lies=lies):
        header[LAST] |= lies


for name, text in {
    "no JSON": b"{hello",
    "half a JSON": b'{"a": {"dtype": "F32", "shape": [10',
    "a list": b"[]",
    "brackets nested 100,000 deep": b'{"a":' + b"[" * 100_000,
    "a number of a million digits": b'{"a":' + b"9" * 1_000_000 + b"}",
    "no UTF-8": b'{"\xff\xfe": {}}',
    "metadata that is no text": b'{"__metadata__": {"a": [1, 2]}}',
    "a tensor that is null": b'{"a": null}',
    "line breaks and escapes": b'{"a\\n\\u001b[31m": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}}',
}.items():

    @safetensors_case(f"a header of {name}")
    def _(header, body, text=text):
        return text


for name, length in {"0": 0, "1": 1, "beyond the file": 10**6, "4 GB": 2**32, "2**63 bytes": 2**63}.items():
    safetensors_case(f"a header with a length of {name}", length)(lambda header, body: None)


@safetensors_case("two tensors of one name")
def _(header, body):
    text = json.dumps(header)
    return text.replace(json.dumps(FIRST), json.dumps(LAST)).encode()


@safetensors_case("one tensor said twice")
def _(header, body):
    return (json.dumps(header)[:-1] + f", {json.dumps(LAST)}: {json.dumps(header[LAST])}}}").encode()


@safetensors_case("bytes after the end")
def _(header, body):
    return header, body + bytes(4)


@safetensors_case("a name of 100,000 letters")
def _(header, body):
    header["n" * 100_000] = header.pop(LAST)


@safetensors_case("a name with line breaks and escapes")
def _(header, body):
    header["predictions/\n\x1b[31mbias\0"] = header.pop(LAST)


@safetensors_case("60,000 tensors")
def _(header, body):
    return {str(n): {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for n in range(60_000)}, b""


@safetensors_case("a header of 5 MB")
def _(header, body):
    header["__metadata__"] = {"text": " " * 5_000_000}


# --- torch, both kinds --------------------------------------------------------------------------------------------------


def torch_case(name, **file):
    """A case for both kinds of torch file: `change(state, legacy)` alters the state dict, or gives what is pickled."""

    def add(change):
        def make(kind, folder, model):
            legacy = kind == "torch legacy"
            arrays = values(model)
            state = {name: tensor(str(key), array, legacy) for key, (name, array) in enumerate(arrays.items())}
            told = change(state, legacy)
            state = state if told is None else told
            write_raw = write_legacy_raw if legacy else write_torch_raw
            return write_raw(folder / f"model{WRITERS[kind][0]}", state, list(arrays.values()))

        for kind in ("torch", "torch legacy"):
            case(f"{kind}: {name}")(functools.partial(make, kind))
        return change

    return add


LAST_KEY, BIAS = "31", np.zeros(10, "float32")  # of the storage with the last tensor

RUNNING = {
    "os.system": call("os", "system", f"touch {CANARY}"),
    "posix.system": call("posix", "system", f"touch {CANARY}"),
    "builtins.eval": call("builtins", "eval", f"__import__('os').system('touch {CANARY}')"),
    "builtins.exec": call("__builtin__", "exec", f"import os; os.system('touch {CANARY}')"),
    "subprocess": call("subprocess", "Popen", ["touch", CANARY]),
    "a tensor": call("torch._utils", "_rebuild_tensor_v2", call("os", "system", f"touch {CANARY}"), 0, (10,), (1,)),
    "numpy": call("numpy", "load", "/etc/passwd"),
    "a persistent identifier": Code(code(("storage", call("os", "system", f"touch {CANARY}"), "0", "cpu", 1)) + b"Q"),
    "setstate": Code(named("torch.nn", "Linear") + b")\x81" + code({"x": call("os", "system", "true")}) + b"b"),
    "an old instruction": Code(f"(X\x05\0\0\0truexios\nsystem\n".encode()),
    "a name in parts": Code(b"\x8c\x02os\x8c\x06system\x93" + code((f"touch {CANARY}",)) + b"R"),
    "a dotted name": Code(b"\x8c\x0bcollections\x8c\x16OrderedDict.__init__.x\x93" + code(()) + b"R"),
    "an extension": Code(b"\x82\1"),
    "torch.load": call("torch", "load", "other.pt"),
    "torch.hub": call("torch.hub", "load", "owner/repository"),
    "getattr": call("builtins", "getattr", named("os", "system"), "__call__"),
}
for name, running in RUNNING.items():

    @torch_case(f"a pickle that would run {name}")
    def _(state, legacy, running=running):
        state["epoch"] = running

    @torch_case(f"a pickle that is a call of {name}")
    def _(state, legacy, running=running):
        return program(running)


for name, taking in {
    "a bytearray of 4 GB": call("builtins", "bytearray", 2**32),
    "a text of 1 GB, by hex": Code(
        code("a" * 8)
        + b"q\0"
        + b"0"
        + functools.reduce(lambda inner, _: bytes(call("_codecs", "encode", Code(inner), "hex")), range(27), b"h\0")
    ),
    "a range in a set": call("builtins", "set", call("builtins", "range", 10**9)),
    "numpy.zeros": call("numpy", "zeros", 10**9),
    "torch.zeros": call("torch", "zeros", 10**9),
    "a tensor by its class": call("torch", "Tensor", 10**9),
    "a dict of colliding numbers": {(2**61 - 1) * number: number for number in range(30_000)},
}.items():

    @torch_case(f"a pickle that takes {name}")
    def _(state, legacy, taking=taking):
        state[LAST] = taking


for name, instructions in {
    "a million lists": b"]" * 1_040_000,
    "two million lists": b"]" * 2_000_000,
    "lists nested 300,000 deep": b"]" * 300_000 + b"a" * 299_999,
    "tuples nested 300,000 deep": b")" + b"\x85" * 300_000,
    "a million marks": b"(" * 1_040_000,
    "a memo of 800,000": b"]" + b"".join(b"r" + struct.pack("<I", n) for n in range(800_000)),
    "a memo with an index of 4 billion": b"]r\xff\xff\xff\xff",
    "a text that says it has 4 GB": b"X\xff\xff\xff\xff" + b"a" * 100,
    "a text that says it has 2**62 bytes": b"\x8d" + struct.pack("<Q", 2**62),
    "a bytearray that says it has 2**62 bytes": b"\x96" + struct.pack("<Q", 2**62),
    "a number of 2 GB": b"\x8b\xff\xff\xff\x7f",
    "a frame of 2**62 bytes": b"\x95" + struct.pack("<Q", 2**62) + b"N",
    "nothing": b"",
    "unknown instructions": b"\xff\xfe\xfd",
    "a stack that is empty": b"R",
    "a memo that is empty": b"h\7",
    "a mark that is not there": b"t",
    "no end": b"N" * 10 + b"}" * 10,
    "16 MB of nothing": b"N" * 2**24,
}.items():

    @torch_case(f"a pickle of {name}")
    def _(state, legacy, whole=b"\x80\2" + instructions + b"." * (name != "no end")):
        return whole


for name, view in {
    "4 TB by stride 0": {"shape": (2**40,), "strides": (0,)},
    "the right shape by stride 0": {"strides": (0,), "count": 1},
    "a view with a negative stride": {"strides": (-1,), "offset": 9},
    "a view with wide strides": {"strides": (2**40,)},
    "a view beyond its storage": {"offset": 5},
    "a view far beyond its storage": {"offset": 2**40},
    "a view before its storage": {"offset": -1},
    "a view with fewer strides than axes": {"shape": (2, 5), "strides": (1,)},
    "a view with fractions": {"shape": (10.0,)},
    "a view with texts": {"shape": ("10",)},
    "a view of 4,000 axes": {"shape": (10,) + (1,) * 4000, "strides": (1,) * 4001},
    "a view of numbers of 600 digits": {"shape": (10**600,), "strides": (1,)},
    "a storage that says it has 4 TB": {"count": 2**40},
    "a storage that says it has 2**62 numbers": {"count": 2**62},
    "a storage that says it has less": {"count": 5},
    "a storage of a negative length": {"count": -10},
    "a storage of another type": {"kind": "Double"},
    "a storage of no such type": {"kind": "Quad"},
    "a quantized storage": {"kind": "QInt8"},
}.items():

    @torch_case(name)
    def _(state, legacy, view=view):
        state[LAST] = tensor(LAST_KEY, BIAS, legacy, **view)


@torch_case("a storage that is not there")
def _(state, legacy):
    state[LAST] = tensor("99", BIAS, legacy)


@torch_case("a storage with a path for a key")
def _(state, legacy):
    state[LAST] = tensor("../../../../etc/passwd", BIAS, legacy)


@torch_case("a storage with a number for a key")
def _(state, legacy):
    state[LAST] = tensor(31, BIAS, legacy)


for name, made in {
    "a sparse tensor": call("torch._utils", "_rebuild_sparse_tensor", None, (None, None, (10,))),
    "a quantized tensor": call("torch._utils", "_rebuild_qtensor", None, 0, (10,), (1,), None, False, None),
    "a meta tensor": call("torch._utils", "_rebuild_meta_tensor_no_storage", None, (10,), (1,), False),
    "a nested tensor": call("torch._utils", "_rebuild_nested_tensor", None, None, None, None),
    "a tensor by NumPy": call("torch._utils", "_rebuild_device_tensor_from_numpy", None, None, "cpu", False),
    "a tensor of a class of its own": call("torch._tensor", "_rebuild_from_type_v2", None, None, (), None),
    "a parameter of nothing": call("torch._utils", "_rebuild_parameter", None, True, None),
    "a number for a tensor": 3.5,
    "a list for a tensor": [1, 2, 3],
    "a storage for a tensor": storage(LAST_KEY, BIAS),
}.items():

    @torch_case(name)
    def _(state, legacy, made=made):
        state[LAST] = made


for name, wrapped in {
    "a list of the state": lambda state: [state],
    "a tuple of the state": lambda state: (state,),
    "a tensor alone": lambda state: state[LAST],
    "a text alone": lambda state: "conv1",
    "nothing alone": lambda state: None,
    "a wrapper that is not known": lambda state: {"ema": {"weights": state}},
    "a wrapper of a list": lambda state: {"state_dict": [state]},
    "a wrapper in itself": lambda state: Code(b"}q\0(" + code("state_dict") + b"h\0u"),
    "wrappers nested 1,000 deep": lambda state: functools.reduce(
        lambda inner, _: {"state_dict": inner}, range(300), state
    ),
    "numbers for names": lambda state: dict(enumerate(state.values())),
    "a name with line breaks and escapes": lambda state: {"\n\x1b[31m\0": state.pop(LAST)} | state,
    "a name of 100,000 letters": lambda state: {"module." * 14_000: state.pop(LAST)} | state,
    "a name of torch twice": lambda state: {"fc.bias": state[LAST], "module.fc.bias": state[LAST]},
}.items():

    @torch_case(name)
    def _(state, legacy, wrapped=wrapped):
        return program(wrapped(state))


@case("torch: deflated")
def _(folder, model):
    members, _ = members_of("torch", folder, model)
    return write_zip(folder / "model.pt", [deflated(member.name, member.data) for member in members])


@case("torch: two pickles")
def _(folder, model):
    members, _ = members_of("torch", folder, model)
    return write_zip(folder / "model.pt", [*members, Member("other/data.pkl", members[0].data)])


@case("torch: of a big-endian machine")
def _(folder, model):
    members, _ = members_of("torch", folder, model)
    members[1].data = b"big"
    return write_zip(folder / "model.pt", members)


@case("torch: a script")
def _(folder, model):
    pickled = Code(b"c__torch__.models\nResNet\n)\x81" + code({"training": True}) + b"b")
    members = [Member("m/data.pkl", program(pickled)), Member("m/code/__torch__/models.py", b"import os")]
    return write_zip(folder / "model.pt", members)


@case("torch legacy: of a big-endian machine")
def _(folder, model):
    arrays = values(model)
    state = {name: tensor(str(key), array, True) for key, (name, array) in enumerate(arrays.items())}
    return write_legacy_raw(folder / "model.pth", state, list(arrays.values()), system={"little_endian": False})


@case("torch legacy: a storage of another length than it is said to have")
def _(folder, model):
    arrays = list(values(model).values())
    state = {name: tensor(str(key), array, True) for key, (name, array) in enumerate(values(model).items())}
    return write_legacy_raw(folder / "model.pth", state, arrays, counts={LAST_KEY: 2**40})


@case("torch legacy: bytes after the end")
def _(folder, model):
    path = write("torch legacy", folder, values(model))
    path.write_bytes(path.read_bytes() + bytes(8))
    return path


@case("torch legacy: a pickle and no more")
def _(folder, model):
    (folder / "model.pth").write_bytes(pickle.dumps(Runs(), 2))
    return folder / "model.pth"


@case("torch legacy: a pickle of NumPy arrays")
def _(folder, model):
    (folder / "model.pth").write_bytes(pickle.dumps(values(model), 2))
    return folder / "model.pth"


# --- What is no file of weights -----------------------------------------------------------------------------------------

for name, data in {
    "empty": b"",
    "one byte": b"\x80",
    "a web page": b"<!DOCTYPE html><html><body>404</body></html>",
    "a JPEG": b"\xff\xd8\xff\xe0\0\x10JFIF" + bytes(100),
    "a text": b"conv1 1.0 2.0\n" * 100,
    "zeros": bytes(10_000),
    "noise": np.random.default_rng(0).bytes(10_000),
    "a tar archive": b"storages\0" + bytes(248) + b"ustar" + bytes(1000),
    "gzip": b"\x1f\x8b\x08" + bytes(100),
    "a pickle of protocol 0": b"cos\nsystem\n(S'touch canary'\ntR.",
    "a script": b"#!/bin/sh\ntouch canary\n",
    "PK and nothing": b"PK",
    "Git's pointer to a large file": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 102\n",
}.items():

    @case(f"no weights: {name}")
    def _(folder, model, data=data):
        (folder / "model.bin").write_bytes(data)
        return folder / "model.bin"


@case("no weights: a missing file")
def _(folder, model):
    return folder / "model.h5"


@case("no weights: a folder")
def _(folder, model):
    return folder


@case("no weights: a pipe")
def _(folder, model):
    os.mkfifo(folder / "model.h5")
    return folder / "model.h5"


@case("no weights: a device")
def _(folder, model):
    return Path("/dev/zero")


@case("no weights: a link to nothing")
def _(folder, model):
    (folder / "model.h5").symlink_to(folder / "nothing.h5")
    return folder / "model.h5"


@case("no weights: a link to itself")
def _(folder, model):
    (folder / "model.h5").symlink_to(folder / "model.h5")
    return folder / "model.h5"


# --- The process that loads them ----------------------------------------------------------------------------------------


def memory(field):
    """Bytes of this process that /proc/self/status knows as `field`."""
    return int(re.search(rf"{field}:\s+(\d+)", Path("/proc/self/status").read_text())[1]) * 1024


def attack(name, folder, model, other):
    """What loading a case says, and costs in bytes and seconds."""
    folder.mkdir()
    source = CASES[name](folder, other)
    before = [np.array(weight).tobytes() for weight in model.weights]
    gc.collect()
    trim()
    Path("/proc/self/clear_refs").write_text("5")  # VmHWM, the most that was in memory, starts anew
    resident, start, error = memory("VmRSS"), time.monotonic(), None
    try:
        kr.load_weights(model, source)
    except Exception as caught:
        error = caught
    return {
        "name": name,
        "seconds": time.monotonic() - start,
        "peak": memory("VmHWM") - resident,
        "kind": type(error).__name__ if error is not None else None,
        "is_value_error": isinstance(error, ValueError),
        "message": str(error),
        "names": [str(source.source if isinstance(source, Checkpoint) else source), folder.name],
        "kept": before == [np.array(weight).tobytes() for weight in model.weights],
    }


def trim():
    """Gives memory back that is free but held, which what comes next could otherwise take unseen."""
    import ctypes

    ctypes.CDLL("libc.so.6").malloc_trim(0)


def main(folder, *names):
    os.chdir(folder)
    model, other = network(), network()
    for kind in WRITERS:  # what the libraries load and keep at their first use is no case's
        kr.load_weights(model, write(kind, Path(folder), values(other)))
    randomise(model, np.random.default_rng(1))
    gc.collect()
    gc.freeze()  # what there is so far need not be gone through for each case
    for number, name in enumerate(names or CASES):
        print(json.dumps(attack(name, Path(folder) / str(number), model, other)), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
