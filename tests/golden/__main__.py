"""Records the structures of all networks in `NAMES`."""

import keras_resnet as kr
from tests.golden import NAMES, path, structure

for name in NAMES:
    path(name).write_text(structure(kr.create_model(name)))
    print(path(name))
