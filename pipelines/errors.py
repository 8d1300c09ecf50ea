"""How a command ends early."""

import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager

NEEDED = ("hydra", "omegaconf", "mlflow", "pytorch_lightning", "lightning_fabric")
"""Packages that the pipeline needs, and the library does not: those of the extra `pipeline`."""

KEPT = "what was finished is kept: run the same command again to go on"


class SettingsError(ValueError):
    """A configuration that cannot be run; the message names the key, the value and what would be right."""


class JobError(RuntimeError):
    """Why a job of a multirun ended early; the message was printed."""


class Ended(Exception):
    """What a command says at its end, and its exit status."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


@contextmanager
def read_to_the_end() -> Iterator[None]:
    """A command whose reader leaves, as `head` does, ends silently, with the status of what SIGPIPE ends."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        streams = select.poll()
        for number in (1, 2):
            streams.register(number, 0)
        left = [number for number, found in streams.poll(0) if found & select.POLLERR]
        if not left:
            raise
        for number in left:  # what is not written yet goes nowhere
            os.dup2(os.open(os.devnull, os.O_WRONLY), number)
        sys.exit(141)


def missing(error: ModuleNotFoundError) -> str:
    """Which extra to install, where a package of the pipeline is missing; raises any other error again."""
    if str(error.name).partition(".")[0] not in NEEDED:
        raise error
    return f"error: {error.name} is not installed, which the pipeline needs: pip install 'rddrs[pipeline]'"
