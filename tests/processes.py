"""Python processes for tests, forked from a server that has imported Keras: a start takes 0.2 s instead of 6 s.

A forked process has its own directory, environment, output and exit status, and can be killed. It does not run the
functions that are registered with `atexit`. On another backend it imports Keras again, but not TensorFlow. `fresh`
starts a new interpreter, for tests of import order, of settings that are read at import, and of the installed command.
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

# For short work on JAX: the compilation takes longer than the compiled work.
UNOPTIMIZED = {"XLA_FLAGS": "--xla_backend_optimization_level=0"}


def start_server():
    """Starts the server without waiting for it. Without this call the first process starts it."""
    forkserver.ensure_running()


class Ended(NamedTuple):
    """The result of a process, with the attributes of `subprocess.CompletedProcess`."""

    returncode: int  # minus the signal's number if a signal ended it
    stdout: str
    stderr: str


class Running:
    """A forked process. `start` returns one."""

    running: ClassVar[set["Running"]] = set()
    # Processor time of all ended processes. They are children of the server, so `os.times` does not count them.
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
        """The output of the process so far."""
        with contextlib.suppress(FileNotFoundError):
            return Path(self._folder.name, "stdout").read_text(errors="replace")
        return ""

    def wait_until(self, happened, seconds=300):
        """Waits until `happened()` is true; fails the test if the process ends before or the time is over."""
        end = time.monotonic() + seconds
        while not happened():
            alive = self._process.is_alive()
            if (not alive and not happened()) or time.monotonic() > end:
                self._process.kill()
                raise AssertionError(f"the event that the test waits for has not happened: {self.end()}")
            time.sleep(0.005)

    def wait_for(self, text):
        """Waits until the process has printed `text`."""
        self.wait_until(lambda: text in self.stdout)

    def poll(self):
        """The exit status, as in `Ended`; None while the process runs."""
        return self._process.exitcode

    def kill(self, number):
        os.kill(self.pid, number)

    def end(self, seconds=900):
        """Waits for the end of the process, and returns its result. Kills it if it takes longer than `seconds`."""
        self._process.join(seconds)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        Running.running.discard(self)
        folder = Path(self._folder.name)
        with contextlib.suppress(FileNotFoundError):  # a killed process does not write the file
            Running.processor_seconds += float((folder / "seconds").read_text())
        ended = Ended(
            self._process.exitcode,
            *((folder / name).read_text() if (folder / name).exists() else "" for name in ("stdout", "stderr")),
        )
        self._folder.cleanup()
        return ended


def kill_all():
    """Kills all processes for which `end` was not called."""
    for process in tuple(Running.running):
        process._process.kill()
        process.end()


def start(*command, environment=None, cwd=ROOT):
    """Starts `python *command` in a forked process: ("-c", code, argument...) or ("-m", module, argument...).

    Args:
        command: the arguments of Python's command line.
        environment: variables to add, or to remove if the value is None.
        cwd: the working directory of the process.
    """
    return Running(tuple(map(str, command)), _environment(environment), cwd)


def python(*command, environment=None, cwd=ROOT):
    """Runs `python *command` in a forked process, and waits for its end."""
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
    """The output of a process; fails the test if the process failed."""
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def _environment(changes):
    variables = {**os.environ, **(changes or {})}
    return {name: value for name, value in variables.items() if value is not None}


def _child(command, environment, cwd, folder):
    """Runs the command in the forked process, which is set up like a new interpreter."""
    os.environ.clear()
    os.environ.update(environment)
    # Functions of `atexit` do not run, so files such as those of AutoGraph are removed with this folder.
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
    option, program, *arguments = command
    main = types.ModuleType("__main__")
    sys.modules["__main__"] = main
    try:
        if option == "-c":
            sys.argv = ["-c", *arguments]
            exec(compile(program, "<string>", "exec"), vars(main))
        else:
            sys.argv = [program, *arguments]
            runpy.run_module(program, run_name="__main__", alter_sys=True)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        Path(folder, "seconds").write_text(str(sum(os.times()[:4])))
