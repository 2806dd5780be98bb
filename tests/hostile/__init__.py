"""The attack corpus: files that `load_weights` must refuse, each made by a function `(folder, network) -> path`.

`of_*.py` define the cases, and `corpus.py` has the table of cases. `python -m tests.hostile FOLDER` makes the files and
loads them one after the other. `tests/weights/test_hostile.py` checks the results.
"""

from tests.hostile import (  # noqa: F401  (each module adds its cases to the table)
    odd_but_right,
    of_every_format,
    of_hdf5,
    of_no_format,
    of_safetensors,
    of_torch,
    of_zip,
)
from tests.hostile.corpus import CASES, HARMLESS

__all__ = ["CASES", "HARMLESS"]
