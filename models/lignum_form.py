"""The forms of the optional package `pylignum` (imported as `lignum`): an interpreter, and trees compiled to native
code where the machine has a C compiler.

Reading the text and compiling happen in a process of their own, which holds up no thread of this one and can be ended
at any moment; compiling has the lowest priority. Nothing is kept: what that process makes is written to a folder that
only this user can enter, mapped into memory, and deleted.
"""

import importlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from time import monotonic
from types import ModuleType

import numpy as np

from decision_engine.propensity import Matrix
from models.exact_forms import FormRefused, MarginForm, Vector

INTERPRETER, COMPILED = "interpreter", "compiled"
COMPILE_SECONDS = 900.0
"""Longest a model may take to compile."""
_TEXT_FILE, _MODEL_FILE, _LIBRARY_FILE = "model.txt", "model.bin", "model.so"
_LOOK_SECONDS = 0.02
_SHOWN_CHARACTERS = 200
_PREPARE = """
import os, sys, lignum
text, binary, library, folder = sys.argv[1:]
model = lignum.load(text, format="lightgbm")
model.save(binary)
if library:
    os.nice(19)
    model.compile(library=library, work_dir=folder, jobs=1)
"""


class LignumForm:
    """Trees as the package walks them, on the calling thread alone.

    Matrices with a positive infinity are left to `plain`: where LightGBM splits missing values from all others it
    writes an infinite threshold, and version 0.3 of the package sends infinity to the other side of it.
    """

    __slots__ = ("_model", "_name", "_plain")

    def __init__(self, text: str, plain: MarginForm, stopping: threading.Event | None = None) -> None:
        """With `stopping` the trees are compiled, which takes from seconds to minutes and ends when that is set. Raises
        FormRefused when the package, the compiler or the model is not what is needed."""
        lignum = _package()
        self._plain = plain
        self._name = INTERPRETER if stopping is None else COMPILED
        with tempfile.TemporaryDirectory(prefix="kairos-trees-", ignore_cleanup_errors=True) as folder:
            place = Path(folder)
            (place / _TEXT_FILE).write_text(text, encoding="utf-8")
            library = "" if stopping is None else str(place / _LIBRARY_FILE)
            made = [str(place / _TEXT_FILE), str(place / _MODEL_FILE), library, folder]
            _prepare(self._name, made, stopping or threading.Event())
            try:
                self._model = lignum.load(str(place / _MODEL_FILE), compiled=library or None)
            except Exception as error:  # whatever foreign code raises, the form is of no use
                raise FormRefused(f"{self._name}: {type(error).__name__}: {error}") from error

    @property
    def name(self) -> str:
        return self._name

    def margins(self, matrix: Matrix) -> Vector:
        """One margin a row."""
        if np.fmax.reduce(matrix, axis=None) == np.inf:
            return self._plain.margins(matrix)
        margins = self._model.predict(matrix, raw_score=True, n_jobs=1, strategy="serial")
        return np.asarray(margins, dtype=np.float64)


def lignum_installed() -> bool:
    """Whether the package can be imported."""
    try:
        _package()
    except FormRefused:
        return False
    return True


def _package() -> ModuleType:
    try:
        return importlib.import_module("lignum")
    except ImportError as error:
        raise FormRefused("the extra `fast` (pylignum) is not installed") from error


def _prepare(name: str, arguments: list[str], stopping: threading.Event) -> None:
    ends = monotonic() + COMPILE_SECONDS
    command = [sys.executable, "-c", _PREPARE, *arguments]
    with (
        tempfile.TemporaryFile() as said,
        # A session of its own, so that the compiler ends with it.
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True) as child,
    ):
        while child.poll() is None:
            if stopping.wait(_LOOK_SECONDS) or monotonic() > ends:
                with suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)
                child.wait()
                raise FormRefused(f"{name}: preparing it was ended")
        if child.returncode:
            said.seek(0)
            told = said.read().decode(errors="replace").strip()[-_SHOWN_CHARACTERS:]
            raise FormRefused(f"{name}: preparing it failed: {told}")
