"""What users bring: bad data, networks and weights are one clear error or a warning before any work; good ones run."""

import re
import subprocess
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_iris
from torch import Tensor, nn

from pipelines.errors import SettingsError
from pipelines.prepare import Prepared, prepare
from pipelines.run import run
from pipelines.train import train
from rddrs.data import BrokenInput
from rddrs.models import Perceptron, ResNet
from tests.pipelines.test_config import settings

Arrays = dict[str, np.ndarray]
SMALL = ["certify.samples=1000", "certify.batch=128", "method=rs"]


def pictures(count: int = 40) -> Arrays:
    """Bytes: the label is whether the left half is the brighter one."""
    source, labels = np.random.default_rng(0), np.arange(count) % 2
    images = source.integers(0, 100, (count, 1, 8, 8), dtype=np.uint8)
    images[labels == 0, :, :, :4] += 150
    images[labels == 1, :, :, 4:] += 150
    return {"x_train": images, "y_train": labels, "x_test": images[:10], "y_test": labels[:10]}


def brought(folder: Path, changes: Arrays, *overrides: str) -> Prepared:
    found = pictures() | changes
    x_train, y_train, x_test, y_test = (found[name] for name in ("x_train", "y_train", "x_test", "y_test"))
    np.savez(folder / "own.npz", x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)
    own = ["data=arrays", f"data.file={folder / 'own.npz'}", f"output_root={folder / 'outputs'}", "method=rs"]
    return prepare(settings(*own, *overrides))


X, Y = pictures()["x_train"], pictures()["y_train"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"y_train": Y + 1, "y_test": Y[:10] + 1}, "labels from 1 to 2 (they begin at 1: subtract 1)"),
        ({"y_train": Y - 1}, "the label of train input 0 is -1"),
        ({"y_train": Y + 0.5}, "no whole numbers"),
        ({"y_train": np.eye(2)[Y]}, "one class number an input is needed: argmax?"),
        ({"y_train": np.array(["left", "right"])[Y]}, "numpy.unique"),
        ({"y_test": Y}, "10 test inputs but 40 test labels"),
        ({"x_train": np.moveaxis(X, 1, -1), "x_test": np.moveaxis(X[:10], 1, -1)}, "numpy.moveaxis(x, -1, 1)"),
        ({"x_test": X[:10, :, :7]}, "test inputs have shape (1, 7, 8), training inputs (1, 8, 8)"),
        ({"x_test": np.where(X[:10] > 200, np.nan, X[:10])}, "test input 0 holds NaN"),
        ({"x_test": X[:0], "y_test": Y[:0]}, "there are no test inputs"),
        ({"x_train": X[:1], "y_train": Y[1:2]}, "there is one training input"),
        ({"y_train": Y * 0, "y_test": Y[:10] * 0}, "the largest label of 50 is 0"),
        ({"y_train": Y + 10**9 * (Y == 1)}, "the largest label of 50 is 1000000001"),
        ({"x_train": X * 1j, "x_test": X[:10] * 1j}, "the train inputs are complex"),
    ],
    ids=[
        *("one", "negative", "halves", "one-hot", "words", "counts", "last"),
        *("sizes", "nan", "empty", "single", "class", "huge", "complex"),
    ],
)
def test_bad_arrays_are_one_error(tmp_path: Path, changes: Arrays, message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        brought(tmp_path, changes)
    assert f"data.file={tmp_path / 'own.npz'}" in str(caught.value) and message in str(caught.value)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "train/a/0.png").write_bytes(b"none"), "train/a/0.png is no image"),
        (lambda folder: (folder / "train/a/0.png").unlink() or (folder / "train/a/1.png").unlink(), "class is empty"),
        (lambda folder: (folder / "test/a").rename(folder / "test/c"), "there is no such class"),
        (lambda folder: Image.new("L", (9, 9)).save(folder / "test/b/0.png"), "set data.size"),
        (lambda folder: (folder / "train").rename(folder / "val"), "there is no such folder"),
    ],
    ids=["broken", "empty", "classes", "sizes", "missing"],
)
def test_bad_folders_are_one_error(tmp_path: Path, damage: Callable[[Path], object], message: str) -> None:
    for part in ("train", "test"):
        for name in "ab":
            (tmp_path / part / name).mkdir(parents=True)
            for index in range(2):
                Image.new("L", (8, 8)).save(tmp_path / part / name / f"{index}.png")
    damage(tmp_path)
    with pytest.raises(SettingsError) as caught:
        prepare(settings("data=folder", f"data.root={tmp_path}"))
    assert message in str(caught.value)


