"""safetensors: wrong or malicious headers."""

import json

from keras_resnet.inputs import IMAGENET_MEAN, IMAGENET_STD
from tests.hostile.corpus import CANARY, FIRST, LAST, case, values
from tests.hostile.writers import write, write_safetensors_raw


def safetensors_case(name, length=None):
    """A case for safetensors: `change(header, body)` changes the header, or returns a new header (and body)."""

    def add(change):
        @case(f"safetensors: {name}")
        def make(folder, model):
            path = write("safetensors", folder, values(model))
            data = path.read_bytes()
            start = 8 + int.from_bytes(data[:8], "little")
            header, body = json.loads(data[8:start]), data[start:]
            result = change(header, body)
            header, body = result if isinstance(result, tuple) else (header if result is None else result, body)
            return write_safetensors_raw(path, header, body, length)

        return change

    return add


for name, wrong_fields in {
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
    "the type that NumPy calls it": {"dtype": "float32"},
    "a type that is code": {"dtype": f"__import__('os').system('touch {CANARY}')"},
    "no type": {"dtype": None},
}.items():

    @safetensors_case(name)
    def _(header, body, wrong_fields=wrong_fields):
        header[LAST] |= wrong_fields


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


@safetensors_case("50,000 tensors")
def _(header, body):
    return {str(n): {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for n in range(50_000)}, b""


@safetensors_case("a header of 5 MB")
def _(header, body):
    header["__metadata__"] = {"text": " " * 5_000_000}


CARD = {
    **{"model": "", "tag": "ours", "form": "torch", "mean": IMAGENET_MEAN, "std": IMAGENET_STD, "size": 224},
    **{"crop_pct": 0.9, "interpolation": "bilinear", "licence": "", "top1": None, "top1_source": "", "data": ""},
    "classes": 10,
}
for name, wrong_fields in {
    "of no form of ours": {"form": "other"},
    "with a list for a form": {"form": ["torch"]},
    "with a mean beyond all numbers": {"mean": [10**400] * 3},
    "with a mean that is no number": {"mean": [float("nan")] * 3},
    "with a std of 0": {"std": [0, 0, 0]},
    "with a size of 30 digits": {"size": 10**30},
    "with a hundred million classes": {"classes": 10**8},
    "with line breaks and escapes for a tag, and nothing else wrong but a shape": {"tag": "\n\x1b[31m\0" * 1000},
    "with a list for a tag": {"tag": [1] * 1000},
    "without its mean": {"mean": None},
    "that is nested 100,000 deep": None,
    "that is no JSON": None,
}.items():

    @safetensors_case(f"a card {name}")
    def _(header, body, name=name, wrong_fields=wrong_fields):
        texts = {"that is nested 100,000 deep": "[" * 100_000, "that is no JSON": "hello\x1b[31m"}
        header["__metadata__"] = {"keras_resnet": texts.get(name) or json.dumps(CARD | wrong_fields)}
        header[FIRST]["shape"] = [3, 3, 8, 3]
