"""Files that are written as a whole or not at all.

A file is written beside its place and renamed into it, so that a crash or a full disk loses nothing that was finished
and leaves nothing that is half done.
"""

import errno
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError


@contextmanager
def replacing(path: Path):
    """A path to write to; what was written there replaces `path` at the end, or vanishes where writing failed.

    Errors name `path`, or its folder, where that is not there.
    """
    if not path.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "there is no such folder", str(path.parent))
    part = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.part")
    try:
        yield part
        with part.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        if error.errno is None or str(error.filename or part) != str(part):  # a full disk has no name
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        part.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file, all of it or nothing."""
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8")


class Unreadable(ValueError):
    """A file that is damaged or of another run; the message names it and says what to do."""


@contextmanager
def reading(path: Path, advice: str = "delete it and run again") -> Iterator[None]:
    """Names the file of this project that cannot be read, with what to do: raises Unreadable."""
    try:
        yield
    except Unreadable:
        raise
    except (
        SafetensorError,
        OSError,
        ArithmeticError,
        AttributeError,
        LookupError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as error:
        raise Unreadable(f"{path} is damaged ({error}): {advice}") from error
