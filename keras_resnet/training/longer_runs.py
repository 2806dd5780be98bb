"""A finished run that goes on for more epochs in another directory: its settings, and a copy of its files."""

from __future__ import annotations

import shutil
from pathlib import Path

from keras_resnet._internal.atomic_files import writing
from keras_resnet._internal.validation import printable
from keras_resnet.training.resuming import CHECKPOINTS
from keras_resnet.training.run_directory import HISTORY, LAST, MODEL, RECIPE, RUN

# What a training goes on from. The other files of a run describe its end, and are made anew.
COPIED = (RECIPE, RUN, HISTORY, MODEL, LAST, "tensorboard", CHECKPOINTS)
# End of the name of an unfinished copy. It is removed, so nobody else may have such a name: `.git` or `.cache` may.
COPY = ".unfinished-copy-of-a-run"


def check_copy(source: Path, out: Path) -> None:
    """Raises a `ValueError` unless `source` is a finished run, and `out` a new or empty directory."""
    if not (source / RUN).exists():
        unfinished = (source / RECIPE).exists()
        raise ValueError(
            f"resume_from must be the directory of a finished run. Received: {printable(source)}, "
            f"{'an unfinished run; type its own command again first' if unfinished else 'without a run'}"
        )
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(
            f"out must be a new or empty directory if resume_from is another one. Received: {printable(out)}, "
            f"{'which is not empty' if out.is_dir() else 'a file'}"
        )


def copy_run(source: Path, out: Path) -> None:
    """Copies the files of a finished run from which a training can go on. A kill leaves all of them in `out`, or none.

    Args:
        source: the directory of the run.
        out: a new or empty directory.
    """
    new = out.absolute().with_name(f".{out.absolute().name}{COPY}")
    with writing(out):
        try:
            shutil.rmtree(new, ignore_errors=True)  # of a copy that was killed
            new.mkdir(parents=True)
            for path in (source / name for name in COPIED):
                if path.is_dir():
                    shutil.copytree(path, new / path.name)
                elif path.exists():
                    shutil.copyfile(path, new / path.name)
            if out.exists():
                out.rmdir()
            new.rename(out)
        finally:
            shutil.rmtree(new, ignore_errors=True)
