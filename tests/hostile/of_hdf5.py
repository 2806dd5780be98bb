"""HDF5: wrong or malicious links, shapes, chunks and names."""

import functools
import struct
from pathlib import Path

import h5py
import numpy as np

from tests.hostile.archives import write_zip, zeros_deflated
from tests.hostile.corpus import case, values
from tests.hostile.writers import WRITERS, by_layer, keras_members, write


def hdf5_case(name):
    """A case for the three kinds of HDF5 file. `change(file, path of the last tensor)` changes the written file."""

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
    """Replaces a dataset by a new one. The shape and type stay the same unless `arguments` has others."""
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


def moved(file, where, to):
    """Makes a tensor have its values at another place of the file."""
    start = file[where].id.get_offset()
    name = file.filename
    file.close()
    data = Path(name).read_bytes()
    layout = struct.pack("<QQ", start, 40)
    assert data.count(layout) == 1
    Path(name).write_bytes(data.replace(layout, struct.pack("<QQ", to, 40)))


@hdf5_case("values of another tensor")
def _(file, where):
    layer = file[where].parent
    other = next(other for name, other in layer.items() if name != where.rpartition("/")[2])
    moved(file, where, other.id.get_offset())


@hdf5_case("values within those of another tensor")
def _(file, where):
    layer = file[where].parent
    other = next(other for name, other in layer.items() if name != where.rpartition("/")[2])
    moved(file, where, other.id.get_offset() + 100)


@hdf5_case("a chunk of another tensor")
def _(file, where):
    dataset = replaced(file, where, chunks=(10,), data=np.ones(10, "float32"))
    chunk = dataset.id.get_chunk_info(0).byte_offset
    layer = file[where].parent
    file.flush()
    name = next(name for name in layer if name != where.rpartition("/")[2])
    start = layer[name].id.get_offset()
    path = file.filename
    file.close()
    data = Path(path).read_bytes()
    index = data.rindex(b"TREE\x01")
    assert data.count(struct.pack("<Q", chunk), index, index + 100) == 1
    Path(path).write_bytes(data[:index] + data[index:].replace(struct.pack("<Q", chunk), struct.pack("<Q", start), 1))


@hdf5_case("the header of a layer for values")
def _(file, where):
    moved(file, where, h5py.h5g.get_objinfo(file[where].parent.id).objno[0] - 8)


for name, signature in {"a tree": b"TREE", "a table of symbols": b"SNOD", "a heap": b"HEAP"}.items():

    @hdf5_case(f"{name} for values")
    def _(file, where, signature=signature):
        file.flush()
        at = Path(file.filename).read_bytes().index(signature, 200)
        moved(file, where, at - 4)


@hdf5_case("the beginning of the file for values")
def _(file, where):
    moved(file, where, 0)


@hdf5_case("61,000 tensors of one name each")
def _(file, where):
    one, group = file[where], file[where].parent
    for number in range(61_000):
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
    """A case for one kind of HDF5 file. `change(path)` changes the written file."""

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
