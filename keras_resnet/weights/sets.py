"""Sets of weights: a file may hold several, such as a network and its moving average, or a student and its teacher.

A set is what the names of a network have in front: `state_dict_ema.module.` or `module.encoder_q.`. One is chosen.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from keras_resnet.weights.tensors import WeightsError

T = TypeVar("T", bound=Any)  # has a shape

# The first layers of the first block, in torch's networks, timm's v2 and Keras. A name that ends so shows a set.
FIRST_LAYERS = ("layer1.0.conv1.weight", "stages.0.blocks.0.conv1.weight", "conv2_block1_1_conv/kernel")
# Parts of names that programs add to all of them. As in timm, a moving average of the weights comes first.
AVERAGES = ("state_dict_ema", "model_ema", "ema_state_dict", "ema")
WRAPPERS = (*AVERAGES, "state_dict", "model_state_dict", "model", "net", "module", "_orig_mod")
# Then the network that is kept after a training of several: in MoCo 1 to 3, BYOL, distillation, detection.
TRAINED = ("encoder_q", "base_encoder", "online_encoder", "student", "backbone", "encoder")
# The teacher of a student is its moving average. DINO evaluates and releases the teacher: `--checkpoint_key teacher` is
# the default of its evaluation (Caron et al. 2021, arXiv:2104.14294, section 3.1).
STUDENT, TEACHER = "student", "teacher"
SILENT = ("module", "_orig_mod")  # from DataParallel and torch.compile: they say nothing about a set
BARE, WITHOUT = ".", "the one without a prefix"  # as `state`, and in a message
# The first part of the names of a classifier or another head: of several layers, for another task, added afterwards.
HEADS = re.compile(
    r"(fc|heads?|linear|last_linear|(aux_)?classifier|logits|predict(or|ions?)|dense|mlp|top|output"
    r"|proj(ector|ection)?(_head)?|contrastive_head)(_?\d+)?"
)
MOST_NETWORKS = 32
SHOWN, LONGEST_SHOWN = 6, 60  # names in a message, and letters of a name


def chosen(
    tensors: Mapping[str, T],
    state: str,
    tell: Callable[[str], object],
    first_layers: Sequence[str] = FIRST_LAYERS,
) -> dict[str, T]:
    """The tensors of one set, by their names without what all of them have in front.

    Args:
        tensors: the tensors of a file, or descriptions of tensors, by name; they have a `shape`.
        state: name of the set, such as "state_dict" or "encoder_k": parts of the names in front; ".": the set without
            a prefix. "": a moving average if there is one, also the teacher of a student; then the set without a
            prefix; then the network that is kept after a training of several.
        tell: a function that gets a sentence if there are several sets, or names in front that are not usual.
        first_layers: names that each network of the kind that is looked for has once. What is in front of them is in
            front of a set.

    Returns:
        The tensors. If the names are of no known network, only usual wrappers are left out.

    Raises:
        ValueError: there is no set `state`, or several and none is preferred. The message lists the sets.
    """
    prefixes = _prefixes(tensors, first_layers)
    candidates = [prefix for prefix in prefixes if _is_in(state, prefix)]
    if not candidates:
        allowed = ", ".join(_shown(prefix) or BARE for prefix in prefixes[:SHOWN])
        only = "left out for this file, which has one set"
        rule = only if allowed == BARE else f"one of the sets in the file: {allowed}"
        raise WeightsError(f"state must be {rule}. Received: state={state!r:.60}")
    averages = (*AVERAGES, TEACHER) if any(STUDENT in prefix.split(".") for prefix in prefixes) else AVERAGES
    preferred = (*averages, None, *WRAPPERS, *TRAINED)  # None: the end of the names in front
    first, *others = sorted(candidates, key=lambda prefix: _rank(prefix, preferred))
    if others and _are_equal(first, others[0], preferred):
        listed = ", ".join(map(_shown, candidates[:SHOWN]))
        raise WeightsError(
            f"a file of several networks needs the name of one: {listed}. Type, for example, --state "
            f"{_shown(first)}, or state={_shown(first)!r} of load_weights or weights.like"
        )
    result = {name.removeprefix(first): tensor for name, tensor in _of(first, prefixes, tensors)}
    head = _head_beside(first, tensors) if first and not any(map(is_head, result)) else {}
    left_out = _left_out(first, prefixes, tensors, head)
    if left_out:
        more = ", ..." if len(left_out) > SHOWN else ""
        listed = ", ".join(left_out[:SHOWN]) + more
        choice = "; state= or --state chooses another" if len(prefixes) > 1 else ""
        tell(f"the file has several sets: {_shown(first) or WITHOUT} is loaded, not {listed}{choice}")
    elif unusual := _without_wrappers(first):
        tell(f"the names are read without {unusual[:LONGEST_SHOWN]!r}")
    return {**result, **{name: tensors[full] for name, full in head.items()}}


def is_head(name: str) -> bool:
    """Whether a name is that of a classifier or another head, in Keras or in torch."""
    return HEADS.fullmatch(re.split(r"[./]", name)[0]) is not None


def _prefixes(tensors: Iterable[str], first_layers: Sequence[str]) -> list[str]:
    """What is in front of the names of each network; if there is no known network, usual wrappers."""
    names = list(tensors)
    found = {
        name.removesuffix(end)
        for name in names
        for end in first_layers
        if name.endswith(end) and name.removesuffix(end)[-1:] in ("", ".")
    }
    if len(found) > MOST_NETWORKS:
        raise WeightsError(f"a file must have at most {MOST_NETWORKS} networks. Received: {len(found):,}")
    return sorted(found or {_wrapped(name) for name in names} - {""} or {""})


def _wrapped(name: str) -> str:
    """The usual wrappers in front of a name."""
    parts = name.split(".")[:-1]
    count = next((i for i, part in enumerate(parts) if part not in WRAPPERS), len(parts))
    return "".join(f"{part}." for part in parts[:count])


def _without_wrappers(prefix: str) -> str:
    return prefix.removeprefix(_wrapped(f"{prefix}name"))


def _shown(prefix: str) -> str:
    text = ".".join(part for part in prefix.split(".") if part and part not in SILENT)[:LONGEST_SHOWN]
    return "".join(character if character.isprintable() else "?" for character in text)


def _is_in(state: str, prefix: str) -> bool:
    """Whether all parts of `state` are in a prefix, in this order."""
    if state == BARE:
        return not _shown(prefix)
    rest = iter(prefix.split("."))
    return all(part in rest for part in state.split(".") if part)


def _rank(prefix: str, preferred: Sequence[str | None]) -> list[int]:
    parts = [part for part in prefix.split(".") if part and part not in SILENT]
    return [preferred.index(part) if part in preferred else len(preferred) for part in (*parts, None)]


def _are_equal(first: str, second: str, preferred: Sequence[str | None]) -> bool:
    """Whether neither of two sets is preferred; one inside of another is not."""
    ranks = _rank(first, preferred)[:-1]
    return bool(ranks) and not second.startswith(first) and ranks == _rank(second, preferred)[: len(ranks)]


def _of(first: str, prefixes: Iterable[str], tensors: Mapping[str, T]) -> Iterable[tuple[str, T]]:
    """The items of a set; a network inside of it, such as `teacher.` next to names without a prefix, is another set."""
    inner = tuple(prefix for prefix in prefixes if prefix.startswith(first) and prefix != first)
    return [item for item in tensors.items() if item[0].startswith(first) and not item[0].startswith(inner)]


def _head_beside(first: str, tensors: Iterable[str]) -> dict[str, str]:
    """The names of a classifier next to the set or to something around it, by their names from there on."""
    parts = first.split(".")[:-1]
    for count in range(len(parts) - 1, -1, -1):
        level = "".join(f"{part}." for part in parts[:count])
        names = {name.removeprefix(level): name for name in tensors if name.startswith(level)}
        if head := {short: name for short, name in names.items() if is_head(short)}:
            return head
    return {}


def _left_out(first: str, prefixes: Iterable[str], tensors: Mapping[str, T], head: Mapping[str, str]) -> list[str]:
    """Other sets, and other things that are more than a number or a vector, by the part of their name that differs."""
    kept = {*(name for name, _ in _of(first, prefixes, tensors)), *head.values()}
    found: dict[str, None] = {}
    for name, tensor in tensors.items():
        if name in kept or len(tensor.shape) < 2:  # counters and biases need no word
            continue
        other = max((prefix for prefix in prefixes if name.startswith(prefix)), key=len, default=first)
        found[_shown(_differing(name, first)) if other == first else _shown(other) or WITHOUT] = None
    return list(found)


def _differing(name: str, first: str) -> str:
    """The beginning of a name up to the first part that differs from the beginning of the set."""
    parts, own = name.split("."), first.split(".")
    count = next((i for i, pair in enumerate(zip(parts, own)) if pair[0] != pair[1]), 0)
    return ".".join(parts[: count + 1])
