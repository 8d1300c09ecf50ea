"""Imports in the time that they take."""

import gc
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hydra.utils import get_object


@contextmanager
def uncollected() -> Iterator[None]:
    """Imports alone: looking for garbage in what they make, over and over, takes a fifth of a start.

    What they make stays, and is never looked at again.
    """
    known = len(sys.modules)
    gc.disable()
    try:
        yield
    finally:
        if len(sys.modules) > known:
            gc.freeze()
        gc.enable()


def imported(name: str) -> Any:
    """What a dotted name stands for; raises ValueError, one line, where it cannot be imported."""
    logging.getLogger("hydra.utils").disabled = True  # where it logs what it raises, too
    try:
        return get_object(name)
    except Exception as error:  # whatever a user's module raises
        raise ValueError(f"{name} cannot be imported: {' '.join(str(error).split())}") from error
