"""Settings and fixtures of all tests, the limit on processor time, and the summary of skipped tests."""

import collections
import gc
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # as on the command line; the default is off without AVX-512
os.environ.setdefault("CI", "true")  # otherwise OpenVINO's converter sends usage statistics from a forked process

import numpy as np
import pytest

from tests import processes
from tests.processes import ROOT

# The functions import Keras and TensorFlow. The process that distributes tests to the other processes needs neither.

SHARED = ROOT.parent / "shared" / "data"
FASHION = Path("/usr/share/datasets/fashion-mnist")  # Debian's package dataset-fashion-mnist
# Its import creates virtual devices, which is too late in a process that collects tests.
collect_ignore = ["two_devices.py", "detection/two_devices.py"]

# For tests that run without tracing (`eager`): TensorFlow warns that it traces data sets in any case.
UNTRACED = pytest.mark.filterwarnings("ignore:Even though the .*run_functions_eagerly:UserWarning")

# The most seconds of processor time that a test without the marker `slow` should take, with its fixtures. One that
# takes more is named at the end of the run. It fails at `FAILS` times the limit, because machines differ: the same test
# took 1.9 s on one and 3.4 s on another, beside two other workers.
LIMIT = 3.0
FAILS = 2.0


def pytest_collection_finish(session):
    """Excludes imported objects from garbage collection: a collection then takes 0.02 s instead of 0.3 s.

    Importing Keras takes seconds. It is imported here, so that this time does not count for a test. The server of
    processes imports it too, and starts here, so that it imports Keras while the first tests run.
    """
    import keras  # noqa: F401

    gc.collect()
    gc.freeze()
    if any(item.get_closest_marker("processes") for item in session.items):
        processes.start_server()


def processor_seconds():
    """Processor time of this process, of its ended child processes, and of those of `tests/processes.py`."""
    return sum(os.times()[:4]) + processes.Running.processor_seconds


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    item.started = processor_seconds()
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    """Measures a test without the marker `slow`, and fails it if it takes far more than `LIMIT`.

    Processor time is measured, because other work on the machine changes it less than wall-clock time.
    """
    result = yield
    seconds = processor_seconds() - item.started
    if seconds > LIMIT and not item.get_closest_marker("slow"):
        too_long = (
            f"took {seconds:.1f} s of processor time, and a test without the marker `slow` may take {LIMIT:g} s: "
            "make it smaller or mark it @pytest.mark.slow"
        )
        if seconds > FAILS * LIMIT:
            pytest.fail(too_long, pytrace=False)
        item.user_properties.append(("too long", too_long))
    return result


def pytest_sessionfinish():
    """Kills processes that failed tests have left running. Otherwise Python would wait for them at its end."""
    processes.kill_all()


def pytest_terminal_summary(terminalreporter):
    """Names the tests that took too long, and prints how many were skipped, and what they need."""
    for report in terminalreporter.stats.get("passed", []):
        for name, value in report.user_properties:
            if name == "too long":
                terminalreporter.write_line(f"{report.nodeid} {value}")
    reasons = collections.Counter()
    for report in terminalreporter.stats.get("skipped", []):
        reasons[report.longrepr[2].removeprefix("Skipped: ")] += 1
    if reasons:
        summary = "; ".join(f"{count} ({reason})" for reason, count in reasons.most_common())
        terminalreporter.write_line(f"Skipped tests: {summary}")


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def cheap_weights(monkeypatch):
    """Initialises kernels with zeros, for tests that only count. Drawing 200 million random numbers takes seconds."""
    import keras

    monkeypatch.setattr(
        keras.initializers.VarianceScaling, "__call__", lambda self, shape, dtype=None: keras.ops.zeros(shape, dtype)
    )


@pytest.fixture
def channels_first():
    import keras

    keras.config.set_image_data_format("channels_first")
    yield
    keras.config.set_image_data_format("channels_last")


@pytest.fixture
def eager():
    """TensorFlow runs functions without tracing. Tracing takes most of the time of a short training."""
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture
def forked(monkeypatch):
    """Starts the subjects of benchmarks in forked processes: a start takes 0.2 s instead of 8 s."""
    monkeypatch.setattr("benchmarks.workers.SPAWN", processes.SERVER)


@pytest.fixture(autouse=True)
def _clean_keras():
    """Resets layer names and the dtype policy, so that tests do not depend on each other.

    `clear_session` frees memory too. But after it TensorFlow prepares each graph anew, which takes seconds. So it is
    called only once per module.
    """
    import keras
    from keras.src.utils.naming import reset_uids

    yield
    keras.config.set_dtype_policy("float32")
    reset_uids()


@pytest.fixture(autouse=True, scope="module")
def _free_memory():
    import keras

    yield
    keras.backend.clear_session()


def quick_among(values, *quick):
    """Parameters of a test: all except the quick ones are marked `slow`."""
    assert set(quick) <= set(values), f"quick values that are not parameters: {set(quick) - set(values)}"
    return [pytest.param(value, marks=() if value in quick else pytest.mark.slow) for value in values]


def randomise(model, rng):
    """Sets random weights and batch-norm statistics. With ones and zeros, some errors would not change the outputs."""
    for weight in model.weights:
        low, high = (0.5, 1.5) if weight.name in ("gamma", "moving_variance") else (-0.3, 0.3)
        if weight.name != "count" and weight.dtype == "float32":
            weight.assign(rng.uniform(low, high, weight.shape))


def randomise_evenly(model, rng):
    """Like `randomise`, but kernels keep the scale of their inputs, so that deep networks have finite outputs."""
    for weight in model.weights:
        if weight.name == "kernel":
            weight.assign(rng.normal(0, np.prod(weight.shape[:-1]) ** -0.5, weight.shape))
        elif weight.name in ("gamma", "moving_variance"):
            weight.assign(rng.uniform(0.5, 1.5, weight.shape))
        else:
            weight.assign(rng.uniform(-0.3, 0.3, weight.shape))


def photographs(count, side):
    """At most `count` photographs, uint8 (N, side, side, 3); none if ../shared/data does not exist."""
    import tensorflow as tf

    files = sorted((SHARED / "bccd" / "JPEGImages").glob("*.jpg"))[:count]
    images = [tf.image.resize(tf.io.decode_jpeg(file.read_bytes(), channels=3), (side, side)) for file in files]
    return np.array(images, "uint8").reshape(-1, side, side, 3)
