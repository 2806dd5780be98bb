"""Cases for every format: another network, wrong numbers, wrong types, a missing part, a flipped bit."""

import functools
import math

import numpy as np

import keras_resnet as kr
from tests.hostile.corpus import FIRST, LAST, MIDDLE, case, network, under_its_hash, values
from tests.hostile.writers import WRITERS, write

BOTH = ("kernel", "bias")
TRUNCATIONS = 20
FLIPS = 10


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


def with_change(kind, change, folder, model):
    return write(kind, folder, change(values(model)))


def without(*keys):
    return lambda arrays: {name: array for name, array in arrays.items() if name not in keys}


def weights_of(**arguments):
    other = functools.cache(lambda: values(network(**arguments)))
    return lambda arrays: other()


OTHERS = {
    "deeper": weights_of(depths=(2, 1)),
    "shallower": weights_of(depths=(1,), filters=(8,)),
    "wider": weights_of(filters=(8, 24)),
    "of another block": weights_of(block=kr.bottleneck_block),
    "without its last tensor": without(LAST),
    "without its first tensor": without(FIRST),
    "without a layer": without(*(f"conv2_block1_2_bn/{name}" for name in ("gamma", "beta", "moving_mean"))),
    "with a layer more": lambda arrays: arrays | {"more_conv/kernel": arrays[FIRST]},
    "with a head of other features": lambda arrays: arrays | {"predictions/kernel": np.zeros((17, 10), "float32")},
    "with a transposed kernel": lambda arrays: arrays | {"predictions/kernel": arrays["predictions/kernel"].T.copy()},
    "with an axis more": lambda arrays: arrays | {MIDDLE: arrays[MIDDLE][None]},
    "with a head by two names": lambda arrays: arrays | {f"probs/{n}": arrays[f"predictions/{n}"] for n in BOTH},
    "of two networks": lambda arrays: {f"{n}.{name}": array for n in "ab" for name, array in arrays.items()},
    "with another name for all layers": lambda arrays: {f"stack0_{name}": array for name, array in arrays.items()},
    "empty": lambda arrays: {},
}


def truncated(kind, number, folder, model):
    path = write(kind, folder, values(model))
    data = path.read_bytes()
    shortest, step = 1, (len(data) - 2) / (TRUNCATIONS - 1)  # equal steps; the longest lacks only the last byte
    path.write_bytes(data[: shortest + round(number * step)])
    return path


def flipped_in_values(kind, number, folder, model):
    """Flips a bit of the weights. ZIP archives have checksums; HDF5, safetensors and legacy torch files have none."""
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
    good = under_its_hash(path)
    data[rng.integers(len(data))] ^= 1 << rng.integers(8)
    path.write_bytes(data)
    return good


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
        case(f"{kind}: {name}")(functools.partial(with_change, kind, change))
    for number in range(TRUNCATIONS):
        case(f"{kind}: truncated at point {number}")(functools.partial(truncated, kind, number))
    for number in range(FLIPS):
        case(f"{kind}: bit flip {number} under a hash")(functools.partial(flipped_under_a_hash, kind, number))
        if kind in ("npz", "keras", "torch"):
            case(f"{kind}: bit flip {number} in the values")(functools.partial(flipped_in_values, kind, number))
