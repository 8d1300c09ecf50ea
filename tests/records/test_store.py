"""What a run keeps: files that are whole or absent, and read back as they were written."""

import dataclasses
import json
import resource

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from rddrs import certify
from rddrs.files import replacing, write_text
from rddrs.noise import save_scale
from rddrs.records.binding import Binding
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


@pytest.mark.parametrize("begun", [False, True])
def test_what_cannot_be_written_is_named_by_its_own_path_alone(tmp_path, begun):
    with pytest.raises(OSError) as caught, replacing(tmp_path) as part:  # a folder: no file takes its place
        (part.touch if begun else part.stat)()
    assert str(caught.value) == f"[Errno {caught.value.errno}] {caught.value.strerror}: '{tmp_path}'"


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


BINDING = Binding(classifier="a", data="b", configuration="c")


@pytest.mark.parametrize("read", ["stated", "record", "load", "certificate", "is_whole"])
@pytest.mark.parametrize("part", ["classifier", "data", "configuration", "version"])
def test_a_region_of_another_run_is_not_read(tmp_path, certified, part, read):
    Store(tmp_path, BINDING).save(*certified(index=8))
    assert Store(tmp_path, BINDING).record(8)["index"] == 8
    with pytest.raises(ValueError, match=rf"8\.safetensors is of another {part} than this run"):
        getattr(Store(tmp_path, dataclasses.replace(BINDING, **{part: "another"})), read)(8)


def test_a_region_that_states_no_run_is_not_read_as_one_of_a_run(store, certified):
    store.save(*certified(index=8))
    with pytest.raises(ValueError, match="another classifier and data and configuration and version"):
        Store(store.folder, BINDING).record(8)


def test_a_region_under_another_index_is_not_read(store, certified):
    store.save(*certified(index=8))
    store.path(8).rename(store.path(9))
    with pytest.raises(ValueError, match=r"9\.safetensors is the region of input 8"):
        store.certificate(9)


def test_a_scale_that_inputs_share_is_written_once_and_read_once(store, certified):
    """Forty regions of one C: the folder holds it once, and what is read is one object."""
    certificate, record = certified(dim=60)
    for index in range(40):
        store.save(dataclasses.replace(certificate, index=index), record | {"index": index}, shared=True)
    size = sum(path.stat().st_size for path in store.folder.rglob("*.safetensors"))
    assert size < 40 * 2_500 + 60 * 61 / 2 * 4 + 1_000
    assert len(list((store.folder / "scales").iterdir())) == 1
    again = [Store(store.folder).certificate(index) for index in range(2)]
    assert all(torch.equal(it.scale.matrix, certificate.scale.matrix) for it in again)
    reader = Store(store.folder)
    assert reader.certificate(0).scale is reader.certificate(39).scale


@pytest.mark.parametrize("flaw", ["missing", "cut", "another"])
def test_a_shared_scale_that_is_not_the_stated_one_is_named(store, certified, flaw):
    certificate, record = certified()
    store.save(certificate, record, shared=True)
    (path,) = (store.folder / "scales").iterdir()
    if flaw == "another":
        save_scale(certificate.scale.scaled(2.0), path)
    else:
        path.write_bytes(path.read_bytes()[:-5])
    if flaw == "missing":
        path.unlink()
    assert Store(store.folder).is_whole(0) == (flaw != "missing")
    with pytest.raises(ValueError, match=rf"^{path}.* is damaged"):
        Store(store.folder).certificate(0)
    path.unlink(missing_ok=True)
    store.save(certificate, record, shared=True)
    assert Store(store.folder).certificate(0).scale.digest == certificate.scale.digest


def planted(path, change):
    """The file of a region or a scale with other tensors, or other statements."""
    with safe_open(path, "pt") as file:
        stated, tensors = dict(file.metadata() or {}), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    change(tensors, stated)
    save_file(tensors, path, stated)


def with_values(**values):
    def change(_, stated):
        stated["certificate"] = json.dumps(json.loads(stated["certificate"]) | values)

    return change


@pytest.mark.parametrize(
    ("folder", "change", "told"),
    [
        ("regions", lambda tensors, _: tensors.update(linf=torch.ones(1)), "beside x there are linf"),
        ("regions", with_values(counts=[499.5, 0]), "its counts are no whole numbers"),
        ("regions", with_values(prediction=10**30), "prediction=1000000000000000000000000000000: no class"),
        ("regions", with_values(radius=10**30), "no probability below 1 has more than 8.2"),
        ("regions", with_values(counts=[501, -1]), "its counts"),
        ("regions", with_values(selection_counts=["100", "0"]), "its selection_counts"),
        ("regions", with_values(bound="exact"), "damaged .bound=exact: "),
        ("regions", with_values(prediction=None), "damaged .prediction=None: .*integer"),
        ("regions", with_values(batch=0), "damaged .batch=0: .*greater than 0"),
        ("regions", with_values(radius="9"), "damaged .radius='9': .*number"),
        ("regions", lambda tensors, _: tensors.update(x=torch.ones(5)), "x has 5 entries, its C is of inputs of 6"),
        ("scales", lambda tensors, _: tensors.update(theta=torch.ones(6)), "theta"),
        ("scales", lambda _, stated: stated.update(norm="l1"), "norm=l1"),
    ],
)
def test_what_belongs_to_no_certificate_is_named(folder, change, told, store, certified):
    certificate, record = certified()
    store.save(certificate, record, shared=True)
    (path,) = (store.folder / folder).iterdir()
    planted(path, change)
    with pytest.raises(ValueError, match=told):
        Store(store.folder).certificate(0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_region_holds_one_scale(kind, store, certified):
    certificate, record = certified(kind)
    store.save(certificate, record)
    planted(store.path(0), lambda tensors, _: tensors.update(another=torch.ones(6)))
    with pytest.raises(ValueError, match=r"no scale has the tensors .*another"):
        store.certificate(0)


@pytest.mark.parametrize("kind", KINDS)
def test_regions_in_archives_are_those_of_single_files(tmp_path, certified, kind):
    """Half of a run in single files, as older runs have them, the other half in archives."""
    single, packed = Store(tmp_path, BINDING), Store(tmp_path, BINDING, packed=True)
    made = {index: certified(kind, index) for index in range(4)}
    for index, one in made.items():
        (single if index % 2 else packed).save(*one)
    assert len(files(single)) == 3
    for store in (single, packed, Store(tmp_path)):
        assert store.finished() == {0, 1, 2, 3} and all(map(store.is_whole, made))
        for index, (certificate, record) in made.items():
            assert store.record(index) == record
            again = store.certificate(index)
            assert torch.equal(again.x, certificate.x) and again.scale.digest == certificate.scale.digest
            assert again.counts == certificate.counts and again.radius == certificate.radius
    with pytest.raises(ValueError, match=r"\.tar/2\.safetensors is of another data than this run"):
        Store(tmp_path, dataclasses.replace(BINDING, data="another")).record(2)
    part = packed.archives.find("2.safetensors")
    assert part is not None
    content = part.read()
    packed.archives.write("2.safetensors", content[:-3])
    with pytest.raises(ValueError, match=r"\.tar/2\.safetensors is damaged"):
        Store(tmp_path).record(2)
