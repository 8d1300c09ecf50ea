"""A disk that is full and a clock that jumps: nothing that was finished is lost, and no record changes."""

import itertools
import resource
import time
from contextlib import contextmanager

import pytest
import torch
from safetensors import SafetensorError

from rddrs import ANCER, Full, certify, certify_input
from rddrs.archives import Archives
from rddrs.files import Unreadable, write_text
from rddrs.methods import Problem, kept_sigma_x
from rddrs.records import Folder, Store
from rddrs.records.store import COLUMNS
from rddrs.smoothing import kept_batch
from rddrs.trust import Outcome


@contextmanager
def full_disk(left: int):
    """No file grows beyond so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (left, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def certificate(oracle_of):
    oracle = oracle_of("full", 60, radius=1.0)
    return certify(oracle.classifier, oracle.x, oracle.scale, samples=100, index=3)


@pytest.mark.parametrize("left", [0, 100, 3_000])
def test_a_full_disk_leaves_what_was_there_and_nothing_half_done(tmp_path, certificate, left):
    store, memory, note = Store(tmp_path), Folder(tmp_path / "memory"), tmp_path / "note"
    writes = {
        store.path(3): lambda it: store.save(it, dict.fromkeys(COLUMNS, 0) | {"index": 3}),
        memory.path / "3.safetensors": lambda it: memory.write(Outcome.unchanged(it)),
        note: lambda it: write_text(note, str(it.scale.tensors()["triangle"].tolist())),
    }
    other = certify(lambda x: x[:, :2], certificate.x, Full(torch.eye(60)), samples=100, index=3)
    for path, write in writes.items():
        write(certificate)
        before = path.read_bytes()
        with full_disk(left), pytest.raises((OSError, SafetensorError)) as told:
            write(other)
        assert isinstance(told.value, SafetensorError) or told.value.filename == str(path)
        assert path.read_bytes() == before
        assert [it.name for it in path.parent.iterdir() if it.name.startswith(".")] == []
        write(other)
        assert path.read_bytes() != before


def test_a_clock_that_jumps_changes_no_record(oracle_of, monkeypatch):
    oracle, jumps = oracle_of("isotropic", 6, radius=1.0), itertools.cycle([0.0, 1e9, -1e9, 3.5])

    def record():
        found = certify_input(oracle.classifier, oracle.x, sigma=0.3, method=ANCER(iterations=5), samples=500, label=1)
        return {name: value for name, value in found.record.items() if not name.endswith("seconds")}

    before = record()
    monkeypatch.setattr(time, "time", lambda: next(jumps))
    assert record() == before


def test_what_is_kept_beside_a_classifier_is_named_where_it_is_damaged(tmp_path, oracle_of):
    oracle, archives, batch = oracle_of("isotropic", 6, radius=1.0), Archives(tmp_path), tmp_path / "batch.json"
    written = (b'{"sigma_x": 0.2', b'{"sigma_x": [0.2], "seconds": 1}', b'{"sigma_x": 0.2, "seconds": NaN}')
    for index, content in enumerate(written):
        archives.write(f"{index}.json", content)
        with pytest.raises(Unreadable, match=r"\.tar is damaged .*: delete it and run again"):
            kept_sigma_x(Problem(oracle.classifier, oracle.x, 0.3, None, 0, index, 128), archives)
    for text in ('{"batch": ', '{"batch": 2.5}', '{"batch": -1}'):
        batch.write_text(text)
        with pytest.raises(Unreadable, match=r"batch\.json is damaged .*: delete it and run again"):
            kept_batch(oracle.classifier, oracle.x, batch)
