"""What people bring: images of any depth, odd folders, ranges, labels and data sets are right, said or refused."""

import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image
from sklearn.datasets import load_digits

from rddrs.data import BrokenInput, Dataset, arrays, doubts, folder, items

LOADED: Any = load_digits()
X: np.ndarray = LOADED.images / 16
Y: np.ndarray = LOADED.target


def bytes_of(values: np.ndarray) -> Image.Image:
    return Image.fromarray(np.rint(values * 255).astype("uint8"))


def alpha(values: np.ndarray, colour: int = 0) -> Image.Image:
    """A drawing of one colour, its shape in the alpha channel alone."""
    channels = np.full((8, 8, 4), colour, "uint8")
    channels[..., 3] = np.rint(values * 255)
    return Image.fromarray(channels)


def palette(values: np.ndarray) -> Image.Image:
    found = bytes_of(values).convert("P")
    found.info["transparency"] = 0  # its darkest colour, or another
    return found


def sixteen_bits_see_through(values: np.ndarray) -> Image.Image:
    found = Image.fromarray((values * 65535).astype("uint16"))
    found.info["transparency"] = 0
    return found


def digit_folder(root: Path, make: Callable[[np.ndarray], Image.Image] = bytes_of, suffix: str = "png") -> Path:
    for label in range(2):
        for number, row in enumerate(np.flatnonzero(label == Y)[:8]):
            place = root / ("train" if number < 6 else "test") / f"c{label}"
            place.mkdir(parents=True, exist_ok=True)
            make(X[row]).save(place / f"{number}.{suffix}")
    return root


FIRST = X[np.flatnonzero(Y == 0)[0]]


@pytest.mark.parametrize(
    ("make", "suffix", "expected", "error", "grid"),
    [
        (lambda a: Image.fromarray((a * 65535).astype("uint16")), "png", FIRST, 1 / 65535, 1 / 65535),
        (lambda a: Image.fromarray((a * 65535).astype("uint16")), "tif", FIRST, 1 / 65535, 1 / 65535),
        (lambda a: Image.fromarray((a * 65535).astype(">u2")), "tif", FIRST, 1 / 65535, 1 / 65535),
        (lambda a: Image.fromarray((a * 65535).astype("uint16")), "ppm", FIRST, 1 / 65535, 1 / 65535),
        (lambda a: Image.fromarray(a.astype("float32")), "tif", FIRST, 1e-6, None),
        (alpha, "png", 1 - FIRST, 1 / 255, 1 / 255),
        (alpha, "webp", 1 - FIRST, 0.01, 1 / 255),
        (lambda a: bytes_of(a).convert("LA"), "png", FIRST, 1 / 255, 1 / 255),
        (lambda a: bytes_of(a).convert("1"), "png", None, 0, 1 / 255),
        (lambda a: bytes_of(a).convert("P"), "png", FIRST, 1 / 255, 1 / 255),
        (palette, "png", np.where(FIRST == 0, 1, FIRST), 1 / 255, 1 / 255),
        (sixteen_bits_see_through, "png", np.where(FIRST == 0, 1, FIRST), 1 / 65535, 1 / 65535),
        (lambda a: bytes_of(a).convert("RGB").convert("CMYK"), "tif", FIRST, 1 / 255, 1 / 255),
        (lambda a: bytes_of(a), "gif", FIRST, 1 / 255, 1 / 255),
        (lambda a: bytes_of(a), "PNG", FIRST, 1 / 255, 1 / 255),
    ],
    ids=[
        "i16",
        "tiff16",
        "big_endian",
        "ppm16",
        "float",
        "alpha",
        "webp_alpha",
        "la",
        "onebit",
        "palette",
        "see_through",
        "i16_see_through",
        "cmyk",
        "gif",
        "upper",
    ],
)
def test_images_of_every_mode_have_their_own_range(tmp_path, make, suffix, expected, error, grid):
    data = folder(str(digit_folder(tmp_path, make, suffix)))
    found = data.train_inputs[0]
    assert data.grid == grid and found.min() >= 0 and found.max() <= 1
    if expected is None:
        assert set(found.unique().tolist()) == {0.0, 1.0} and data.train_inputs.binary
    else:
        assert np.abs(found.numpy() - expected).max() <= error + 1e-6
    if grid is not None:
        torch.testing.assert_close((found / grid).round() * grid, found, rtol=1e-6, atol=1e-7)


