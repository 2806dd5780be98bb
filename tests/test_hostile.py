"""Loading: files that are damaged, of another network, or made to do harm are refused, and nothing comes of them."""

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import ROOT
from tests.hostile import CASES, HARMLESS
from tests.hostile.corpus import CANARY, LAST, RULED, RULER, network, values
from tests.hostile.writers import WRITERS

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory is measured by what Linux says of it")

MEMORY = 200 * 2**20  # beside the model, whose variables have 22 KB
KILLED = 3 * 2**30  # resident bytes at which the process is ended; without a case it has 1 GB
SILENT = 60  # seconds without a word after which it is
HOSTILE = set(CASES) - HARMLESS


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("hostile")


@pytest.fixture(scope="module")
def outcomes(folder):
    """By case, what came of loading it in a process of its own; nothing, where that did not outlive it."""
    lines, errors = folder / "outcomes.jsonl", folder / "errors.txt"
    with lines.open("w") as out, errors.open("w") as err:
        command = [sys.executable, "-m", "tests.hostile", str(folder)]
        process = subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=err)
        written, heard = 0, time.monotonic()
        while process.poll() is None:
            if lines.stat().st_size > written:
                written, heard = lines.stat().st_size, time.monotonic()
            if resident(process.pid) > KILLED or time.monotonic() - heard > SILENT:
                process.kill()
            time.sleep(0.02)
    found = {outcome.pop("name"): outcome for outcome in map(json.loads, lines.read_text().splitlines())}
    assert found, errors.read_text()[-2000:]
    return found


def resident(pid):
    """Bytes of a process in memory, seen from outside: no limit is set that could end an attack in its stead."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096
    except (OSError, IndexError):
        return 0  # it has ended in the meantime


def test_the_corpus_is_of_every_format():
    kinds = [name.split(":")[0] for name in HOSTILE]
    assert len(HOSTILE) >= 200
    assert all(kinds.count(kind) >= 100 for kind in WRITERS)


def test_every_file_is_refused(outcomes):
    assert [name for name in HOSTILE if not outcomes.get(name, {}).get("refused")] == []


def test_the_model_is_left_as_it_was_bit_for_bit(outcomes):
    assert [name for name in HOSTILE if not outcomes[name]["kept"]] == []


def test_the_message_is_one_short_line_that_names_the_file_or_the_tensor(outcomes):
    tensors = list(values(network()))

    def clear(outcome):
        message = outcome["message"]
        named = outcome["path"] in message or any(name in message for name in tensors)
        return named and len(message) <= 500 and message.isprintable() and not re.search(r"(?<!['\w])b['\"]", message)

    assert {name: outcomes[name]["message"] for name in HOSTILE if not clear(outcomes[name])} == {}


def test_memory_stays_within_200_mb_of_the_model(outcomes):
    assert outcomes[RULER]["peak"] > 0.9 * RULED
    assert {name: outcomes[name]["peak"] for name in CASES if outcomes[name]["peak"] > MEMORY} == {}


def test_no_more_memory_is_asked_for_than_there_is(outcomes):
    """An allocation that fails costs nothing here, and everything on a larger machine."""
    assert [name for name in HOSTILE if re.search("allocat|MemoryError", outcomes[name]["message"])] == []


def test_none_takes_long(outcomes):
    assert {name: outcomes[name]["seconds"] for name in CASES if outcomes[name]["seconds"] > 10} == {}


def test_no_code_of_a_file_is_run(outcomes, folder):
    assert not (folder / CANARY).exists()


def test_another_network_is_told_of_with_both_shapes(outcomes):
    for kind in WRITERS:
        shapes = "conv3_block1_1_conv/kernel is (3, 3, 8, 24) in the file and (3, 3, 8, 16) in the model"
        assert shapes in outcomes[f"{kind}: wider"]["message"]


def test_files_that_are_odd_but_right_load_exactly(outcomes):
    assert {name: outcomes[name]["message"] for name in HARMLESS if not outcomes[name]["loaded"]} == {}


# That the files are what they are taken for.


@pytest.mark.parametrize("kind", ["torch", "torch legacy"])
def test_torch_reads_the_good_files_and_would_run_the_code_in_others(kind, tmp_path, monkeypatch):
    torch = pytest.importorskip("torch")
    model = network()
    for name in sorted(name for name in HARMLESS if name.startswith(f"{kind}:")):
        source = CASES[name](tmp_path, model)
        loaded = torch.load(getattr(source, "source", source), weights_only="Python 2" not in name)
        state = loaded.get("state_dict", loaded)
        assert all(np.array_equal(state[key].detach().float(), value) for key, value in values(model).items())
    monkeypatch.chdir(tmp_path)
    torch.load(CASES[f"{kind}: a pickle that would run os.system"](tmp_path, model), weights_only=False)
    assert (tmp_path / CANARY).exists()


def test_numpy_would_run_the_code_in_an_array(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.load(CASES["npz: objects"](tmp_path, network()), allow_pickle=True)[LAST]
    assert (tmp_path / CANARY).exists()