def photographs(folder: Path, count: int = 24) -> Path:
    """JPEGs of two classes; of one file of each part the last bytes are missing: its head can be read."""
    for part in ("train", "test"):
        for index in range(count):
            place = folder / part / "ab"[index % 2]
            place.mkdir(parents=True, exist_ok=True)
            noise = np.random.default_rng(index).integers(0, 256, (8, 8), dtype=np.uint8)
            Image.fromarray(noise).save(place / f"{index}.jpg")
        cut = folder / part / "b" / f"{count - 1}.jpg"
        cut.write_bytes(cut.read_bytes()[:-30])
    return folder


@pytest.mark.parametrize("workers", [False, True], ids=["here", "in a loader's process"])
def test_a_file_that_breaks_in_decoding_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: bool
) -> None:
    if workers:
        monkeypatch.setattr(import_module("rddrs.data.inputs"), "BUFFER", 0)
    images = photographs(tmp_path / "images")
    cut = (images / "test/b/23.jpg").read_bytes()
    Image.new("L", (8, 8)).save(images / "test/b/23.jpg")
    own = ["data=folder", f"data.root={images}", f"output_root={tmp_path}", "train.epochs=1"]
    own += [*SMALL, "data.reference=1", "data.subset=null", "classifier=perceptron", "certify.workers=1"]
    prepared = prepare(settings(*own, "seed=2"))
    with pytest.raises(BrokenInput) as caught:
        train(prepared)
    assert re.fullmatch(rf"{tmp_path}/images/train/b/23.jpg is broken: .*; replace it, or remove it", str(caught.value))
    Image.new("L", (8, 8)).save(images / "train/b/23.jpg")
    (images / "test/b/23.jpg").write_bytes(cut)
    with pytest.raises(BrokenInput, match=r"test/b/23.jpg is broken"):
        run(prepare(settings(*own)))


