"""What a run keeps: files that are whole or absent, and read back as they were written."""

import dataclasses
import resource

import pytest
import torch

from rddrs import certify
from rddrs.files import replacing, write_text
from rddrs.records.store import COLUMNS, Store

KINDS = ["isotropic", "diagonal", "full", "kronecker"]


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "run")


@pytest.fixture
def certified(oracle_of):
    """A certificate of an input, with its record."""

    def make(kind="full", index=0, dim=6, radius=1.0):
        oracle = oracle_of(kind, dim, radius=radius, seed=index)
        certificate = certify(oracle.classifier, oracle.x, oracle.scale, samples=500, seed=3, index=index)
        record = dict.fromkeys(COLUMNS, 0.1 + 0.2) | {
            "index": index,
            "prediction": certificate.prediction,
            "p_lower": certificate.p_lower,
            "radius": certificate.radius,
            "log_volume": certificate.log_volume,
            "status": "done",
        }
        return certificate, record

    return make


def files(store):
    return sorted(path.name for path in store.folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("radius", [1.0, 0.0], ids=["certified", "abstained"])
def test_a_certificate_is_read_back_bit_for_bit(store, certified, kind, radius):
    certificate, record = certified(kind, index=12, radius=radius)
    store.save(certificate, record)
    again = store.certificate(12)
    assert torch.equal(again.x, certificate.x) and again.x.dtype == certificate.x.dtype
    assert type(again.scale) is type(certificate.scale)
    assert torch.equal(again.scale.matrix, certificate.scale.matrix)
    for field in dataclasses.fields(certificate):
        if field.name not in ("x", "scale"):
            assert getattr(again, field.name) == getattr(certificate, field.name), field.name
    assert store.record(12) == record
    assert store.finished() == {12}


def test_the_table_keeps_the_order_that_is_asked_for(store, certified):
    for index in (5, 30, 2):
        store.save(*certified(index=index))
    table = store.records([30, 2, 5])
    assert table["index"].tolist() == [30, 2, 5]
    assert list(table.columns) == COLUMNS


def test_missing_indices_are_named(store, certified):
    store.save(*certified(index=1))
    with pytest.raises(ValueError, match=r"2 of 3 inputs are not certified yet: \[0, 7\]"):
        store.records([7, 1, 0])


@pytest.mark.parametrize("flaw", [{"radius": float("nan")}, {"status": None}], ids=["NaN", "missing"])
def test_a_record_that_is_not_whole_is_refused(store, certified, flaw):
    certificate, record = certified()
    record |= flaw
    record = {name: value for name, value in record.items() if value is not None}
    with pytest.raises(ValueError, match="the record of input 0 lacks"):
        store.save(certificate, record)
    assert store.finished() == set() and files(store) == []


def test_a_disk_that_is_full_leaves_nothing_half_done(store, certified):
    """Files may not grow beyond 1,000 bytes: writing really fails in the middle."""
    store.save(*certified(index=1))
    before = store.path(1).read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    large = certified(index=1, dim=60)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, hard))
    try:
        with pytest.raises(Exception, match=r"(?i)file too large|os error 27"):
            store.save(*large)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert files(store) == ["1.safetensors"]
    assert store.path(1).read_bytes() == before


def test_what_fails_midway_leaves_the_old_file(tmp_path):
    path = tmp_path / "summary.json"
    write_text(path, "old")
    with pytest.raises(KeyboardInterrupt), replacing(path) as part:
        part.write_text("half of the n")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert [found.name for found in tmp_path.iterdir()] == ["summary.json"]
    write_text(path, "new")
    assert path.read_text() == "new"


def test_a_file_that_was_being_written_is_not_finished(store, certified):
    store.save(*certified(index=3))
    with replacing(store.path(4)) as part:
        part.write_bytes(store.path(3).read_bytes())
        assert store.finished() == {3}
    assert store.finished() == {3, 4}


@pytest.mark.parametrize("read", ["record", "load", "certificate"])
@pytest.mark.parametrize("damage", ["cut", "empty", "text", "another file"])
def test_a_damaged_file_is_named(store, certified, read, damage):
    store.save(*certified(index=8))
    path = store.path(8)
    content = path.read_bytes()
    path.write_bytes({"cut": content[:-5], "empty": b"", "text": b"x" * 100, "another file": content}[damage])
    if damage == "another file":
        from safetensors.torch import save_file

        save_file({"weights": torch.zeros(2)}, path)
    with pytest.raises(ValueError, match=r"8\.safetensors.* is damaged"):
        getattr(store, read)(8)
