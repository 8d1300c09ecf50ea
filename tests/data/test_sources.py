"""Data that a user brings: folders of images, arrays, map-style data sets, the canonical archive of CIFAR-10."""

import io
import os
import pickle
import tarfile
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import TensorDataset

from rddrs.data import BrokenInput, Dataset, Items, Stored, arrays, cifar10, folder, items, read_anew
from rddrs.data.inputs import as_tensor

module = import_module("rddrs.data.folder")


def pixels(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def images(root: Path, shape: tuple[int, ...] = (6, 5, 3), classes: str = "ab", each: int = 3) -> Path:
    """A folder of PNG files of random pixels, with a file of the system that is no image."""
    for number, part in enumerate(("train", "test")):
        for label, name in enumerate(classes):
            place = root / part / name
            place.mkdir(parents=True)
            (place / ".thumbnails").write_bytes(b"none")
            for index in range(each):
                Image.fromarray(pixels(100 * number + 10 * label + index, *shape)).save(place / f"{index}.png")
    return root


def test_bytes_stay_bytes_until_a_batch_is_asked_for():
    values = torch.from_numpy(pixels(0, 7, 2, 3))
    inputs = Stored(values)
    whole = values.float() / 255
    assert inputs.shape == (7, 2, 3) and len(inputs) == 7
    for rows in (3, -1, slice(1, 6, 2), slice(None), [4, 0], torch.tensor([6, 6])):
        assert torch.equal(inputs[rows], whole[rows])
    with pytest.raises(IndexError):
        inputs[7]


def test_a_folder_of_images_is_read_when_it_is_asked_for(tmp_path):
    data = folder(str(images(tmp_path)))
    assert (data.shape, data.classes, data.grid) == ((3, 6, 5), 2, 1 / 255)
    assert data.train_labels.tolist() == [0, 0, 0, 1, 1, 1]
    expected = torch.from_numpy(pixels(111, 6, 5, 3)).permute(2, 0, 1).float() / 255
    assert torch.equal(data.test_inputs[4], expected)
    (tmp_path / "test" / "b" / "1.png").unlink()
    assert torch.equal(data.test_inputs[4], expected), "decoded once"
    with pytest.raises(ValueError, match=r"test/a/0.png is broken"):
        (tmp_path / "test" / "a" / "0.png").unlink()
        _ = data.test_inputs[0]


def test_grey_images_have_one_channel_and_sizes_are_made_equal_by_a_central_crop(tmp_path):
    data = folder(str(images(tmp_path, shape=(4, 4))))
    assert torch.equal(data.train_inputs[0], torch.from_numpy(pixels(0, 1, 4, 4)).float() / 255)
    wide = np.zeros((2, 6), np.uint8)
    wide[:, 2:4] = 255
    Image.fromarray(wide).save(tmp_path / "test" / "a" / "0.png")
    assert torch.equal(folder(str(tmp_path), size=2).test_inputs[0], torch.ones(1, 2, 2))


def test_the_digest_follows_the_content(tmp_path):
    first, second = (images(tmp_path / name) for name in "pq")
    before = folder(str(first)).digest
    assert len(before) == 64 and before == folder(str(second)).digest
    Image.fromarray(pixels(99, 6, 5, 3)).save(second / "test" / "b" / "2.png")
    assert before != folder(str(second)).digest
    rows = torch.from_numpy(pixels(0, 6, 2))
    labels = torch.arange(6) % 2
    digests = {Dataset(x, y, rows, labels).digest for x in (rows, rows.float(), rows + 1) for y in (labels, 1 - labels)}
    assert len(digests) == 6


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda root: (root / "train/a/0.png").write_bytes(b"none"), r"train/a/0.png is no image"),
        (lambda root: [path.unlink() for path in (root / "test/b").glob("*.png")], r"test/b: the class is empty"),
        (lambda root: (root / "train/b").rename(root / "train/c"), r"test/b: there is no such class in .*train"),
        (lambda root: (root / "test").rename(root / "val"), r"test: there is no such folder"),
        (
            lambda root: Image.new("RGB", (9, 9)).save(root / "train/b/1.png"),
            r"5 x 6 pixels, .*train/b/1.png 9 x 9: set data.size",
        ),
    ],
    ids=["broken", "empty", "classes", "no test", "sizes"],
)
def test_a_folder_that_does_not_fit_is_one_error_with_a_name(tmp_path, damage, message):
    damage(images(tmp_path))
    with pytest.raises(ValueError, match=message):
        folder(str(tmp_path))


