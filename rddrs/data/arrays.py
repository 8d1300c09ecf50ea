"""Tables, signals and images from one NumPy file."""

from pathlib import Path
from typing import Any
from zipfile import is_zipfile

import numpy as np

from rddrs.data.dataset import Dataset

NAMES = ("x_train", "y_train", "x_test", "y_test")


def arrays(file: str) -> Dataset:
    """The arrays `x_train y_train x_test y_test` of an npz file: numbers of any shape, images channels first.

    8- and 16-bit numbers without a sign become [0, 1], all others stay as they are. Raises ValueError where the file or
    the arrays do not fit.
    """
    path = Path(file)
    if not path.is_file():
        raise ValueError(f"data.file={file}: there is no such file")
    needed = f"an npz file of {', '.join(NAMES)} is needed"
    if not is_zipfile(path):
        raise ValueError(f"data.file={file} is no npz file, or only a part of one; {needed}")
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as found:
            missing = [name for name in NAMES if name not in found]
            if missing:
                raise ValueError(f"it holds {', '.join(found)}; {', '.join(missing)} are missing")
            x_train, y_train, x_test, y_test = (_array(found, name) for name in NAMES)
            return Dataset(x_train, y_train, x_test, y_test)
    except Exception as error:  # whatever the parsers of damaged bytes raise
        raise ValueError(f"data.file={file}: {error}; {needed}") from error


def _array(found: Any, name: str) -> np.ndarray:
    try:
        return found[name]
    except ValueError as error:
        if "allow_pickle" not in str(error):
            raise
        raise ValueError(f"{name} holds Python objects, not numbers: all its rows must have one shape") from None
