"""Writers: each takes arrays by name and writes a file of one format, in the same form as the format's own library."""

import json
import struct

import h5py

from tests.hostile.archives import Member, npy, write_zip
from tests.hostile.pickled import code, program, tensor


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
    names |= {"bfloat16": "BF16"}
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
    pickled = state if type(state) is bytes else program(state)
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
    pickled = state if type(state) is bytes else program(state)
    # Only the storages that the pickle refers to, in the order in which torch lists them.
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
