"""Python processes for tests, forked from a server that has imported Keras: a start takes 0.2 s instead of 6 s.

A forked process is a process of its own: it has its own directory, environment, output and exit status, and can be
killed. It does not run what `atexit` has. On another backend it imports Keras anew, and TensorFlow not again. What a
new interpreter must do by itself (import order, settings that are read at import, the installed command) is tested in
`fresh`.
"""

import contextlib
import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
import time
import types
from multiprocessing import forkserver
from pathlib import Path
from typing import ClassVar, NamedTuple

ROOT = Path(__file__).parent.parent
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["keras", "tensorflow", "tests.processes"])

# For short work on JAX: compilation takes longer than what is compiled.
UNOPTIMIZED = {"XLA_FLAGS": "--xla_backend_optimization_level=0"}


def start_server():
    """Starts the server and does not wait for it; else the first process starts it."""
    forkserver.ensure_running()


class Ended(NamedTuple):
    """What a process has left: the same names as those of `subprocess.CompletedProcess`."""

    returncode: int  # minus the signal's number if a signal ended it
    stdout: str
    stderr: str


class Running:
    """A forked process: `start` makes one."""

    running: ClassVar[set["Running"]] = set()
    # Processor time of all that have ended. They are children of the server, so `os.times` does not count them.
    processor_seconds = 0.0

    def __init__(self, run, environment, cwd):
        self._folder = tempfile.TemporaryDirectory()
        self._process = SERVER.Process(target=_child, args=(run, environment, str(cwd), self._folder.name))
        self._process.start()
        Running.running.add(self)

    @property
    def pid(self):
        return self._process.pid

    @property
    def stdout(self):
        """What it has printed so far."""
        with contextlib.suppress(FileNotFoundError):
            return Path(self._folder.name, "stdout").read_text(errors="replace")
        return ""

    def wait_until(self, happened, seconds=300):
        """Returns once `happened()` is true; fails the test where the process ends before or that takes too long."""
        end = time.monotonic() + seconds
        while not happened():
            alive = self._process.is_alive()
            if (not alive and not happened()) or time.monotonic() > end:
                self._process.kill()
                raise AssertionError(f"what the test waits for has not happened: {self.end()}")
            time.sleep(0.005)

    def wait_for(self, text):
        """Returns once the process has printed `text`."""
        self.wait_until(lambda: text in self.stdout)

    def poll(self):
        """The exit status, as `end` has it; None while it runs."""
        return self._process.exitcode

    def kill(self, number):
        os.kill(self.pid, number)

    def end(self, seconds=900):
        """Waits for the end of the process, and says how it ended; a process that takes longer is killed."""
        self._process.join(seconds)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        Running.running.discard(self)
        folder = Path(self._folder.name)
        with contextlib.suppress(FileNotFoundError):  # a killed process has not written it
            Running.processor_seconds += float((folder / "seconds").read_text())
        ended = Ended(
            self._process.exitcode,
            *((folder / name).read_text() if (folder / name).exists() else "" for name in ("stdout", "stderr")),
        )
        self._folder.cleanup()
        return ended


def kill_all():
    """Kills the processes that nobody has waited for."""
    for left in tuple(Running.running):
        left._process.kill()
        left.end()


def start(*command, environment=None, cwd=ROOT):
    """Starts what `python *command` runs: ("-c", code, argument...) or ("-m", module, argument...).

    Args:
        command: as on Python's own command line.
        environment: variables to add, or to remove where the value is None.
        cwd: the directory that it works in.
    """
    return Running(tuple(map(str, command)), _environment(environment), cwd)


def python(*command, environment=None, cwd=ROOT):
    """Runs what `python *command` runs, in a forked process, and waits for its end."""
    return start(*command, environment=environment, cwd=cwd).end()


def command(*arguments, cwd=ROOT, environment=None):
    """Runs the `keras-resnet` command in a forked process."""
    code = "import sys; sys.argv[0] = 'keras-resnet'; from keras_resnet.cli import main; sys.exit(main())"
    terminal = {"COLUMNS": "80", "NO_COLOR": "1", "TF_CPP_MIN_LOG_LEVEL": None}
    return python("-c", code, *arguments, environment={**terminal, **(environment or {})}, cwd=cwd)


def fresh(*command, environment=None, cwd=ROOT):
    """Runs `python *command` in a new interpreter."""
    return subprocess.run(
        [sys.executable, *map(str, command)],
        env=_environment(environment),
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )


def printed(ended):
    """The output of a process; the test fails where the process did."""
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def _environment(changes):
    variables = {**os.environ, **(changes or {})}
    return {name: value for name, value in variables.items() if value is not None}


def _child(command, environment, cwd, folder):
    """In the forked process: takes the place of a new interpreter, and runs the command."""
    os.environ.clear()
    os.environ.update(environment)
    # Files that `atexit` would remove, such as AutoGraph's, go with this folder.
    temporary = Path(folder, "temporary")
    temporary.mkdir()
    tempfile.tempdir = os.environ["TMPDIR"] = str(temporary)
    for number, name in ((1, "stdout"), (2, "stderr")):
        file = os.open(Path(folder, name), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(file, number)
        os.close(file)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1, closefd=False) for number in (1, 2))
    os.chdir(cwd)
    sys.path.insert(0, "")
    if environment.get("KERAS_BACKEND", "tensorflow") != "tensorflow":
        for name in [name for name in sys.modules if name.partition(".")[0] == "keras"]:
            del sys.modules[name]
    kind, what, *arguments = command
    main = types.ModuleType("__main__")
    sys.modules["__main__"] = main
    try:
        if kind == "-c":
            sys.argv = ["-c", *arguments]
            exec(compile(what, "<string>", "exec"), vars(main))
        else:
            sys.argv = [what, *arguments]
            runpy.run_module(what, run_name="__main__", alter_sys=True)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        Path(folder, "seconds").write_text(str(sum(os.times()[:4])))
