"""Reads pickles as data, without running their code.

A pickle is a program. This module runs only the instructions that build dicts, lists and tuples. It looks up each
function that a pickle calls in a table, and imports nothing. An object of another class or function, for example the
arguments of a training or a number of NumPy, becomes an `Unread` object, and nothing of it is read.

torch's `weights_only` is not used because a pickle can call functions there that fill the memory: in torch 2.13 the 30
bytes of `bytearray(2**30)` take 1 GB, and each `_codecs.encode(text, "hex")` doubles the length of a text.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

from keras_resnet.weights.tensors import WeightsError

LONGEST_CALL = 16  # most arguments of a call
MOST = 2**20  # instructions; each makes at most one object; a network of 1,202 layers has 216,000
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
PRINTED = 60  # most letters of a name in an error


class Unread:
    """Stands for a class or function that is not in the table, and for all objects that it would make."""

    def __init__(self, name: str) -> None:
        self.name = name[:PRINTED] if name[:PRINTED].isprintable() else "a class with an invalid name"


TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def unpickle(stream: BinaryIO, calls: Mapping[str, Any], persistent: Callable[[Any], Any]) -> Any:
    """The object that a pickle describes. The position of the stream is then the end of the pickle.

    Args:
        stream: a stream of bytes in memory.
        calls: replacements of the classes and functions that a pickle may name, by "module.name".
        persistent: a function from the persistent identifier of an object outside the pickle to its replacement.

    Returns:
        The object, made of dicts, lists, tuples, numbers, texts, `Unread` objects and the results of `calls` and
        `persistent`.

    Raises:
        WeightsError: the pickle is too long, is damaged, or has instructions that checkpoints do not have.
    """
    machine = _Machine(calls, persistent)
    try:
        for count, (instruction, argument, _) in enumerate(pickletools.genops(stream)):
            if count == MOST:
                raise WeightsError(
                    f"a pickle must have at most {MOST:,} instructions. Received: at least {count + 1:,}"
                )
            machine.step(instruction.name, argument)
        return machine.stack.pop()
    except WeightsError:
        raise
    except Exception as error:  # a damaged pickle can raise any error
        raise WeightsError("the pickle is damaged: it is incomplete or not valid") from error


class _Machine:
    """Runs the instructions of a pickle, one `step` for each."""

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
                case "REDUCE" | "NEWOBJ" | "NEWOBJ_EX" | "OBJ" | "INST":
                    self.make(name, argument)
                case "EMPTY_SET":
                    stack.append(Unread("builtins.set"))
                case "FROZENSET":
                    self.since_mark()
                    stack.append(Unread("builtins.frozenset"))
                case "ADDITEMS":
                    self.since_mark()
                case "BUILD":  # attributes, such as `_metadata` of a state dict, are not needed
                    stack.pop()
                case _:
                    raise WeightsError(
                        f"a pickle must have only tensors and containers. Received: the instruction {name}"
                    )

    def make(self, name: str, argument: Any) -> None:
        """Calls a function of the table with the arguments on the stack; another function gives an `Unread` object."""
        if name == "INST":
            arguments, function = tuple(self.since_mark()), self.known(argument.replace(" ", "."))
        elif name == "OBJ":
            function, *rest = self.since_mark()
            arguments = tuple(rest)
        else:
            if name == "NEWOBJ_EX":
                self.stack.pop()  # arguments by name
            arguments, function = self.stack.pop(), self.stack.pop()
        self.stack.append(function if isinstance(function, Unread) else function(*_short(arguments)))

    def since_mark(self) -> list[Any]:
        """Removes the items above the last mark from the stack and returns them."""
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def fill(self, items: list[Any]) -> None:
        """Adds items to the list on top of the stack, or alternating keys and values to the dict there."""
        target = self.stack[-1]
        if isinstance(target, Unread):
            return
        if isinstance(target, list):
            target.extend(items)
        else:  # only names are needed as keys; numbers could be chosen so that all their hashes collide
            target.update({key: value for key, value in zip(items[::2], items[1::2]) if isinstance(key, str)})

    def known(self, name: str) -> Any:
        """The replacement of a class or function that the pickle names."""
        return self.calls[name] if name in self.calls else Unread(name)


def _short(arguments: Any) -> tuple[Any, ...]:
    """`arguments`, if it is a short tuple: there may be a million calls, and each goes through its arguments."""
    if not isinstance(arguments, tuple) or len(arguments) > LONGEST_CALL:
        received = f"{len(arguments):,}" if isinstance(arguments, tuple) else f"a {type(arguments).__name__}"
        raise WeightsError(
            f"a call in a pickle must have a tuple of at most {LONGEST_CALL} arguments. Received: {received}"
        )
    return arguments
