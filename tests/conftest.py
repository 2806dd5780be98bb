"""What all tests share: settings, fixtures, the limit on processor time, and the line about skipped tests."""

import collections
import gc
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # as the command line has it; off by itself without AVX-512
os.environ.setdefault("CI", "true")  # else OpenVINO's converter sends statistics of its use, from a fork

import numpy as np
import pytest

from tests import processes
from tests.processes import ROOT

# Keras and TensorFlow are imported by the functions: the process that hands out tests to the others needs neither.

SHARED = ROOT.parent / "shared" / "data"
FASHION = Path("/usr/share/datasets/fashion-mnist")  # Debian's package dataset-fashion-mnist
# It makes devices when it is imported, for which it is too late in a process that collects tests.
collect_ignore = ["two_devices.py"]

# For tests that run untraced (`eager`): TensorFlow says that its data sets are traced all the same.
UNTRACED = pytest.mark.filterwarnings("ignore:Even though the .*run_functions_eagerly:UserWarning")

# Seconds of processor time that a test without the marker `slow` may take, with its fixtures.
LIMIT = 3.0


def pytest_collection_finish(session):
    """Takes what importing has made out of the garbage collector's hands: a collection costs 0.02 s then, not 0.3.

    The server of processes starts beside the first tests: it imports Keras, which takes seconds. So does importing it
    here, where no test pays for it.
    """
    import keras  # noqa: F401

    gc.collect()
    gc.freeze()
    if any(item.get_closest_marker("processes") for item in session.items):
        processes.start_server()


def processor_seconds():
    """Processor time of this process, of those that it has waited for, and of those of `tests/processes.py`."""
    return sum(os.times()[:4]) + processes.Running.processor_seconds


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    item.started = processor_seconds()
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    """Fails a test that is not marked `slow` and takes long.

    It is processor time, which other work on the machine changes less than what a clock says.
    """
    result = yield
    seconds = processor_seconds() - item.started
    if seconds > LIMIT and not item.get_closest_marker("slow"):
        pytest.fail(
            f"took {seconds:.1f} s of processor time, and a test without the marker `slow` may take {LIMIT:g} s: "
            "make it smaller or mark it @pytest.mark.slow",
            pytrace=False,
        )
    return result


def pytest_sessionfinish():
    """Ends what a failed test has left running: Python waits for its processes at its end."""
    processes.kill_all()


def pytest_terminal_summary(terminalreporter):
    """Says in one line what was skipped and how to get it."""
    reasons = collections.Counter()
    for report in terminalreporter.stats.get("skipped", []):
        reasons[report.longrepr[2].removeprefix("Skipped: ")] += 1
    if reasons:
        told = "; ".join(f"{count} ({reason})" for reason, count in reasons.most_common())
        terminalreporter.write_line(f"Skipped tests: {told}")


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def cheap_weights(monkeypatch):
    """Kernels of zeros, for tests that only count: drawing 200 million normal numbers takes seconds."""
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
    """TensorFlow runs functions without tracing them, which would take most of the time of a short training."""
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture
def forked(monkeypatch):
    """Subjects of the benchmarks in forked processes: a start takes 0.2 s instead of 8."""
    monkeypatch.setattr("benchmarks.workers.SPAWN", processes.SERVER)


@pytest.fixture(autouse=True)
def _clean_keras():
    """No test sees another's layer names or policy.

    `clear_session` does more, once a module: it frees memory, and makes TensorFlow prepare each graph anew, which takes
    seconds.
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
    """Parameters of a test, of which only the quick ones are not marked slow."""
    assert set(quick) <= set(values), f"not among the parameters: {set(quick) - set(values)}"
    return [pytest.param(value, marks=() if value in quick else pytest.mark.slow) for value in values]


def randomise(model, rng):
    """Random weights and batch-norm statistics, so that nothing hides behind a one or a zero."""
    for weight in model.weights:
        low, high = (0.5, 1.5) if weight.name in ("gamma", "moving_variance") else (-0.3, 0.3)
        if weight.name != "count" and weight.dtype == "float32":
            weight.assign(rng.uniform(low, high, weight.shape))


def randomise_evenly(model, rng):
    """As `randomise`, with kernels that keep the scale of what passes, so that the deepest net stays finite."""
    for weight in model.weights:
        if weight.name == "kernel":
            weight.assign(rng.normal(0, np.prod(weight.shape[:-1]) ** -0.5, weight.shape))
        elif weight.name in ("gamma", "moving_variance"):
            weight.assign(rng.uniform(0.5, 1.5, weight.shape))
        else:
            weight.assign(rng.uniform(-0.3, 0.3, weight.shape))


def photographs(count, side):
    """Real images, uint8 (N, side, side, 3), as many as `count`; none where ../shared/data is absent."""
    import tensorflow as tf

    files = sorted((SHARED / "bccd" / "JPEGImages").glob("*.jpg"))[:count]
    images = [tf.image.resize(tf.io.decode_jpeg(file.read_bytes(), channels=3), (side, side)) for file in files]
    return np.array(images, "uint8").reshape(-1, side, side, 3)
