"""Imports in the time that they take."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """Imports alone: what they make stays, and looking for garbage in it over and over takes a sixth of a start."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