def test_grey_images_of_sixteen_bits_beside_colour_and_resized(tmp_path):
    root = digit_folder(tmp_path, lambda a: Image.fromarray((a * 65535).astype("uint16")))
    bytes_of(X[0]).convert("RGB").save(root / "train" / "c1" / "0.png")
    data = folder(str(root))
    assert (data.shape, data.grid) == ((3, 8, 8), 1 / 65535)
    assert np.abs(data.train_inputs[6].numpy() - np.rint(X[0] * 255) / 255).max() < 1e-6
    small = folder(str(root), size=4)
    assert (small.shape, small.grid) == ((3, 4, 4), 1 / 65535)
    assert small.train_inputs[0].mean().item() == pytest.approx(FIRST.mean(), abs=0.02)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda a: Image.fromarray((a * 2**30).astype("int32")), "mode I is not known: save it with 8 or 16 bits"),
        (lambda a: Image.fromarray((a * 255).astype("float32")), r"go from 0 to 239.*: they must lie in \[0, 1\]"),
        (lambda a: Image.fromarray(np.where(a > 0, a, np.nan).astype("float32")), "go from nan to nan"),
    ],
    ids=["32 bits", "floats", "nan"],
)
def test_a_range_that_is_not_known_is_refused_by_the_files_name(tmp_path, make, message):
    with pytest.raises(ValueError, match=f"train/c0/0.tif is no image that can be read: .*{message}"):
        folder(str(digit_folder(tmp_path, make, "tif")))


def test_what_is_transparent_is_said(tmp_path):
    assert any("16 images have transparency: they are laid on white" in note for note in notes(tmp_path, alpha))


def notes(root: Path, make: Callable[[np.ndarray], Image.Image] = bytes_of) -> list[str]:
    return folder(str(digit_folder(root, make))).notes


def clutter(root: Path) -> None:
    (root / "train/c0/Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0")
    (root / "train/c0/._0.png").write_bytes(b"\0\5\x16\7")
    (root / "train/__MACOSX").mkdir()
    (root / "train/.DS_Store").write_bytes(b"\0")
    (root / "test/c1/README.txt").write_text("images")
    bytes_of(X[0]).save(root / "test/loose.png")


def test_what_is_left_out_is_said_and_counts_are(tmp_path):
    clutter(digit_folder(tmp_path))
    data = folder(str(tmp_path))
    assert (len(data.train_inputs), len(data.test_inputs)) == (12, 4)
    counts, *left = data.notes
    assert "12 training images, 4 test images" in counts
    for name in ("train/c0/Thumbs.db", "train/c0/._0.png", "train/__MACOSX", "train/.DS_Store"):
        assert any("left out, hidden: " in note and name in note for note in left)
    assert any(note.endswith("left out, no images: test/c1/README.txt") for note in left)
    assert any(note.endswith("left out, in no class: test/loose.png") for note in left)


def moved(root: Path, *into: str) -> None:
    """The images of a class into a folder below it."""
    for name in into:
        place = root / "train/c0" / name
        place.mkdir(parents=True)
        for number in range(3):
            (root / f"train/c0/{number}.png").rename(place / f"{number}.png")


@pytest.mark.parametrize("into", [["more"], ["images"], ["a/b/c"]], ids=str)
def test_subfolders_of_a_class_belong_to_it(tmp_path, into):
    moved(digit_folder(tmp_path), *into)
    data = folder(str(tmp_path))
    assert len(data.train_inputs) == 12 and data.train_labels.tolist() == [0] * 6 + [1] * 6


