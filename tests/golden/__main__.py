"""Records the structures."""

from tests.golden import NAMES, path, structure

for name in NAMES:
    path(name).write_text(structure(name))
    print(path(name))
