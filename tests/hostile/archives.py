"""Writers of ZIP archives and npy arrays whose headers may be wrong."""

import dataclasses
import io
import struct
import zipfile
import zlib

import numpy as np


@dataclasses.dataclass
class Member:
    """A member of an archive. A field that is None gets its correct value."""

    name: str
    data: bytes  # as it is stored
    method: int = zipfile.ZIP_STORED
    size: int | None = None
    crc: int | None = None
    flags: int = 0
    packed: int | None = None
    offset: int | None = None


def deflated(name, data, **wrong_fields):
    packed = zlib.compressobj(wbits=-15)
    data, size, crc = packed.compress(data) + packed.flush(), len(data), zlib.crc32(data)
    return Member(name, data, zipfile.ZIP_DEFLATED, **{"size": size, "crc": crc, **wrong_fields})


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


def npy(array, **wrong_fields):
    out = io.BytesIO()
    np.lib.format.write_array(out, array, allow_pickle=True)
    data = out.getvalue()
    if not wrong_fields:
        return data
    header = {"descr": array.dtype.str, "fortran_order": False, "shape": array.shape} | wrong_fields
    return npy_raw(repr(header).encode(), data[10 + int.from_bytes(data[8:10], "little") :])


def npy_raw(header, body, version=(1, 0), length=None):
    length = len(header) if length is None else length
    return b"\x93NUMPY" + bytes(version) + struct.pack("<H" if version == (1, 0) else "<I", length) + header + body


def zeros_deflated(mebibytes, wbits=-15):
    """Deflated zeros. The same compressed block is repeated, which is fast."""
    packer = zlib.compressobj(wbits=-15)
    block = packer.compress(bytes(2**20)) + packer.flush(zlib.Z_FULL_FLUSH)
    body = block * mebibytes + b"\3\0"
    return body if wbits < 0 else b"\x78\x9c" + body + b"\0\0\0\0"
