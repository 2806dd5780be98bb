"""Pickles like those of torch, built instruction by instruction, so that they can also be invalid or malicious."""

import pickle
import struct


class Code(bytes):
    """Pickle instructions that put one object on the stack."""


def code(value):  # noqa: PLR0911
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


def long_tuple(part, count):
    """Instructions for a tuple that repeats one item, without making that tuple here."""
    return Code(b"(" + code(part) * count + b"t")


def long_list(part, count):
    """Instructions for a list that repeats one item, without making that list here."""
    return Code(b"](" + code(part) * count + b"e")


def program(value):
    return b"\x80\2" + code(value) + b"."


def named(module, name):
    return Code(f"c{module}\n{name}\n".encode())


def call(module, name, *arguments):
    return Code(named(module, name) + code(arguments) + b"R")


def storage(key, array, legacy=False, count=None, kind=None):
    kinds = {"float32": "Float", "float64": "Double", "int8": "Char", "bool": "Bool", "complex64": "ComplexFloat"}
    kinds |= {"float16": "Half", "bfloat16": "BFloat16"}
    kind = named("torch", f"{kind or kinds[array.dtype.name]}Storage")
    return Code(code(("storage", kind, key, "cpu", array.size if count is None else count) + (None,) * legacy) + b"Q")


def tensor(key, array, legacy=False, offset=0, shape=None, strides=None, **storage_options):
    strides = tuple(stride // array.itemsize for stride in array.strides) if strides is None else strides
    shape = array.shape if shape is None else shape
    hooks = call("collections", "OrderedDict")
    view = (storage(key, array, legacy, **storage_options), offset, shape, strides, False, hooks)
    return call("torch._utils", "_rebuild_tensor_v2", *view)