def test_a_class_that_is_a_link_is_read_and_the_names_of_files_may_be_of_any_encoding(tmp_path):
    before = folder(str(digit_folder(tmp_path))).digest
    (tmp_path / "train/c1").rename(tmp_path / "elsewhere")
    (tmp_path / "train/c1").symlink_to(tmp_path / "elsewhere")
    assert folder(str(tmp_path)).digest == before
    os.rename(os.fsencode(tmp_path / "train/c0/0.png"), os.fsencode(tmp_path / "train/c0") + b"/0caf\xe9.png")
    (tmp_path / "train/c0/1.png").rename(tmp_path / "train/c0/1_ä_数字.png")
    data = folder(str(tmp_path))
    assert len(data.train_inputs[:]) == 12 and data.digest != before


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda root: link(root / "train/c1/3.png", "/nowhere/3.png"), "train/c1/3.png is a link to /nowhere/3.png"),
        (lambda root: (root / "train/c1/loop").symlink_to(root / "train"), "is a link to a folder that it lies in"),
        (lambda root: loop(root / "train/c1", root / "other"), "c1/there/back is a link to a folder that it lies in"),
        (lambda root: link(root / "train/c1/3.png", "3.png"), "c1/3.png is a link to 3.png, which .* leads back to it"),
        (lambda root: (root / "train/c1/3.png").write_bytes(b""), "train/c1/3.png is no image"),
        (lambda root: (root / "train/c1/3.png").write_text("<html>"), "train/c1/3.png is no image"),
        (lambda root: (root / "test").rename(root / "val"), r"test: there is no such folder \(there are train, val\)"),
        (
            lambda root: [turn_to_text(path) for path in (root / "train/c0").iterdir()],
            "none of its 6 files is an image",
        ),
    ],
    ids=["dead link", "loop", "loop of two", "link to itself", "empty", "html", "val", "npy"],
)
def test_odd_folders_are_refused_by_name(tmp_path, damage, message):
    damage(digit_folder(tmp_path))
    with pytest.raises(ValueError, match=message):
        folder(str(tmp_path))


def turn_to_text(path: Path) -> None:
    path.unlink()
    path.with_suffix(".npy").write_bytes(b"numbers")


def loop(place: Path, other: Path) -> None:
    """A link to another folder, and one back."""
    other.mkdir()
    (place / "there").symlink_to(other)
    (other / "back").symlink_to(place)


def link(path: Path, target: str) -> None:
    path.unlink()
    path.symlink_to(target)


def test_several_frames_and_images_to_be_turned_are_said(tmp_path):
    """They are read as they lie, but TIFF files, which Pillow turns."""
    root = digit_folder(tmp_path)
    bytes_of(X[0]).save(root / "train/c0/9.gif", save_all=True, append_images=[bytes_of(1 - X[0])])
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    for name in ("train/c1/8.png", "test/c0/8.tif"):
        bytes_of(X[0]).save(root / name, exif=exif)
    bytes_of(X[0]).save(root / "train/c1/9.jpg", exif=b"Exif\0\0no EXIF")
    data = folder(str(root))
    assert np.abs(data.train_inputs[6][0].numpy() - X[0]).max() < 0.01
    assert np.abs(data.train_inputs[13][0].numpy() - X[0]).max() < 0.01
    assert np.abs(data.test_inputs[2][0].numpy() - np.rot90(X[0], -1)).max() < 0.01
    assert any("1 files hold several frames: the first is read: train/c0/9.gif" in note for note in data.notes)
    assert [note for note in data.notes if "to be turned" in note] == [
        f"data.root={root}: 1 images are to be turned, says their EXIF: they are read as they lie: train/c1/8.png"
    ]


def npz(path: Path, **changes: np.ndarray) -> str:
    found: dict[str, Any] = {
        "x_train": X[:200, None],
        "y_train": Y[:200],
        "x_test": X[200:260, None],
        "y_test": Y[200:260],
    }
    options: Any = found | changes
    np.savez(path / "own.npz", **options)
    return str(path / "own.npz")


BOTH = {"x_train": X[:200, None], "x_test": X[200:260, None]}


