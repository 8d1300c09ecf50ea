"""Tables, signals and images from one NumPy file."""

from pathlib import Path

import numpy as np

from rddrs.data.dataset import Dataset

NAMES = ("x_train", "y_train", "x_test", "y_test")


def arrays(file: str) -> Dataset:
    """The arrays `x_train y_train x_test y_test` of an npz file: numbers of any shape, images channels first.

    Bytes become [0, 1], all other numbers stay as they are. Raises ValueError where the file or the arrays do not fit.
    """
    if not Path(file).is_file():
        raise ValueError(f"data.file={file}: there is no such file")
    try:
        with Path(file).open("rb") as opened, np.load(opened, allow_pickle=False) as found:
            missing = [name for name in NAMES if name not in found]
            if missing:
                raise ValueError(f"it holds {', '.join(found)}; {', '.join(missing)} are missing")
            return Dataset(*(found[name] for name in NAMES))
    except Exception as error:  # whatever the parsers of damaged bytes raise
        raise ValueError(f"data.file={file}: {error}; an npz file of {', '.join(NAMES)} is needed") from error
