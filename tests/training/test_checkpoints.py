"""Checkpoints of a training are atomic: a failure or a kill during a write leaves the previous checkpoint."""

import errno
import itertools
import logging
import os
import random
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from keras_resnet.training import checkpoints
from tests import needs, processes


def save(directory, number):
    return checkpoints.save(directory, number, {"a": np.full(3, number)}, {"number": number})


def test_a_checkpoint_is_read_as_it_was_saved(tmp_path):
    save(tmp_path, 7)
    checkpoint = checkpoints.newest(tmp_path)
    assert checkpoint.path == tmp_path / "7"
    assert checkpoint.state == {"number": 7}
    np.testing.assert_array_equal(checkpoint.arrays["a"], [7, 7, 7])


def test_the_newest_two_are_kept(tmp_path):
    for number in (8, 9, 10, 11):
        save(tmp_path, number)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["10", "11"]


def test_one_of_the_same_number_is_replaced(tmp_path):
    save(tmp_path, 3)
    checkpoints.save(tmp_path, 3, {"a": np.zeros(1)}, {"number": -3})
    assert checkpoints.newest(tmp_path).state == {"number": -3}
    assert [path.name for path in tmp_path.iterdir()] == ["3"]


def test_no_directory_has_no_checkpoint(tmp_path):
    assert checkpoints.newest(tmp_path / "none") is None


@pytest.mark.parametrize("file", [checkpoints.ARRAYS, checkpoints.STATE])
@pytest.mark.parametrize("damage", ["cut", "empty", "gone", "flipped"])
def test_a_broken_one_is_passed_over_for_the_one_before(tmp_path, caplog, file, damage):
    save(tmp_path, 1)
    path = save(tmp_path, 2) / file
    content = bytearray(path.read_bytes())
    if damage == "gone":
        path.unlink()
    elif damage == "flipped":
        content[content.index(b"number" if file == checkpoints.STATE else np.full(3, 2).tobytes())] ^= 0x80
        path.write_bytes(content)
    else:
        path.write_bytes(content[: len(content) // 2] if damage == "cut" else b"")
    with caplog.at_level(logging.WARNING, "keras_resnet.training"):
        assert checkpoints.newest(tmp_path).state == {"number": 1}
    assert str(tmp_path / "2") in caplog.text


def test_none_that_is_sound_is_an_error_that_says_what_to_remove(tmp_path):
    for number in (1, 2):
        (save(tmp_path, number) / checkpoints.ARRAYS).write_text("")
    with pytest.raises(ValueError, match="remove this directory .* the newest is 2: .*arrays.npz must be a readable"):
        checkpoints.newest(tmp_path)


@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES, errno.EMFILE])
@pytest.mark.parametrize("file", [checkpoints.ARRAYS, checkpoints.STATE])
def test_a_file_that_cannot_be_read_now_is_not_taken_as_damaged(file, number, tmp_path, monkeypatch):
    save(tmp_path, 1)
    path = save(tmp_path, 2) / file
    read = Path.open

    def fail(self, *arguments, **options):
        if self == path:
            raise OSError(number, os.strerror(number))
        return read(self, *arguments, **options)

    for method in ("open", "read_text"):
        monkeypatch.setattr(Path, method, fail if method == "open" else lambda self, **_: fail(self).read())
    with pytest.raises(OSError, match=f"{os.strerror(number)}: .*2/{file}"):
        checkpoints.newest(tmp_path)


def test_too_little_memory_is_not_taken_as_damage(tmp_path, monkeypatch):
    save(tmp_path, 1)

    def fail(*_, **__):
        raise MemoryError

    monkeypatch.setattr(np, "load", fail)
    with pytest.raises(MemoryError):
        checkpoints.newest(tmp_path)


def test_a_full_disk_leaves_what_was_there(tmp_path, monkeypatch):
    save(tmp_path, 1)

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError, match="No space left"):
        save(tmp_path, 2)
    assert [path.name for path in tmp_path.iterdir()] == ["1"]
    assert checkpoints.newest(tmp_path).state == {"number": 1}


@pytest.mark.processes
@needs.linux
def test_a_limit_on_files_in_mid_write_leaves_what_was_there(tmp_path):
    """A write that fails in the middle: the kernel refuses all bytes after the limit."""
    save(tmp_path, 1)
    code = (
        "import resource, signal, sys, numpy as np; from pathlib import Path\n"
        "from keras_resnet.training import checkpoints\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "checkpoints.save(Path(sys.argv[1]), 2, {'a': np.zeros(10**6)}, {})\n"
    )
    run = processes.python("-c", code, tmp_path)
    assert "OSError: [Errno 27] File too large" in run.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["1"]
    assert checkpoints.newest(tmp_path).state == {"number": 1}


def save_forever(directory, first, pipe):
    """Saves checkpoints in a forked process. All their values are their number, so that a mix of two is detected."""
    parent = os.getppid()
    for number in itertools.count(first):
        arrays = {f"model/{i}": np.full(200_000, number, "float32") for i in range(4)}
        checkpoints.save(directory, number, arrays, {"number": number})
        os.write(pipe, b"%d\n" % number)
        if os.getppid() != parent:
            os._exit(1)


def kill_forty(directory):
    """Kills a saving process 40 times. It runs in a process without threads, which forks quickly."""
    directory, rng, saved, interrupted = Path(directory), random.Random(0), 0, 0
    for _ in range(40):
        reader, writer = os.pipe()
        saver = os.fork()
        if not saver:
            save_forever(directory, saved + 1, writer)
        os.close(writer)
        with os.fdopen(reader) as lines:
            saved = max(saved, int(lines.readline()))  # the first save is done, the next one begins
            time.sleep(rng.uniform(0, 0.02))
            os.kill(saver, signal.SIGKILL)
            os.waitpid(saver, 0)
            saved = max([saved, *map(int, lines.read().split())])
        interrupted += any(path.name.startswith(".") for path in directory.iterdir())
        checkpoint = checkpoints.newest(directory)
        number = checkpoint.state["number"]
        assert number >= saved  # no completed save is lost
        assert all((array == number).all() for array in checkpoint.arrays.values())
        assert len(checkpoint.arrays) == 4
        saved = number
    assert interrupted > 8  # enough kills happened during a write


@pytest.mark.slow
@pytest.mark.processes
def test_forty_kills_in_mid_write_lose_nothing(tmp_path):
    code = "import sys; from tests.training.test_checkpoints import kill_forty; kill_forty(sys.argv[1])"
    processes.printed(processes.python("-c", code, tmp_path))
