"""torch checkpoints, new and legacy: pickles that would run code or fill the memory, and invalid tensors."""

import functools
import pickle
import struct

import numpy as np

from tests.hostile.archives import Member, deflated, write_zip
from tests.hostile.corpus import CANARY, LAST, case, harmless, values
from tests.hostile.of_zip import RunsCode, members_of
from tests.hostile.pickled import Code, call, code, long_list, long_tuple, named, program, storage, tensor
from tests.hostile.writers import WRITERS, write, write_legacy_raw, write_torch_raw


def torch_case(name, case=case):
    """A case for both kinds of torch file. `change(state, legacy)` changes the state dict, or returns a new object."""

    def add(change):
        def make(kind, folder, model):
            legacy = kind == "torch legacy"
            arrays = values(model)
            state = {name: tensor(str(key), array, legacy) for key, (name, array) in enumerate(arrays.items())}
            result = change(state, legacy)
            state = state if result is None else result
            write_raw = write_legacy_raw if legacy else write_torch_raw
            return write_raw(folder / f"model{WRITERS[kind][0]}", state, list(arrays.values()))

        for kind in ("torch", "torch legacy"):
            case(f"{kind}: {name}")(functools.partial(make, kind))
        return change

    return add


LAST_KEY, BIAS = "31", np.zeros(10, "float32")  # the storage of the last tensor: its key, and an array of its size

CODE_RUNNING = {
    "os.system": call("os", "system", f"touch {CANARY}"),
    "posix.system": call("posix", "system", f"touch {CANARY}"),
    "builtins.eval": call("builtins", "eval", f"__import__('os').system('touch {CANARY}')"),
    "builtins.exec": call("__builtin__", "exec", f"import os; os.system('touch {CANARY}')"),
    "subprocess": call("subprocess", "Popen", ["touch", CANARY]),
    "a tensor": call("torch._utils", "_rebuild_tensor_v2", call("os", "system", f"touch {CANARY}"), 0, (10,), (1,)),
    "numpy": call("numpy", "load", "/etc/passwd"),
    "a persistent identifier": Code(code(("storage", call("os", "system", f"touch {CANARY}"), "0", "cpu", 1)) + b"Q"),
    "setstate": Code(named("torch.nn", "Linear") + b")\x81" + code({"x": call("os", "system", "true")}) + b"b"),
    "an old instruction": Code(b"(X\x05\0\0\0truexios\nsystem\n"),
    "a name in parts": Code(b"\x8c\x02os\x8c\x06system\x93" + code((f"touch {CANARY}",)) + b"R"),
    "a dotted name": Code(b"\x8c\x0bcollections\x8c\x16OrderedDict.__init__.x\x93" + code(()) + b"R"),
    "an extension": Code(b"\x82\1"),
    "torch.load": call("torch", "load", "other.pt"),
    "torch.hub": call("torch.hub", "load", "owner/repository"),
    "getattr": call("builtins", "getattr", named("os", "system"), "__call__"),
}
# What would run is the weights themselves, or an instruction that no checkpoint has; other objects are not read.
REFUSED = ("a tensor", "a persistent identifier", "an extension")

for name, malicious in CODE_RUNNING.items():

    @torch_case(f"a pickle that would run {name}", case=case if name in REFUSED else harmless)
    def _(state, legacy, malicious=malicious):
        state["epoch"] = malicious

    @torch_case(f"a pickle that is a call of {name}")
    def _(state, legacy, malicious=malicious):
        return program(malicious)


for name, expensive in {
    "a bytearray of 4 GB": call("builtins", "bytearray", 2**32),
    "a text of 1 GB, by hex": functools.reduce(
        lambda inner, _: call("_codecs", "encode", inner, "hex"), range(27), call("_codecs", "encode", "a" * 8, "utf-8")
    ),
    "one long list for many dicts": Code(
        b"]("
        + long_list(("a", 1), 100_000)
        + b"q\0"
        + (named("collections", "OrderedDict") + b"h\0\x85R") * 1000
        + b"e"
    ),
    "one long list for many sizes": Code(
        b"](" + long_list(1, 200_000) + b"q\0" + (named("torch", "Size") + b"h\0\x85R") * 1000 + b"e"
    ),
    "calls of many arguments": Code(
        b"](" + long_tuple(1, 200_000) + b"q\0" + (named("builtins", "set") + b"h\0R") * 1000 + b"e"
    ),
    "identifiers of many parts": Code(b"](" + long_tuple("storage", 200_000) + b"q\0" + b"h\0Q" * 1000 + b"e"),
    "a tensor of many axes": call(
        "torch._utils",
        "_rebuild_tensor_v2",
        storage(LAST_KEY, BIAS),
        0,
        long_tuple(2**62, 100_000),
        long_tuple(1, 100_000),
    ),
    "a name of lists doubled 60 times": Code(
        b"]q\0"
        + b"".join(b"](h%sh%se" % (bytes([n]), bytes([n])) + b"q%s" % bytes([n + 1]) for n in range(60))
        + b"h\0\x93"
    ),
    "a range in a set": call("builtins", "set", call("builtins", "range", 10**9)),
    "numpy.zeros": call("numpy", "zeros", 10**9),
    "torch.zeros": call("torch", "zeros", 10**9),
    "a tensor by its class": call("torch", "Tensor", 10**9),
    # Written as instructions, because making such a dict takes ten seconds.
    "a dict of colliding numbers": Code(
        b"}(" + b"".join(code((2**61 - 1) * number) + code(number) for number in range(30_000)) + b"u"
    ),
}.items():

    @torch_case(f"a pickle that takes {name}")
    def _(state, legacy, expensive=expensive):
        state[LAST] = expensive


MEMO = np.zeros(800_000, [("instruction", "S1"), ("index", "<u4")])
MEMO["instruction"], MEMO["index"] = b"r", range(800_000)

for name, instructions in {
    "a million lists": b"]" * 1_040_000,
    "lists nested 100,000 deep": b"]" * 100_000 + b"a" * 99_999,
    "tuples nested 100,000 deep": b")" + b"\x85" * 100_000,
    "100,000 marks": b"(" * 100_000,
    "a memo of 800,000": b"]" + MEMO.tobytes(),
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


for name, replacement in {
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
    def _(state, legacy, replacement=replacement):
        state[LAST] = replacement


for name, wrapped in {
    "a list of the state": lambda state: [state],
    "a tuple of the state": lambda state: (state,),
    "a tensor alone": lambda state: state[LAST],
    "a text alone": lambda state: "conv1",
    "nothing alone": lambda state: None,
    "networks of unknown names": lambda state: {"a": state, "b": {"\n\x1b[31m": state}},
    "33 networks": lambda state: {f"network{number}": state for number in range(33)},
    "a dict in 10 dicts, 7 deep": lambda state: functools.reduce(
        lambda inner, _: Code(code(inner) + b"q\0}(" + b"".join(code(str(i)) + b"h\0" for i in range(10)) + b"u"),
        range(7),
        state,
    ),
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
    (folder / "model.pth").write_bytes(pickle.dumps(RunsCode(), 2))
    return folder / "model.pth"


@case("torch legacy: a pickle of NumPy arrays")
def _(folder, model):
    (folder / "model.pth").write_bytes(pickle.dumps(values(model), 2))
    return folder / "model.pth"