def test_arrays_of_any_shape(tmp_path):
    path = tmp_path / "table.npz"
    x, y = np.random.default_rng(0).normal(size=(8, 4)), np.arange(8) % 3
    np.savez(path, x_train=x, y_train=y, x_test=x[:2], y_test=y[:2])
    data = arrays(str(path))
    assert (data.shape, data.classes, data.grid) == ((4,), 3, None)
    assert torch.equal(data.train_inputs[:], torch.from_numpy(x).float())
    np.savez(path, x_train=pixels(0, 8, 1, 9, 9), y_train=y[:, None], x_test=pixels(1, 2, 1, 9, 9), y_test=y[:2] * 1.0)
    data = arrays(str(path))
    assert (data.shape, data.grid, data.train_labels.tolist()) == ((1, 9, 9), 1 / 255, y.tolist())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"y_train": np.arange(8) % 2 + 1, "y_test": np.ones(2)}, "from 1 to 2 .they begin at 1: subtract 1"),
        ({"y_train": -np.ones(8)}, "the label of train input 0 is -1"),
        ({"y_train": np.linspace(0, 1, 8)}, "train labels are no whole numbers"),
        ({"y_train": np.eye(8)}, r"train labels have shape \(8, 8\).*argmax"),
        ({"y_train": np.array(list("abababab"))}, "train labels are no class numbers.*numpy.unique"),
        ({"y_train": np.arange(7) % 2}, "8 train inputs but 7 train labels"),
        ({"x_train": np.ones((8, 9, 9, 3)), "x_test": np.ones((2, 9, 9, 3))}, r"channels last.*moveaxis"),
        ({"x_test": np.ones((2, 5))}, r"test inputs have shape \(5,\), training inputs \(4,\)"),
        ({"x_test": np.full((2, 4), np.nan)}, "test input 0 holds NaN"),
        ({"x_train": np.ones(8)}, r"train inputs have shape \(8,\)"),
        ({"x_train": np.array([["a"] * 4] * 8)}, "train inputs are no numbers"),
        ({"x_test": np.ones((0, 4)), "y_test": np.ones(0)}, "no test inputs"),
        ({"x_train": None}, "x_train"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_arrays_that_do_not_fit_are_refused(tmp_path, changes, message):
    path = tmp_path / "table.npz"
    fitting = {"x_train": np.ones((8, 4)), "y_train": np.arange(8) % 2, "x_test": np.ones((2, 4)), "y_test": np.ones(2)}
    np.savez(path, **{name: value for name, value in (fitting | changes).items() if value is not None})
    with pytest.raises(ValueError, match=f"(?s)data.file={path}.*{message}"):
        arrays(str(path))


@pytest.mark.parametrize("content", [None, b"none", b""], ids=["missing", "text", "empty"])
def test_a_file_that_is_no_npz_is_named(tmp_path, content):
    path = tmp_path / "table.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=f"data.file={path}"):
        arrays(str(path))


class Pictures:
    """A map-style data set as torchvision's are: Pillow images, and the labels beside them."""

    def __init__(self, seed: int, targets: list[int]) -> None:
        self.targets, self._seed = targets, seed

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, row: int) -> tuple[Image.Image, int]:
        return Image.fromarray(pixels(self._seed + row, 4, 4, 3)), self.targets[row]


class Rows(list):
    """A data set as Hugging Face's are: mappings."""


def test_map_style_data_sets():
    data = items(Pictures(0, [1, 0, 2]), Pictures(9, [2]))
    assert (data.shape, data.classes, data.grid) == ((3, 4, 4), 3, 1 / 255)
    assert torch.equal(data.train_inputs[[2, 0]][0], as_tensor(Image.fromarray(pixels(2, 4, 4, 3))) / 255)
    floats = TensorDataset(torch.rand(5, 3), torch.arange(5) % 2)
    data = items(floats, floats)
    assert torch.equal(data.test_inputs[:], floats.tensors[0]) and data.grid is None
    assert data.train_labels.tolist() == [0, 1, 0, 1, 0]
    rows = Rows({"img": np.full((1, 2, 2), value, np.uint8), "label": value} for value in (0, 1))
    assert items(rows, rows).train_inputs[1].unique().tolist() == [pytest.approx(1 / 255)]


def test_map_style_data_sets_that_do_not_fit():
    with pytest.raises(ValueError, match="item 0 has 3 parts"):
        items([(np.ones(2), 0, 1)], [(np.ones(2), 0, 1)])
    mixed = Items([np.ones((1, 2, 2)), np.ones((1, 3, 2)), np.full((1, 2, 2), np.nan)].__getitem__, 3, "train")
    with pytest.raises(ValueError, match=r"train input 1 is torch.float32 of shape \(1, 3, 2\), the first one"):
        mixed[1]
    with pytest.raises(ValueError, match="train input 2 holds NaN"):
        mixed[2]


class Failing(list):
    """Its fifth item breaks when it is read, as a truncated file does."""

    def __getitem__(self, row):
        if row == 4:
            raise OSError("image file is truncated")
        return super().__getitem__(row)