def test_the_command_says_in_one_line_which_file_is_broken(commands: Path, tmp_path: Path) -> None:
    own = ["data=folder", f"data.root={photographs(tmp_path / 'images')}", f"output_root={tmp_path}"]
    command = [commands / "rddrs", "train", *own, "classifier=perceptron", "data.subset=4"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    (line,) = [line for line in done.stderr.splitlines() if "broken" in line]
    assert done.returncode == 2 and line.startswith(f"error: {tmp_path}/images/") and "Traceback" not in done.stderr


class Dropping(nn.Module):
    """Its dropout does not know of eval()."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(64, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        return nn.functional.dropout(self.linear(inputs.flatten(1)), training=True)


class Pair(Dropping):
    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return self.linear(inputs.flatten(1)), inputs


class Listed(Dropping):
    def forward(self, inputs: Tensor) -> list[Tensor]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return [self.linear(inputs.flatten(1))]


class Failing(Dropping):
    def forward(self, inputs: Tensor) -> Tensor:
        raise KeyError("no such layer")


class Branching(Dropping):
    """What it does depends on its inputs: it cannot be compiled once and for all."""

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs[:, 0, 0, :2] if inputs.sum().item() > 0 else inputs[:, 0, 1, :2]


@pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated")
def test_a_network_that_cannot_be_compiled_is_one_error_before_any_work(tmp_path: Path) -> None:
    own = ["classifier=own", f"classifier._target_={__name__}.Branching", "classifier.compile=true"]
    with pytest.raises(SettingsError, match=r"classifier.compile=true: the .*network"):
        brought(tmp_path, {}, *own)


def raising() -> nn.Module:
    def helper() -> nn.Module:
        raise LookupError("the user's own mistake")

    return helper()


def dropping_ten() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("dropping_ten", "maps one input to shape (1, 10): data=arrays has 2 classes"),
        ("Dropping", "answers one input differently each time"),
        ("Listed", "returns list: a tensor of logits"),
        ("Failing", "raise KeyError"),
        ("raising", "LookupError: the user's own mistake"),
        ("pictures", "is no torch.nn.Module"),
        ("nothing", "cannot be imported"),
    ],
)
def test_bad_networks_are_one_error_and_a_users_exception_is_shown(tmp_path: Path, target: str, message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        brought(tmp_path, {}, "classifier=own", f"classifier._target_={__name__}.{target}")
    assert message in str(caught.value)
    if target in ("raising", "Failing"):
        assert "Traceback" in str(caught.value) and "pipelines/prepare.py" not in str(caught.value)


def test_logits_are_taken_from_a_tuple_and_said_to_be(tmp_path: Path) -> None:
    prepared = brought(tmp_path, {}, "classifier=own", f"classifier._target_={__name__}.Pair")
    assert any("answers with a tuple: its logits are taken" in note for note in prepared.notes)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda state: {name: state[name] for name in list(state)[:3]}, "Missing key(s)"),
        (lambda state: state | {"layers.1.weight": state["layers.1.weight"] * torch.nan}, "hold NaN"),
        (lambda state: Perceptron((1, 8, 8), 2), "a whole pickled network is code"),
        (lambda state: Perceptron((1, 8, 8), 2, width=64).state_dict(), "size mismatch"),
    ],
    ids=["half", "NaN", "pickled", "narrow"],
)
@pytest.mark.parametrize("key", ["classifier.checkpoint", "train.start"])
def test_bad_weights_are_one_error(tmp_path: Path, key: str, make: Callable[..., object], message: str) -> None:
    path = tmp_path / "weights.pt"
    torch.save(make(Perceptron((1, 8, 8), 2, width=128).state_dict()), path)
    with pytest.raises(SettingsError) as caught:
        brought(tmp_path, {}, f"{key}={path}")
    assert f"{key}={path}" in str(caught.value) and message in str(caught.value)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.start=nowhere.pt", "train.start=nowhere.pt: there is no such file"),
        ("classifier=resnet classifier.depth=21", "depth=21"),
        ("classifier.normalize.mean=[0.5] classifier.normalize.std=[0]", "every standard deviation must be positive"),
        ("classifier.precision=float8", "classifier.precision=float8"),
        ("train.optimizer=lion", "train.optimizer=lion"),
        ("data.file=nowhere.npz", "data.file=nowhere.npz: there is no such file"),
    ],
)
def test_bad_keys_are_one_error(tmp_path: Path, override: str, message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        brought(tmp_path, {}, *override.split())
    assert message in str(caught.value)


@pytest.mark.parametrize(("word", "told"), [("flip=true", "mirrors images"), ("crop=4", "shifts images")])
def test_flips_and_crops_of_what_is_no_image_are_one_error(word: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=rf"data\.{word} {told}"):
        brought(tmp_path, {"x_train": X.reshape(40, 64), "x_test": X[:10].reshape(10, 64)}, f"data.{word}")


def test_what_may_be_right_is_said(tmp_path: Path) -> None:
    assert brought(tmp_path, {}).notes == (), "bytes are in [0, 1]"
    (note,) = brought(tmp_path, {name: pictures()[name].astype(float) for name in ("x_train", "x_test")}).notes
    assert "go from 0 to 249: sigma=0.5 is far too small" in note
    for mean, std, count in ((0, 1, 0), (0.4, 0.03, 0), (120, 70, 1), (0.4, 70, 1), (0.4, 0.001, 1)):
        notes = brought(tmp_path, {}, f"classifier.normalize.mean=[{mean}]", f"classifier.normalize.std=[{std}]").notes
        assert len(notes) == count and all("are these in other units" in note for note in notes)
    torch.manual_seed(0)
    torch.save({"state_dict": ResNet((1, 8, 8), 2, 8).state_dict()}, tmp_path / "weights.pt")
    given = ["classifier=resnet", "classifier.depth=8", f"classifier.checkpoint={tmp_path / 'weights.pt'}"]
    read, doubt = brought(tmp_path, {}, *given).notes
    assert "below its key 'state_dict'" in read and "does it want normalised inputs" in doubt


def test_a_table_is_certified_from_end_to_end(tmp_path: Path) -> None:
    """Iris: four of five flowers or more are right under noise of a millimetre."""
    x, y = load_iris(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    x, y = x[order], y[order]
    np.savez(tmp_path / "iris.npz", x_train=x[:120], y_train=y[:120], x_test=x[120:], y_test=y[120:])
    quick = ["train.epochs=25", "train.batch=16", "train.learning_rate=0.01", "train.schedule=linear"]
    prepared = prepare(
        settings(
            *SMALL, "data=arrays", f"data.file={tmp_path / 'iris.npz'}", "sigma=0.1", f"output_root={tmp_path}", *quick
        )
    )
    run(prepared)
    table = pd.read_parquet(prepared.run_folder / "records.parquet")
    assert len(table) == 30 and table["correct"].to_numpy().mean() > 0.8 and table["radius"].to_numpy().max() > 0


@pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated")
def test_a_folder_is_fine_tuned_and_certified_compiled(tmp_path: Path) -> None:
    images = pictures()
    for part, count in (("train", 40), ("test", 10)):
        for index, (image, label) in enumerate(zip(images["x_train"], images["y_train"], strict=True)):
            place = tmp_path / part / ("left", "right")[label]
            place.mkdir(parents=True, exist_ok=True)
            if index < count:
                Image.fromarray(image[0]).save(place / f"{index}.png")
    torch.manual_seed(0)
    torch.save(ResNet((1, 8, 8), 2, 8).state_dict(), tmp_path / "plain.pt")
    overrides = ["data=folder", f"data.root={tmp_path}", "sigma=0.1", f"output_root={tmp_path / 'outputs'}"]
    overrides += ["classifier.depth=8", "classifier.precision=bfloat16", "classifier.compile=true", "data.subset=4"]
    overrides += ["train.epochs=8", f"train.start={tmp_path / 'plain.pt'}", "train.batch=8"]
    prepared = prepare(settings(*SMALL, *overrides))
    run(prepared)
    table = pd.read_parquet(prepared.run_folder / "records.parquet")
    assert len(table) == 4 and table["correct"].to_numpy().all()