@pytest.mark.parametrize(
    ("change", "expected", "grid"),
    [
        (lambda a: (a * 65535).astype("uint16"), lambda a: a, 1 / 65535),
        (lambda a: a.astype(">f4"), lambda a: a, None),
        (lambda a: a.astype("longdouble"), lambda a: a, None),
        (np.asfortranarray, lambda a: a, None),
        (lambda a: (a > 0.5).astype("uint8"), lambda a: a > 0.5, None),
        (lambda a: a > 0.5, lambda a: a > 0.5, None),
        (lambda a: (a * 100).astype("int8"), lambda a: (a * 100).astype("int8"), None),
        (lambda a: 2 * a - 1, lambda a: 2 * a - 1, None),
    ],
    ids=["uint16", "bigendian", "longdouble", "fortran", "bits", "bool", "int8", "signed"],
)
def test_arrays_of_every_kind_have_their_values(tmp_path, change, expected, grid):
    data = arrays(npz(tmp_path, **{name: change(value) for name, value in BOTH.items()}))
    found = data.test_inputs[:].numpy()
    assert data.grid == grid and np.abs(found - expected(BOTH["x_test"])).max() < 1e-4
    assert data.train_inputs.binary == (len(np.unique(found)) == 2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"y_train": np.array([f"digit {label}" for label in Y[:200]])}, r"begin with \['digit 0'\]\): numpy.unique"),
        ({"y_train": np.where(Y[:200] == 0, np.nan, Y[:200])}, "no whole numbers .there is nan"),
        ({"x_train": BOTH["x_train"].astype(object)}, "x_train holds Python objects, not numbers"),
        ({"x_train": BOTH["x_train"].astype("datetime64[s]")}, "no numbers: they are datetime64"),
    ],
    ids=["strings", "nan", "object", "datetime"],
)
def test_arrays_that_hold_no_numbers_are_refused_in_our_words(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message) as caught:
        arrays(npz(tmp_path, **changes))
    assert "allow_pickle" not in str(caught.value) and "supported types" not in str(caught.value)


@pytest.mark.parametrize("name", ["single.npy", "table.csv", "data.pkl"])
def test_a_file_of_another_kind_is_named_without_advice_to_trust_it(tmp_path, name):
    path = tmp_path / name
    if name.endswith("npy"):
        np.save(path, X)
    else:
        path.write_bytes(b"a,b,label\n1,2,0\n" if name.endswith("csv") else b"\x80\x04N.")
    with pytest.raises(ValueError, match=f"data.file={path} is no npz file") as caught:
        arrays(str(path))
    assert "pickle" not in str(caught.value) and "protocol" not in str(caught.value)


def test_classes_without_a_training_input_are_said(tmp_path):
    keep = Y[:200] < 9
    told = arrays(npz(tmp_path, x_train=X[:200][keep][:, None], y_train=Y[:200][keep])).notes
    assert told == ["data: no training input has the labels 9"]
    assert Dataset(X[:200], Y[:200], X[200:260], Y[200:260]).notes == []


def t(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.asarray(values, "float32"))


@pytest.mark.parametrize(
    ("train", "test", "sigma", "message"),
    [
        (X[:99], X[99:199], 0.5, None),
        (2 * X[:99] - 1, X[99:199], 0.5, "does not look as if they were scaled alike"),
        (X[:99], X[99:199] + 1, 0.5, "does not look as if they were scaled alike"),
        (255 * X[:99], 255 * X[99:199], 0.5, "from 0 to 255: sigma=0.5 is far too small"),
        (X[:99] / 255, X[99:199] / 255, 0.5, "from 0 to 0.00392157: sigma=0.5 is far too large"),
        (X[:99] / 16, X[99:199] / 16, 0.5, "far too large"),
        (0 * X[:99], 0 * X[99:199], 0.5, "all training inputs are the same"),
        (X[:1].repeat(99, 0), X[:1].repeat(99, 0), 0.5, "all training inputs are the same"),
        (X[:99] > 0.5, X[99:199] > 0.5, 0.5, "two values alone, 0 and 1"),
    ],
    ids=["fine", "signed", "shifted", "large", "small", "12 bits", "constant", "one image", "two values"],
)
def test_ranges_that_may_be_meant_are_said(train, test, sigma, message):
    found = doubts(t(train), t(test), sigma)
    assert found == [] if message is None else any(message in note for note in found)


@pytest.mark.parametrize("factor", [255, 1 / 255, 65535])
def test_parts_of_other_scalings_are_refused(factor):
    with pytest.raises(ValueError, match=r"training inputs go from 0 to 1, test inputs .*must be scaled alike"):
        doubts(t(X[:99]), t(factor * X[99:199]), 0.5)
    assert doubts(t(X[:99]), t(0 * X[99:102]), 0.5) == [], "one of which nothing is known"


class Digits:
    """A map-style data set whose items `make` gives of an image and its label."""

    def __init__(self, make: Callable[[np.ndarray, int], object], count: int = 60, targets: object = None) -> None:
        self.make, self.count = make, count
        if targets is not None:
            self.targets = targets

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, row: int) -> object:
        if row >= self.count:
            raise IndexError(row)
        return self.make(X[row], int(Y[row]))


