"""Unusual but valid files, which must load. A check that refuses them is too strict."""

import json
import re
import struct
import zipfile

import h5py
import ml_dtypes
import numpy as np

from tests.hostile.archives import Member, deflated, write_zip, zeros_deflated
from tests.hostile.corpus import CANARY, LAST, harmless, under_its_hash, values
from tests.hostile.of_hdf5 import replaced
from tests.hostile.of_torch import torch_case
from tests.hostile.of_zip import members_of
from tests.hostile.pickled import Code, call, code, tensor
from tests.hostile.writers import WRITERS, write, write_legacy_raw, write_torch_raw

for kind in WRITERS:
    for dtype in ("float16", "float32", "float64"):

        @harmless(f"{kind}: {dtype}")
        def _(folder, model, kind=kind, dtype=dtype):
            return write(kind, folder, {name: array.astype(dtype) for name, array in values(model).items()})

    @harmless(f"{kind}: under its hash")
    def _(folder, model, kind=kind):
        return under_its_hash(write(kind, folder, values(model)))


for kind in ("safetensors", "torch", "torch legacy"):

    @harmless(f"{kind}: bfloat16")
    def _(folder, model, kind=kind):
        return write(kind, folder, {name: array.astype(ml_dtypes.bfloat16) for name, array in values(model).items()})


@harmless("keras 2 h5: lists of names that lie")
def _(folder, model):
    path = write("keras 2 h5", folder, values(model))
    with h5py.File(path, "r+") as file:
        file.attrs["layer_names"] = [b"conv1_conv", b"../../etc", b"not there"] * 100
        file["conv1_bn"].attrs["weight_names"] = [b"\xff" * 60_000]
    return path


@harmless("keras 2 h5: a list of 3,000 names of 1 MB each, in one place")
def _(folder, model):
    path = write("keras 2 h5", folder, values(model))
    with h5py.File(path, "r+") as file:
        file.attrs["one"] = "n" * 2**20
        file.attrs["layer_names"] = ["x"] * 3000
    data = path.read_bytes()
    # HDF5 stores a text of variable length as its length, the address of a heap, and an index into the heap.
    one = struct.pack("<IQI", 2**20, data.rindex(b"GCOL", 0, data.index(b"n" * 2**20)), 1)
    many = re.search(rb"(?:\x01\x00\x00\x00.{12}){3000}", data, re.DOTALL)
    path.write_bytes(data[: many.start()] + one * 3000 + data[many.end() :])
    return path


@harmless("keras 2 h5: in chunks")
def _(folder, model):
    path = write("keras 2 h5", folder, values(model))
    with h5py.File(path, "r+") as file:
        where = "predictions/predictions/bias:0"
        replaced(file, where, chunks=(3,), data=values(model)[LAST])
    return path


@harmless("keras 2 h5: in groups of the newest kind")
def _(folder, model):
    path, new = write("keras 2 h5", folder, values(model)), folder / "new.h5"
    with h5py.File(path) as old, h5py.File(new, "w", libver="latest") as file:
        for name in old:
            old.copy(name, file)
        file.attrs["layer_names"] = [name.encode() for name in old]
    return new


@harmless("keras 2 h5: as Keras 3 writes it, with all of the model")
def _(folder, model):
    import logging

    logging.disable(logging.WARNING)  # the warning that the format is old
    model.save(folder / "model.h5")
    logging.disable(logging.NOTSET)
    return folder / "model.h5"


@harmless("weights.h5: as Keras writes it")
def _(folder, model):
    model.save_weights(folder / "model.weights.h5")
    return folder / "model.weights.h5"


@harmless("keras: as Keras writes it")
def _(folder, model):
    model.save(folder / "model.keras")
    return folder / "model.keras"


@harmless("keras: with a configuration that would run code")
def _(folder, model):
    members, _ = members_of("keras", folder, model)
    members[1].data = json.dumps({"module": "os", "class_name": "system", "config": f"touch {CANARY}"}).encode()
    return write_zip(folder / "model.keras", members)


@harmless("keras: with a configuration that inflates to 2 GB")
def _(folder, model):
    members, _ = members_of("keras", folder, model)
    members[1] = Member("config.json", zeros_deflated(2000), zipfile.ZIP_DEFLATED, 2000 * 2**20)
    return write_zip(folder / "model.keras", members)


@harmless("keras: a good file, deflated")
def _(folder, model):
    members, _ = members_of("keras", folder, model)
    return write_zip(folder / "model.keras", [deflated(member.name, member.data) for member in members])


@harmless("npz: as NumPy writes it, deflated")
def _(folder, model):
    np.savez_compressed(folder / "model.npz", **values(model))
    return folder / "model.npz"


@harmless("npz: in Fortran's order, and of another byteorder")
def _(folder, model):
    arrays = {name: np.asfortranarray(array.astype(">f4")) for name, array in values(model).items()}
    np.savez(folder / "model.npz", **arrays)
    return folder / "model.npz"


@harmless("npz: with a comment")
def _(folder, model):
    members, _ = members_of("npz", folder, model)
    return write_zip(folder / "model.npz", members, comment=b"\x1b[31m hello")


@harmless("safetensors: as its library writes it")
def _(folder, model):
    from safetensors.numpy import save_file

    save_file(values(model), folder / "model.safetensors", metadata={"note": "\n\x1b[31m" * 1000})
    return folder / "model.safetensors"


for kind in ("torch", "torch legacy"):

    @harmless(f"{kind}: one storage for all, and a kernel that is transposed in it")
    def _(folder, model, kind=kind):
        legacy, kernel = kind == "torch legacy", "predictions/kernel"
        stored = {name: array.T if name == kernel else array for name, array in values(model).items()}
        whole, state, offset = np.concatenate([array.ravel() for array in stored.values()]), {}, 0
        for name, array in values(model).items():
            strides = [stride // 4 for stride in array.strides] if name != kernel else [1, 16]
            view = {"offset": offset, "shape": array.shape, "strides": tuple(strides)}
            state[name] = tensor("0", whole, legacy, **view)
            offset += array.size
        ending, write_raw = WRITERS[kind][0], write_legacy_raw if legacy else write_torch_raw
        return write_raw(folder / f"model{ending}", state, [whole])


@torch_case("wrapped, with other things beside", harmless)
def _(state, legacy):
    counter = call("collections", "Counter", {"a": 1})
    return {"state_dict": state, "epoch": 90, "args": None, "lr": 0.1, "steps": counter, 7: [1, (2, 3)]}


@torch_case("in a wrapper that is not known", harmless)
def _(state, legacy):
    return {"best": 0.9, "ema": {"weights": state}}


@torch_case("with parameters and attributes", harmless)
def _(state, legacy):
    ordered = call("collections", "OrderedDict")
    for name, value in state.items():
        state[name] = call("torch._utils", "_rebuild_parameter", value, True, ordered)
    items = code(state).removeprefix(b"}")
    return Code(ordered + items + code({"_metadata": {"": {"version": 1}}}) + b"b")


@torch_case("as Python 2 wrote it", harmless)
def _(state, legacy):
    return call("collections", "OrderedDict", [list(item) for item in state.items()])
