"""Many small files in few: tar archives that are appended to, so that nothing is lost where a process is killed.

A file is one write at the end of an archive. What is incomplete there, because it was being written when the process
was killed or the disk was full, is no file of it, and nothing is appended behind it: each process, and each thousand
files, begin an archive. `tar -xf` unpacks them.
"""

import os
import tarfile
import threading
import time
from pathlib import Path
from typing import NamedTuple

from rddrs.files import reading

FILES = 1_000
"""An archive takes no more files than these."""

SECONDS = 5.0
"""So often at most the disk is told to write at once what was appended: a power failure loses no more."""


class Part(NamedTuple):
    """Where the content of a file lies: in a file of its own, or in an archive."""

    path: Path
    start: int
    size: int

    def read(self, first: int | None = None) -> bytes:
        """Its content, or its first bytes."""
        with self.path.open("rb") as file:
            file.seek(self.start)
            return file.read(self.size if first is None else min(first, self.size))


class Archives:
    """The files in all archives of a folder, by name; of two of one name that which was begun later."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        self._parts: dict[str, Part] = {}
        self._copies: dict[str, list[Part]] = {}
        self._ends: dict[Path, int] = {}
        self._own: Path | None = None
        self._count, self._synced = 0, 0.0

    def names(self) -> set[str]:
        """The files that are there now, whoever wrote them; raises Unreadable where an archive is damaged."""
        with self._lock:
            for path in sorted(self.folder.glob("[!.]*.tar")):
                self._ends[path] = self._listed(path, self._ends.get(path, 0))
            return {*self._parts}

    def copies(self) -> dict[str, list[Part]]:
        """All files by name: where one was written again, every copy."""
        self.names()
        return self._copies

    def remains(self) -> dict[Path, bytes]:
        """What follows the last complete file of an archive, if anything: a file that was being written, or no file."""
        self.names()
        found = {}
        for path, end in self._ends.items():
            with path.open("rb") as file:
                file.seek(end)
                found[path] = file.read()
        return {path: rest for path, rest in found.items() if any(rest)}

    def find(self, name: str) -> Part | None:
        """Where a file lies, None where it is not there."""
        return self._parts.get(name) or (self._parts.get(name) if name in self.names() else None)

    def write(self, name: str, content: bytes) -> None:
        """Append a file, all of it or nothing."""
        head = tarfile.TarInfo(name)
        head.size = len(content)
        block = memoryview(head.tobuf(tarfile.USTAR_FORMAT) + content + bytes(_padding(len(content))))
        with self._lock:
            if self._own is None or self._count == FILES:
                self.folder.mkdir(parents=True, exist_ok=True)
                self._own, self._count = self.folder / f"{time.time_ns():020}-{os.getpid()}.tar", 0
            with self._own.open("ab", buffering=0) as file:
                start = file.tell()
                try:
                    while block:
                        block = block[file.write(block) :]
                except BaseException:
                    file.truncate(start)
                    raise
                self._count += 1
                if self._count == FILES or time.monotonic() - self._synced > SECONDS:
                    os.fsync(file)
                    self._synced = time.monotonic()

    def _listed(self, path: Path, end: int) -> int:
        """Take note of the files of an archive from `end` on; where the last that is complete ends."""
        size = path.stat().st_size
        with reading(path), path.open("rb") as file:
            while end + tarfile.BLOCKSIZE <= size:
                file.seek(end)
                block = file.read(tarfile.BLOCKSIZE)
                if not any(block):  # the end, as `tar` writes it
                    return end
                try:
                    head = tarfile.TarInfo.frombuf(block, "utf-8", "strict")
                except tarfile.HeaderError as error:
                    raise ValueError(f"at byte {end}: {error}") from error
                after = end + tarfile.BLOCKSIZE + head.size + _padding(head.size)
                if after > size:
                    return end
                part = Part(path, end + tarfile.BLOCKSIZE, head.size)
                self._copies.setdefault(head.name, []).append(part)
                if head.name not in self._parts or self._parts[head.name].path <= path:
                    self._parts[head.name] = part
                end = after
        return end


def _padding(size: int) -> int:
    return -size % tarfile.BLOCKSIZE
