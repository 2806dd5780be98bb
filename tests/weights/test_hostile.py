"""Loading of bad files: damaged, malicious and wrong-network files are refused and change nothing."""

import json
import re
import signal
import time
from pathlib import Path

import numpy as np
import pytest

import keras_resnet as kr
from tests import needs, processes
from tests.conftest import quick_among
from tests.hostile import CASES, HARMLESS
from tests.hostile.corpus import CANARY, LAST, MEMORY_CHECK, MEMORY_CHECK_BYTES, network, values
from tests.hostile.writers import WRITERS

pytestmark = needs.linux

MEMORY = 200 * 2**20  # in addition to the model, whose variables have 22 KB
KILL_BYTES = 3 * 2**30  # resident bytes at which the test kills the process; without a case the process has 1 GB
SILENCE_SECONDS = 60  # seconds without output after which the test kills the process
HOSTILE = set(CASES) - HARMLESS


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("hostile")


@pytest.fixture(scope="module")
def outcomes(folder):
    """The result of each case, loaded in a separate process. A case that ends the process has no result."""
    process = processes.start("-m", "tests.hostile", folder)
    output_size, last_output, checks = 0, time.monotonic(), 0
    while memory := resident(process.pid):
        checks += 1
        # Reading all output is slow, so only every 50th check reads it.
        if checks % 50 == 0 and (size := len(process.stdout)) > output_size:
            output_size, last_output = size, time.monotonic()
        if memory > KILL_BYTES or time.monotonic() - last_output > SILENCE_SECONDS:
            process.kill(signal.SIGKILL)
        time.sleep(0.02)
    ended = process.end()
    results = {outcome.pop("name"): outcome for outcome in map(json.loads, ended.stdout.splitlines())}
    assert results, ended.stderr[-2000:]
    return results


def resident(pid):
    """Resident bytes of a process. No memory limit is set: a limit could stop an attack before our code stops it."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096
    except (OSError, IndexError):
        return 0  # the process has ended


def test_the_corpus_is_of_every_format():
    kinds = [name.split(":")[0] for name in HOSTILE]
    assert len(HOSTILE) >= 200
    assert all(kinds.count(kind) >= 100 for kind in WRITERS)


@pytest.mark.parametrize("kind", quick_among(WRITERS, "weights.h5", "safetensors", "torch"))
def test_some_files_of_each_format_are_refused_and_leave_the_model_as_it_was(kind, tmp_path):
    """A quick test in this process. The slow tests below load all files in a separate process."""
    model = network()
    before = model.get_weights()
    for name in (
        "nan in predictions/bias",
        "a negative variance",
        "wider",
        "truncated at point 10",
        "bit flip 0 under a hash",
    ):
        source = CASES[f"{kind}: {name}"](tmp_path, model)
        with pytest.raises(ValueError, match="weights"):
            kr.load_weights(model, source)
        assert all(map(np.array_equal, model.get_weights(), before))


@pytest.mark.slow
@pytest.mark.processes
def test_every_file_is_refused(outcomes):
    assert [name for name in HOSTILE if not outcomes.get(name, {}).get("refused")] == []


@pytest.mark.slow
@pytest.mark.processes
def test_the_model_is_left_as_it_was_bit_for_bit(outcomes):
    assert [name for name in HOSTILE if not outcomes[name]["kept"]] == []


@pytest.mark.slow
@pytest.mark.processes
def test_the_message_is_one_short_line_that_names_the_file_or_the_tensor(outcomes):
    tensors = list(values(network()))

    def clear(outcome):
        message = outcome["message"]
        named = outcome["path"] in message or any(name in message for name in tensors)
        return named and len(message) <= 500 and message.isprintable() and not re.search(r"(?<!['\w])b['\"]", message)

    assert {name: outcomes[name]["message"] for name in HOSTILE if not clear(outcomes[name])} == {}


@pytest.mark.slow
@pytest.mark.processes
def test_memory_stays_within_200_mb_of_the_model(outcomes):
    assert outcomes[MEMORY_CHECK]["peak"] > 0.9 * MEMORY_CHECK_BYTES
    assert {name: outcomes[name]["peak"] for name in CASES if outcomes[name]["peak"] > MEMORY} == {}


@pytest.mark.slow
@pytest.mark.processes
def test_no_more_memory_is_asked_for_than_there_is(outcomes):
    """An allocation that fails on this machine may succeed and fill the memory of a larger machine."""
    assert [name for name in HOSTILE if re.search("allocat|MemoryError", outcomes[name]["message"])] == []


@pytest.mark.slow
@pytest.mark.processes
def test_none_takes_long(outcomes):
    assert {name: outcomes[name]["seconds"] for name in CASES if outcomes[name]["seconds"] > 10} == {}


@pytest.mark.slow
@pytest.mark.processes
def test_no_code_of_a_file_is_run(outcomes, folder):
    assert not (folder / CANARY).exists()


@pytest.mark.slow
@pytest.mark.processes
def test_another_network_is_told_of_with_both_shapes(outcomes):
    for kind in WRITERS:
        shapes = "conv3_block1_1_conv/kernel is (3, 3, 8, 24) in the file and (3, 3, 8, 16) in the model"
        assert shapes in outcomes[f"{kind}: wider"]["message"]


@pytest.mark.slow
@pytest.mark.processes
def test_files_that_are_odd_but_right_load_exactly(outcomes):
    assert {name: outcomes[name]["message"] for name in HARMLESS if not outcomes[name]["loaded"]} == {}


# Checks of the corpus: good files are really good, and bad files would really run code.


@pytest.mark.slow
@needs.package("torch")
@pytest.mark.parametrize("kind", ["torch", "torch legacy"])
def test_torch_reads_the_good_files_and_would_run_the_code_in_others(kind, tmp_path, monkeypatch):
    import torch

    model = network()
    for name in sorted(name for name in HARMLESS if name.startswith(f"{kind}:") and "would run" not in name):
        source = CASES[name](tmp_path, model)
        loaded = torch.load(getattr(source, "source", source), weights_only="Python 2" not in name)
        state = loaded
        while LAST not in state:
            state = next(value for value in state.values() if isinstance(value, dict))
        assert all(np.array_equal(state[key].detach().float(), value) for key, value in values(model).items())
    monkeypatch.chdir(tmp_path)
    torch.load(CASES[f"{kind}: a pickle that would run os.system"](tmp_path, model), weights_only=False)
    assert (tmp_path / CANARY).exists()


def test_numpy_would_run_the_code_in_an_array(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.load(CASES["npz: objects"](tmp_path, network()), allow_pickle=True)[LAST]
    assert (tmp_path / CANARY).exists()
