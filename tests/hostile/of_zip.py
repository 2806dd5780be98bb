"""ZIP archives (npz, `.keras` and torch): decompression bombs, and wrong sizes, offsets and names."""

import bz2
import dataclasses
import functools
import lzma
import os
import pickle
import struct
import zipfile
import zlib

import keras
import numpy as np

from tests.hostile.archives import Member, deflated, npy, npy_raw, write_zip, zeros_deflated
from tests.hostile.corpus import CANARY, LAST, case, values
from tests.hostile.pickled import tensor
from tests.hostile.writers import WRITERS, keras_members, torch_members, write_keras_3

ZIPPED = {
    "npz": lambda model: [Member(f"{name}.npy", npy(array)) for name, array in values(model).items()],
    "keras": None,
    "torch": lambda model: torch_members(
        {name: tensor(str(key), array) for key, (name, array) in enumerate(values(model).items())},
        values(model).values(),
    ),
}


def members_of(kind, folder, model):
    """The members of a good file, and the index of the member that a case changes."""
    if kind == "keras":
        members = keras_members(write_keras_3(folder / "inner.h5", values(model)).read_bytes())
        return members, 2
    members = ZIPPED[kind](model)
    return members, len(members) - (2 if kind == "torch" else 1)


def zip_case(name, **end):
    """A case for the three kinds of ZIP archive. `change(members, index)` changes the members before writing."""

    def add(change):
        def make(kind, folder, model):
            members, index = members_of(kind, folder, model)
            result = change(members, index)
            return write_zip(folder / f"model{WRITERS[kind][0]}", members, **(result or {}))

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
    packed = bz2.compress(bytes(2**22))
    members[index] = Member(members[index].name, packed, zipfile.ZIP_BZIP2, len(members[index].data))


@zip_case("a bomb of lzma")
def _(members, index):
    filters = [{"id": lzma.FILTER_LZMA1, "preset": 0}]
    properties = struct.pack("<BBH", 9, 4, 5) + b"\x5d" + struct.pack("<I", 2**22)
    packed = properties + lzma.compress(bytes(2**22), lzma.FORMAT_RAW, filters=filters)
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


@zip_case("a member's name with line breaks and escapes")
def _(members, index):
    members[index].name = f"\x1b[31m\n{members[index].name}"


@zip_case("a member's name of 60,000 letters")
def _(members, index):
    members[index].name = "n" * 60_000 + members[index].name


@zip_case("a member's name that leaves the folder")
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
    """Python uses the ZIP64 record first, and that record has the large size."""
    directory = table_of_contents()
    offset = sum(30 + len(member.name) + len(member.data) for member in members)
    sizes = struct.pack("<QQQQ", 300_000, 300_000, len(directory), offset)
    record = b"PK\6\6" + struct.pack("<QHHII", 44, 45, 45, 0, 0) + sizes
    locator = b"PK\6\7" + struct.pack("<IQI", 0, offset + len(directory), 1)
    end = struct.pack("<HHHHII", 0, 0, 1, 1, 100, 100)
    return {"directory": directory, "insert": record + locator, "end": end}


@case("npz: an end within the end")
def _(folder, model):
    """A backward search finds the signature in the size field of the end record, where it means a size of 101 MB."""
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


class RunsCode:
    """An object whose pickle is a call of `os.system`."""

    def __reduce__(self):
        return os.system, (f"touch {CANARY}",)


def npz_case(name, make_data):
    """A case for npz. The data of the last array is `make_data(array)`."""

    @case(f"npz: {name}")
    def _(folder, model):
        members, index = members_of("npz", folder, model)
        members[index].data = make_data(values(model)[LAST])
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
for name, wrong_fields in NPY_HEADERS.items():
    npz_case(name, functools.partial(npy, **wrong_fields))

npz_case("objects", lambda array: npy(np.array([RunsCode()] * 10, object)))
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
    members, _ = members_of("npz", folder, model)
    return write_zip(folder / "model.npz", [*members, Member("readme.txt", b"read me")])


@case("npz: 20,001 arrays")
def _(folder, model):
    array = npy(np.zeros(1, "float32"))
    return write_zip(folder / "model.npz", [Member(f"{number}.npy", array) for number in range(20_001)])


for name, inner in {
    "weights that are no HDF5": b"hello",
    "weights that are empty": b"",
    "weights that are a pickle": pickle.dumps(RunsCode(), 2),
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
