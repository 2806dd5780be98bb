"""The five activation orderings of He et al. 2016: where batch norm and activation are in a block."""

from __future__ import annotations

from typing import NamedTuple

from keras_resnet._internal.validation import one_of

Operations = tuple[str, ...]  # of "bn" and "relu", in the order in which they are applied


class Ordering(NamedTuple):
    """One ordering. Each field lists the operations, "bn" and "relu", at one place of a block.

    The ordering also holds for the ends of the network. The stem ends like a convolution inside a branch (`after`), and
    the head starts like a branch (`before`). So v1 and v2 differ only in this row.

    Attributes:
        before: before each convolution of a branch, and before the head.
        after: after each convolution of a branch but the last, and after the stem.
        last: after the last convolution of a branch.
        joined: after the addition.
    """

    before: Operations
    after: Operations
    last: Operations
    joined: Operations


# He et al. 2016 (arXiv:1603.05027), Figure 4 (a) to (e).
ORDERINGS = {
    "original": Ordering((), ("bn", "relu"), ("bn",), ("relu",)),
    "bn_after_addition": Ordering((), ("bn", "relu"), (), ("bn", "relu")),
    "relu_before_addition": Ordering((), ("bn", "relu"), ("bn", "relu"), ()),
    "relu_only_preactivation": Ordering(("relu",), ("bn",), ("bn",), ()),
    "full_preactivation": Ordering(("bn", "relu"), (), (), ()),
}


def ordering_of(name: str) -> Ordering:
    """The row of `ORDERINGS` with this name.

    Raises:
        ValueError: there is no such ordering.
    """
    return ORDERINGS[one_of("ordering", name, tuple(ORDERINGS))]