def test_an_item_that_cannot_be_read_is_named():
    given = Failing([(np.ones((1, 2, 2), np.uint8), 0), (np.ones((1, 2, 2), np.uint8), 1)] * 50)
    with pytest.raises(BrokenInput, match="train item 4 cannot be read: OSError: image file is truncated"):
        items(given, given)
    given.targets = [0, 1] * 50  # pyright: ignore[reportAttributeAccessIssue]
    data = items(given, given)
    with pytest.raises(BrokenInput, match="test item 4 cannot be read: OSError: image file is truncated"):
        _ = data.test_inputs[1:5]


def test_images_that_do_not_fit_in_memory_are_decoded_each_time(monkeypatch):
    monkeypatch.setattr(import_module("rddrs.data.inputs"), "BUFFER", 50)
    asked = []
    inputs = Items(lambda row: asked.append(row) or pixels(row, 3, 4), 5, "train")
    assert inputs.lazy and torch.equal(inputs[3], inputs[3]) and asked == [0, 3, 3]


def test_cifar10_is_read_from_its_archive(tmp_path, monkeypatch):
    path = tmp_path / "cifar-10-python.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for number, name in enumerate([*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]):
            content = pickle.dumps({b"data": pixels(number, 2, 3072), b"labels": [number, 9]})
            entry = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    with pytest.raises(ValueError, match=f"{path} is damaged: its sha256"):
        cifar10(str(tmp_path))
    checksum = import_module("pooch").file_hash(str(path))
    monkeypatch.setattr(import_module("rddrs.data.cifar10"), "CIFAR10_FILES", {path.name: checksum})
    data = cifar10(str(tmp_path))
    assert (data.shape, data.classes, data.train_labels.tolist()) == ((3, 32, 32), 10, [0, 9, 1, 9, 2, 9, 3, 9, 4, 9])
    red, green, blue = torch.from_numpy(pixels(5, 2, 3072)[1]).view(3, 32, 32).float() / 255
    assert torch.equal(data.test_inputs[1], torch.stack([red, green, blue]))


def test_cifar10_that_is_missing_offline_names_the_ways_out(tmp_path, monkeypatch):
    monkeypatch.setattr(import_module("rddrs.data.cifar10"), "CIFAR10_SOURCE", "http://127.0.0.1:9/")
    with pytest.raises(ValueError, match=f"CIFAR-10: cifar-10-python.tar.gz is not in data.root={tmp_path}"):
        cifar10(str(tmp_path))


@pytest.fixture
def reads(monkeypatch, tmp_path):
    """The names of the files whose content or head is read; a cache of its own, in which nothing is just changed."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("rddrs.data.seen.COARSE", -(10**12))
    found: list[str] = []
    for name in ("_read_head", "file_digest"):
        read = getattr(module, name)
        monkeypatch.setattr(module, name, lambda path, read=read: found.append(path.name) or read(path))
    return found


def test_a_folder_is_read_once_and_what_changes_is_seen(reads, tmp_path):
    root = images(tmp_path / "data")
    before = folder(str(root)).digest
    assert len(reads) == 24, "head and content of 12 files"
    reads.clear()
    assert folder(str(root)).digest == before and reads == []
    with read_anew():
        assert folder(str(root)).digest == before and len(reads) == 24
    place = root / "test" / "b" / "1.png"
    times = place.stat()
    content = bytearray(place.read_bytes())
    content[-20] ^= 1
    reads.clear()
    place.write_bytes(content)  # as long, and its time is set back
    os.utime(place, ns=(times.st_atime_ns, times.st_mtime_ns))
    after = folder(str(root)).digest
    assert after != before and reads == ["1.png", "1.png"]
    place.rename(root / "test" / "b" / "9.png")
    assert folder(str(root)).digest not in (before, after) and reads[2:] == ["9.png", "9.png"]


@pytest.mark.parametrize("damage", [b"", b"none", b'0\n{"test/a/0.png": {}}'])
def test_a_damaged_cache_is_as_none(reads, tmp_path, damage):
    root = images(tmp_path / "data")
    before = folder(str(root)).digest
    (cache,) = (tmp_path / "cache").rglob("*.json")
    whole = cache.read_bytes()
    cache.write_bytes(damage or whole[:-9])
    reads.clear()
    assert folder(str(root)).digest == before and len(reads) == 24
    assert cache.read_bytes() == whole
    cache.unlink()
    cache.mkdir()  # which cannot be replaced
    assert folder(str(root)).digest == before


def test_what_is_read_beside_a_change_is_read_once_more(reads, monkeypatch, tmp_path):
    """A clock may be too coarse to tell a second change of the same length from the first."""
    monkeypatch.setattr("rddrs.data.seen.COARSE", 10**12)
    root = images(tmp_path / "data")
    for _ in range(2):
        reads.clear()
        assert folder(str(root)).digest and len(reads) == 24


def test_processes_may_fill_a_cache_at_once(reads, tmp_path):
    root = images(tmp_path / "data")
    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(lambda _: folder(str(root)).digest, range(8)))) == 1
    reads.clear()
    assert folder(str(root)).digest and reads == []
    assert [path.suffix for path in (tmp_path / "cache").rglob("*") if path.is_file()] == [".json"]