def tensor(a: np.ndarray) -> torch.Tensor:
    return t(a)[None]


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda a, c: (tensor(a), torch.tensor(c)), 0),
        (lambda a, c: (tensor(a), np.int64(c)), 0),
        (lambda a, c: (tensor(a), np.array([c])), 0),
        (lambda a, c: (a, float(c)), 0),
        (lambda a, c: (Image.fromarray((a * 65535).astype("uint16")), c), 2e-5),
        (lambda a, c: (bytes_of(a), c), 2e-3),
        (lambda a, c: (alpha(1 - a), c), 2e-3),
        (lambda a, c: {"image": tensor(a), "label": c}, 0),
    ],
    ids=["tensor", "numpy", "one_entry", "float", "pil16", "pil", "alpha", "mapping"],
)
def test_items_of_many_kinds(make, error):
    data = items(Digits(make), Digits(make))
    assert data.train_labels.tolist() == Y[:60].tolist()
    assert np.abs(data.test_inputs[7].numpy() - X[7]).max() <= error + 1e-6


@pytest.mark.parametrize("targets", [Y[:60].tolist(), list(Y), [f"digit {label}" for label in Y[:60]]])
def test_the_items_own_labels_are_believed(targets):
    """Not those before a `target_transform`, of the whole before a subset, or their names."""
    given = Digits(lambda a, c: (tensor(a), c % 2), targets=targets)
    assert items(given, given).train_labels.tolist() == (Y[:60] % 2).tolist()


def test_an_item_whose_label_is_not_the_one_that_was_stated_is_named():
    """The first item of every class agrees, a later one does not."""
    wrong = Y[:60].tolist()
    wrong[57] = (wrong[57] + 1) % 10
    data = items(Digits(lambda a, c: (tensor(a), c), targets=wrong), Digits(lambda a, c: (tensor(a), c)))
    with pytest.raises(BrokenInput, match=f"item 57 has the label {Y[57]}, `targets` {wrong[57]}"):
        _ = data.digest


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda a, c: (tensor(a), f"digit {c}"), "the label of item 0 is 'digit 0': a class number is needed: numpy"),
        (lambda a, c: (tensor(a), np.eye(10)[c]), "the label of item 0 is a ndarray.*one-hot .argmax"),
        (lambda a, c: (tensor(a), None), "the label of item 0 is None"),
        (lambda a, c: (tensor(a), c + 0.5), "the label of item 0 is 0.5"),
        (lambda a, c: (c, tensor(a)), "the label of item 0 is a Tensor.*is the label first"),
        (lambda a, c: (c, bytes_of(a)), "the label of item 0 is a Image.*is the label first"),
        (lambda a, c: None if c == 4 else (tensor(a), c), "item 24 is NoneType: pairs"),
        (lambda a, c: (None, c), "the input of item 0 is no image, no numbers"),
        (lambda a, c: (tensor(a), c, 7), "item 0 has 3 parts"),
        (lambda a, c: {"image": a, "label": c, "id": 3}, "item 0 has the keys image, label, id"),
        (lambda a, c: (tensor(np.roll(a, np.random.randint(-3, 4), 1)), c), "another at each reading"),
        (lambda a, c: (tensor(a), np.random.randint(10)), "another at each reading"),
        (lambda a, c: ((a * 255).astype("uint8")[..., None].repeat(3, 2), c), "channels last"),
    ],
    ids=[
        "words",
        "one_hot",
        "none",
        "half",
        "label_first",
        "image_first",
        "none_item",
        "no_input",
        "three",
        "keys",
        "random",
        "labels",
        "hwc",
    ],
)
def test_items_that_do_not_fit_are_refused_in_our_words(make, message):
    given = Digits(make)
    with pytest.raises(ValueError, match=message):
        items(given, given).train_inputs[:]


def test_a_data_set_that_can_only_be_walked_through_is_refused():
    with pytest.raises(ValueError, match="list_iterator has no length or no items"):
        items(iter([(np.ones(2), 0)]), [])


def test_nothing_is_warned_of_by_the_libraries(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        folder(str(digit_folder(tmp_path, palette))).train_inputs[:]
