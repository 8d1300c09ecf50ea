"""Imports in the time that they take."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """Imports alone: looking for garbage in what they make, over and over, takes a fifth of a start.

    What the first of them make stays, and is never looked at again.
    """
    gc.disable()
    try:
        yield
    finally:
        if not gc.get_freeze_count():
            gc.freeze()
        gc.enable()
