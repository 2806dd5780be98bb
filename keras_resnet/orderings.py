"""The five activation orderings of He et al. 2016: where norm and activation stand around conv and addition."""

from __future__ import annotations

from typing import NamedTuple

from keras_resnet.arguments import one_of


class Ordering(NamedTuple):
    """One ordering. Each field is "", "bn", "relu" or "bn relu".

    The row also shapes the ends of the network: the stem ends as a convolution in a branch does (`after`),
    and the head opens as a branch does (`before`), so v1 and v2 differ in data only.
    """

    before: str  # before each conv of a branch, and before the head
    after: str  # after each conv but a branch's last; also the stem's
    last: str  # after a branch's last conv
    joined: str  # after the addition


# He et al. 2016 (arXiv:1603.05027), Figure 4 (a) to (e).
ORDERINGS = {
    "original": Ordering("", "bn relu", "bn", "relu"),
    "bn_after_addition": Ordering("", "bn relu", "", "bn relu"),
    "relu_before_addition": Ordering("", "bn relu", "bn relu", ""),
    "relu_only_preactivation": Ordering("relu", "bn", "bn", ""),
    "full_preactivation": Ordering("bn relu", "", "", ""),
}


def ordering_of(name: str) -> Ordering:
    """The row of `ORDERINGS` called `name`; a `ValueError` lists the names."""
    return ORDERINGS[one_of("ordering", name, tuple(ORDERINGS))]
