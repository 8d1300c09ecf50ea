"""Many files in few archives: nothing that was written is lost where a process is killed, nothing is half there."""

import signal
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from rddrs import archives
from rddrs.archives import Archives
from rddrs.files import Unreadable
from tests.records.test_faults import full_disk

WRITER = """
import itertools, sys
from pathlib import Path
from rddrs.archives import Archives
folder = Archives(Path(sys.argv[1]))
for index in itertools.count():
    folder.write(f"{index}.bin", bytes([index % 251]) * (index * 37 % 4000))
    print(index, flush=True)
"""


def content_of(index: int) -> bytes:
    return bytes([index % 251]) * (index * 37 % 4000)


def read(folder: Path) -> dict[str, bytes]:
    found = Archives(folder)
    parts = {name: found.find(name) for name in found.names()}
    return {name: part.read() for name, part in parts.items() if part is not None}


def test_nothing_that_was_written_is_lost_where_the_process_is_killed(tmp_path: Path) -> None:
    for last in (1, 40, 400):
        process = subprocess.Popen([sys.executable, "-c", WRITER, tmp_path], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        told = next(int(line) for line in process.stdout if int(line) >= last)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        found = read(tmp_path)
        assert {f"{index}.bin" for index in range(told + 1)} <= {*found}
        assert all(content == content_of(int(name.partition(".")[0])) for name, content in found.items())
    assert len(list(tmp_path.iterdir())) == 3


def test_what_was_cut_off_anywhere_is_no_file_and_the_others_are_read(tmp_path: Path) -> None:
    written = Archives(tmp_path)
    for name in "ab":
        written.write(name, name.encode() * 700)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    for length in range(0, len(whole) + 1, 64):
        path.write_bytes(whole[:length])
        names = [name for name, end in (("a", 512 + 1024), ("b", 2 * (512 + 1024))) if length >= end]
        assert read(tmp_path) == {name: name.encode() * 700 for name in names}
        Archives(tmp_path).write("c", b"later")
        assert read(tmp_path)["c"] == b"later"
        for other in {*tmp_path.iterdir()} - {path}:
            other.unlink()
    path.write_bytes(whole[:1536] + b"x" * 512)
    with pytest.raises(Unreadable, match=rf"{path} is damaged \(at byte 1536"):
        read(tmp_path)


def test_a_disk_that_is_full_leaves_what_was_there(tmp_path: Path) -> None:
    written = Archives(tmp_path)
    written.write("a", b"a" * 1000)
    with full_disk(2000), pytest.raises(OSError, match="too large"):
        written.write("b", b"b" * 1000)
    assert read(tmp_path) == {"a": b"a" * 1000}
    written.write("b", b"c" * 1000)
    assert read(tmp_path) == {"a": b"a" * 1000, "b": b"c" * 1000}


def test_archives_are_those_that_tar_reads_and_hold_a_thousand_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "FILES", 3)
    written, reader = Archives(tmp_path), Archives(tmp_path)
    for index in range(7):
        written.write(f"{index}.bin", content_of(index))
        assert reader.names() == {f"{before}.bin" for before in range(index + 1)}, "what others write is seen"
    assert len(list(tmp_path.iterdir())) == 3
    for path in tmp_path.iterdir():
        with tarfile.open(path) as opened:
            assert all(opened.extractfile(it).read() == content_of(int(it.name[0])) for it in opened)  # pyright: ignore


def test_of_two_files_of_one_name_the_later_archive_has_the_one_that_is_read(tmp_path: Path) -> None:
    first, second, reader = Archives(tmp_path), Archives(tmp_path), Archives(tmp_path)
    first.write("a", b"first")
    second.write("a", b"second")
    assert reader.names() == {"a"}
    first.write("a", b"third")
    for each in (reader, Archives(tmp_path)):
        assert each.names() == {"a"} and each.find("a").read() == b"second"  # pyright: ignore
    assert each.find("b") is None
