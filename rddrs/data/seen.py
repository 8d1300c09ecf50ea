"""What was read of the files of a folder before, so that a million of them are not read at every command.

A file is the one that it was while its name, its size, the times of its content and of its entry, and its place on the
disk are: a change that brings the first time back does not bring the second. What was read within two seconds of a
change is read once more, for a clock may be as coarse.
"""

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import PIL
import pooch

from rddrs.files import replacing
from rddrs.version import __version__

COARSE = 2 * 10**9
"""Nanoseconds of the coarsest clock of a file system, FAT's."""

_ANEW = ContextVar("read anew", default=False)


@contextmanager
def read_anew() -> Iterator[None]:
    """While this is open nothing that was read before is believed."""
    token = _ANEW.set(True)
    try:
        yield
    finally:
        _ANEW.reset(token)


class Seen:
    """What is known of the files below `root`: kept in the user's cache, as a whole or not at all.

    A cache that is damaged, cannot be written or is of another version is as none; of several processes that write it
    the last one's stays.
    """

    def __init__(self, root: Path) -> None:
        self._root, self._changed = root, False
        key = hashlib.sha256(f"{os.path.realpath(root)}\n{__version__}\n{PIL.__version__}".encode()).hexdigest()[:20]
        self._path = Path(pooch.os_cache("rddrs")) / "folders" / f"{key}.json"
        self._known: dict[str, dict[str, Any]] = {} if _ANEW.get() else self._kept()
        self._fresh: set[str] = set()

    def of(self, path: Path, what: str, read: Callable[[Path], Any]) -> Any:
        """`read(path)`, for JSON, or what it gave while the file was the same."""
        now, it, name = time.time_ns(), path.stat(), path.relative_to(self._root).as_posix()
        stamp = [it.st_size, it.st_mtime_ns, it.st_ctime_ns, it.st_ino, it.st_dev]
        known = self._known.get(name)
        if known is None or known["stamp"] != stamp:
            known = self._known[name] = {"stamp": stamp}
        if what not in known:
            known[what], self._changed = read(path), True
            if max(it.st_mtime_ns, it.st_ctime_ns) > now - COARSE:
                self._fresh.add(name)
        return known[what]

    def keep(self) -> None:
        """Write what is known."""
        if not self._changed:
            return
        text = json.dumps({name: known for name, known in self._known.items() if name not in self._fresh}).encode()
        with suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(self._path) as part:
                part.write_bytes(hashlib.sha256(text).hexdigest().encode() + b"\n" + text)
            self._changed = False

    def _kept(self) -> dict[str, dict[str, Any]]:
        with suppress(OSError):
            check, _, text = self._path.read_bytes().partition(b"\n")
            if hashlib.sha256(text).hexdigest().encode() == check:
                return json.loads(text)
        return {}
