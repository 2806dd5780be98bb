"""Pickles, read as data. A pickle is a program; of its instructions only those are carried out that build dicts, lists
and tuples, and what it calls is looked up in a table, never imported.

Ours, because torch's `weights_only` lets a pickle call what fills the memory: in torch 2.13 30 bytes of
`bytearray(2**30)` take 1 GB, and each `_codecs.encode(text, "hex")` doubles a text.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

from keras_resnet.weights.tensors import WeightsError

LONGEST_CALL = 16  # arguments
MOST = 2**20  # instructions, each of which makes one object at most; a network of 1,202 layers takes 216,000
VALUES = frozenset(
    (
        *("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"),
        *("BINUNICODE", "SHORT_BINUNICODE", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES"),
    )
)
NEW: Mapping[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_DICT": dict,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
}
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def unpickle(stream: BinaryIO, calls: Mapping[str, Any], persistent: Callable[[Any], Any]) -> Any:
    """What one pickle stands for; the stream is left behind it.

    Args:
        stream: of bytes in memory.
        calls: what stands for the classes and functions that a pickle names, by module and name.
        persistent: from the identifier of what a pickle has outside to what stands for it.

    Raises:
        WeightsError: it names something else, is too long, or is damaged.
    """
    machine = _Machine(calls, persistent)
    try:
        for count, (instruction, argument, _) in enumerate(pickletools.genops(stream)):
            if count == MOST:
                raise WeightsError(f"a pickle must have at most {MOST:,} instructions. Received: more")
            machine.step(instruction.name, argument)
        return machine.stack.pop()
    except WeightsError:
        raise
    except Exception as error:  # a damaged one can fail anywhere
        raise WeightsError("the pickle is damaged: it breaks off or makes no sense") from error


class _Machine:
    def __init__(self, calls: Mapping[str, Any], persistent: Callable[[Any], Any]) -> None:
        self.calls, self.persistent = calls, persistent
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def step(self, name: str, argument: Any) -> None:  # noqa: PLR0912  (one case for each instruction)
        stack = self.stack
        if name in VALUES:
            stack.append(argument)
        elif name in NEW:
            stack.append(NEW[name]())
        elif name in TUPLES:
            stack[-TUPLES[name] :] = [tuple(stack[-TUPLES[name] :])]
        else:
            match name:
                case "PROTO" | "FRAME" | "STOP":
                    pass
                case "MARK":
                    self.marks.append(len(stack))
                case "TUPLE":
                    stack.append(tuple(self.since_mark()))
                case "APPEND":
                    self.fill([stack.pop()])
                case "APPENDS" | "SETITEMS":
                    self.fill(self.since_mark())
                case "SETITEM":
                    value, key = stack.pop(), stack.pop()
                    self.fill([key, value])
                case "BINPUT" | "LONG_BINPUT":
                    self.memo[argument] = stack[-1]
                case "MEMOIZE":
                    self.memo[len(self.memo)] = stack[-1]
                case "BINGET" | "LONG_BINGET":
                    stack.append(self.memo[argument])
                case "GLOBAL":
                    stack.append(self.known(argument.replace(" ", ".")))
                case "STACK_GLOBAL":
                    attribute, module = stack.pop(), stack.pop()
                    stack.append(self.known(".".join((module, attribute))))
                case "BINPERSID":
                    stack.append(self.persistent(_short(stack.pop())))
                case "REDUCE":
                    arguments, function = _short(stack.pop()), stack.pop()
                    stack.append(function(*arguments))
                case "BUILD":  # attributes, such as a state dict's `_metadata`
                    stack.pop()
                case _:
                    raise WeightsError(f"a pickle must hold tensors and containers alone. Received: one with {name}")

    def since_mark(self) -> list[Any]:
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def fill(self, items: list[Any]) -> None:
        """Puts items into the list on the stack, or keys and values in turn into the dict."""
        target = self.stack[-1]
        if isinstance(target, list):
            target.extend(items)
        else:  # nothing under a key that is no name is wanted, and numbers can be chosen so that they all collide
            target.update({key: value for key, value in zip(items[::2], items[1::2]) if isinstance(key, str)})

    def known(self, name: str) -> Any:
        if name not in self.calls:
            raise WeightsError(
                f"a pickle must hold tensors and containers alone; its code is not run. Received: one that calls {name}"
            )
        return self.calls[name]


def _short(arguments: Any) -> tuple[Any, ...]:
    """What is gone through for each call must not be long: there may be a million calls."""
    if not isinstance(arguments, tuple) or len(arguments) > LONGEST_CALL:
        raise WeightsError(f"calls in a pickle must have at most {LONGEST_CALL} arguments. Received: more")
    return arguments
