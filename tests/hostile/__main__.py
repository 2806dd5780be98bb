"""Makes the files of the corpus, loads them one after the other, and prints a line of JSON for each: error and costs.

This is a separate process, because some files could end it.
"""

import ctypes
import gc
import json
import os
import re
import shutil
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

import keras_resnet as kr
from keras_resnet.weights import Checkpoint
from tests.conftest import randomise
from tests.hostile import CASES
from tests.hostile.corpus import MEMORY_CHECK, MEMORY_CHECK_BYTES, network, values
from tests.hostile.writers import WRITERS, write


def memory(field):
    """The value of a field of /proc/self/status, in bytes."""
    return int(re.search(rf"{field}:\s+(\d+)", Path("/proc/self/status").read_text())[1]) * 1024


def measured(function):
    """Calls a function; returns the exception that it raises, and its costs in bytes and seconds of processor time."""
    gc.collect()
    gc.freeze()  # the collector skips existing objects from now on
    ctypes.CDLL("libc.so.6").malloc_trim(0)  # reuse of free memory would not be measured
    Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM, the peak of resident memory
    resident, start, error = memory("VmRSS"), time.process_time(), None
    try:
        function()
    except Exception as caught:
        error = caught
    return error, {"peak": memory("VmHWM") - resident, "seconds": time.process_time() - start}


def attack(name, folder, model, other, before, expected):
    """The outcome of loading a case into a model. The file has the weights of the other model."""
    folder.mkdir()
    source = CASES[name](folder, other)
    error, costs = measured(lambda: kr.load_weights(model, source))
    after = numbers(model)
    kept = same(before, after)
    if not kept:
        for weight, value in zip(model.weights, before):
            weight.assign(value)
    shutil.rmtree(folder)
    return costs | {
        "path": str(source.source if isinstance(source, Checkpoint) else source),
        "refused": isinstance(error, ValueError),
        "message": str(error or ""),
        "kept": kept,
        "loaded": same(expected, after),
    }


def numbers(model):
    return [weight.value.numpy().copy() for weight in model.weights]  # takes a third of the time of `convert_to_numpy`


def same(arrays, other_arrays):
    return all(array.tobytes() == other.tobytes() for array, other in zip(arrays, other_arrays))


def main(folder, *names):
    os.chdir(folder)
    model, other = network(), network()
    for kind in WRITERS:  # libraries allocate memory at first use; the cost of a case must not include it
        kr.load_weights(model, write(kind, Path(folder), values(other)))
    randomise(model, np.random.default_rng(1))
    before, expected = numbers(model), numbers(other)
    print(json.dumps({"name": MEMORY_CHECK} | measured(lambda: bytearray(MEMORY_CHECK_BYTES))[1]), flush=True)
    for number, name in enumerate(names or CASES):
        outcome = attack(name, Path(folder) / str(number), model, other, before, expected)
        print(json.dumps({"name": name} | outcome), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
