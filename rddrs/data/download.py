"""Canonical files: taken from a folder, or downloaded into it, and verified either way."""

from pathlib import Path
from typing import Any

import pooch


def canonical(title: str, root: str, source: str, checksums: dict[str, str]) -> dict[str, Path]:
    """The files in `root` by their names, downloaded from below the address `source` where they are missing.

    Raises ValueError where a file is damaged (its sha256 differs), or missing and cannot be downloaded.
    """
    folder = Path(root)
    files = pooch.create(folder, source, registry=checksums, retry_if_failed=0)
    for name, checksum in checksums.items():
        path = folder / name
        if path.is_file() and pooch.file_hash(str(path)) != checksum:
            raise ValueError(f"{path} is damaged: its sha256 is not {checksum}; delete it to have it downloaded again")
        if not path.is_file():
            try:
                downloader: Any = pooch.HTTPDownloader(timeout=10)
                files.fetch(name, downloader=downloader)
            except Exception as error:
                raise ValueError(
                    f"{title}: {name} is not in data.root={root} and could not be downloaded ({error}). Put it there "
                    f"({', '.join(checksums)}), or use the embedded data=digits"
                ) from error
    return {name: folder / name for name in checksums}
