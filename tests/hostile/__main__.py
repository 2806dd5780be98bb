"""Makes the files of the corpus and loads them one after the other, and writes a line of JSON for each: what was said,
and what it cost. In a process of its own, because some would end it.
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
from tests.hostile.corpus import RULED, RULER, network, values
from tests.hostile.writers import WRITERS, write


def memory(field):
    """Bytes of this process that /proc/self/status knows as `field`."""
    return int(re.search(rf"{field}:\s+(\d+)", Path("/proc/self/status").read_text())[1]) * 1024


def measured(function):
    """What a function raises, and what it costs in bytes and seconds of processor time."""
    gc.collect()
    gc.freeze()  # what there is so far need not be gone through for each case
    ctypes.CDLL("libc.so.6").malloc_trim(0)  # what is free but held could be taken unseen
    Path("/proc/self/clear_refs").write_text("5")  # VmHWM, the most that was in memory, starts anew
    resident, start, error = memory("VmRSS"), time.process_time(), None
    try:
        function()
    except Exception as caught:
        error = caught
    return error, {"peak": memory("VmHWM") - resident, "seconds": time.process_time() - start}


def attack(name, folder, model, other, before, right):
    """What comes of loading a case into a model; its file is of the numbers of another."""
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
        "loaded": same(right, after),
    }


def numbers(model):
    return [weight.value.numpy().copy() for weight in model.weights]  # in a third of `convert_to_numpy`'s time


def same(ones, others):
    return all(one.tobytes() == other.tobytes() for one, other in zip(ones, others))


def main(folder, *names):
    os.chdir(folder)
    model, other = network(), network()
    for kind in WRITERS:  # what the libraries load and keep at their first use is no case's
        kr.load_weights(model, write(kind, Path(folder), values(other)))
    randomise(model, np.random.default_rng(1))
    before, right = numbers(model), numbers(other)
    print(json.dumps({"name": RULER} | measured(lambda: bytearray(RULED))[1]), flush=True)
    for number, name in enumerate(names or CASES):
        outcome = attack(name, Path(folder) / str(number), model, other, before, right)
        print(json.dumps({"name": name} | outcome), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
