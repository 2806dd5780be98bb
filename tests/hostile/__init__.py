"""The attack corpus: files that `load_weights` must refuse, each made by a function `(folder, network) -> path`.

`of_*.py` have the cases, `corpus.py` their table. `python -m tests.hostile FOLDER` makes the files and loads them one
after the other; `tests/weights/test_hostile.py` looks at what came of it.
"""

from tests.hostile import (  # noqa: F401  (each adds its cases)
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
