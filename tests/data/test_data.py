"""Data sets, the evaluation subset and the reference set; MNIST from local files where there are any."""

import gzip
import itertools
import os
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from rddrs.data.dataset import Dataset
from rddrs.data.digits import digits
from rddrs.data.mnist import MNIST_FILES, mnist, read_idx
from rddrs.data.rotation import random_rotation
from rddrs.data.toy2d import toy2d
from rddrs.models.adapters import Rotated
from rddrs.models.perceptron import Perceptron


@pytest.fixture(scope="module")
def mnist_root() -> Path:
    """The folder of MNIST's four files: RDDRS_MNIST, else ../shared/mnist beside the repository."""
    default = Path(__file__).parents[3] / "shared" / "mnist"
    root = Path(os.environ.get("RDDRS_MNIST", default))
    if not all((root / name).is_file() for name in MNIST_FILES):
        pytest.skip(f"MNIST's files are not in {root}: set RDDRS_MNIST to their folder")
    return root


@pytest.fixture
def unreachable(monkeypatch) -> None:
    """Downloads go to a port of this machine that nobody listens on."""
    monkeypatch.setattr(import_module("rddrs.data.mnist"), "MNIST_SOURCE", "http://127.0.0.1:9/")


def small(**changes) -> Dataset:
    parts = {
        "train_inputs": torch.arange(12.0).view(6, 2),
        "train_labels": torch.arange(6) % 2,
        "test_inputs": torch.zeros(5, 2),
        "test_labels": torch.zeros(5, dtype=torch.long),
        "classes": 2,
    }
    return Dataset(**parts | changes)


@pytest.mark.parametrize(("make", "shape", "classes"), [(digits, (1, 8, 8), 10), (toy2d, (2,), 3)])
def test_the_embedded_data(make, shape, classes):
    data, again = make(), make()
    assert data.shape == shape and data.classes == classes
    assert data.train_inputs[:].dtype == torch.float32 and data.train_labels.dtype == torch.long
    for labels in (data.train_labels, data.test_labels):
        shares = torch.bincount(labels, minlength=classes) / len(labels)
        assert len(shares) == classes and (shares - 1 / classes).abs().max() < 0.05
    assert torch.equal(data.train_inputs[:], again.train_inputs[:])
    assert torch.equal(data.test_inputs[:], again.test_inputs[:])


def test_digits_are_images_in_the_unit_interval_and_their_parts_are_apart():
    data = digits()
    assert data.train_inputs[:].min() == 0 and data.train_inputs[:].max() == 1
    assert len(data.train_inputs) + len(data.test_inputs) == 1_797
    assert torch.cdist(data.test_inputs[:].flatten(1), data.train_inputs[:].flatten(1)).min() > 0


def test_digits_are_scikit_learns_and_so_is_their_split():
    inputs, labels = load_digits(return_X_y=True)
    parts = train_test_split(np.asarray(inputs) / 16, labels, test_size=0.2, stratify=labels, random_state=0)
    data = digits()
    for expected, found in zip(
        parts, (data.train_inputs[:], data.test_inputs[:], data.train_labels, data.test_labels), strict=True
    ):
        assert np.array_equal(np.ravel(expected), found.flatten().numpy())


def test_the_toy_is_seeded():
    assert not torch.equal(toy2d(seed=0).test_inputs[:], toy2d(seed=1).test_inputs[:])


def test_mnist_is_read(mnist_root):
    data = mnist(str(mnist_root))
    assert data.train_inputs.shape == (60_000, 1, 28, 28) and data.test_inputs.shape == (10_000, 1, 28, 28)
    assert data.test_labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    assert torch.bincount(data.test_labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    inputs = data.train_inputs[:]
    assert inputs.dtype == torch.float32 and inputs.min() == 0 and inputs.max() == 1
    assert inputs.mean().item() == pytest.approx(0.1307, abs=1e-4)
    assert data.grid == 1 / 255 and torch.equal((inputs[:99] * 255).round() / 255, inputs[:99])


def test_a_damaged_mnist_file_is_named(mnist_root, tmp_path, unreachable):
    for name in MNIST_FILES:
        (tmp_path / name).symlink_to(mnist_root / name)
    damaged = tmp_path / "t10k-labels-idx1-ubyte.gz"
    damaged.unlink()
    damaged.write_bytes((mnist_root / damaged.name).read_bytes()[:-100])
    with pytest.raises(ValueError, match=f"{damaged} is damaged.*delete it"):
        mnist(str(tmp_path))


def test_a_missing_mnist_file_offline_names_the_ways_out(tmp_path, unreachable):
    with pytest.raises(ValueError, match=f"train-images.*data.root={tmp_path}.*data=digits"):
        mnist(str(tmp_path))
    assert list(tmp_path.glob("*.gz")) == []


def idx(shape, content, zeros=0, kind=8):
    header = bytes([0, zeros, kind, len(shape)]) + b"".join(size.to_bytes(4, "big") for size in shape)
    return gzip.compress(header + bytes(content))


def test_idx_files_are_read_by_their_header(tmp_path):
    path = tmp_path / "some.gz"
    path.write_bytes(idx((2, 1, 3), range(6)))
    assert read_idx(path).tolist() == [[[0, 1, 2]], [[3, 4, 5]]]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no gzip",
        idx((2, 3), range(6))[:-9],
        idx((2, 3), range(5)),
        idx((2,), range(2), kind=13),
        gzip.compress(b"x"),
    ],
    ids=["empty", "text", "cut", "too short", "floats", "no header"],
)
def test_damaged_idx_files_are_named(tmp_path, content):
    path = tmp_path / "some.gz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"{path} is damaged"):
        read_idx(path)


@pytest.mark.parametrize(("count", "subset"), [(10, 1), (10, 3), (10, 10), (10_000, 500), (360, 50), (7, 5)])
def test_the_evaluation_subset_is_evenly_spaced(count, subset):
    data = small(test_inputs=torch.zeros(count, 2), test_labels=torch.zeros(count, dtype=torch.long))
    indices = data.evaluation_indices(subset)
    gaps = {after - before for before, after in itertools.pairwise(indices)}
    assert indices[0] == 0 and len(indices) == subset and indices[-1] < count
    assert gaps <= {count // subset, count // subset + 1}


def test_the_whole_test_set_and_too_large_a_subset():
    assert small().evaluation_indices(None) == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match=r"data.subset=6.*5 inputs"):
        small().evaluation_indices(6)


def test_the_reference_set_is_a_seeded_choice_of_labelled_training_inputs():
    data = toy2d()
    reference, again, other = data.reference(100, 0), data.reference(100, 0), data.reference(100, 1)
    assert torch.equal(reference.inputs, again.inputs) and not torch.equal(reference.inputs, other.inputs)
    rows, chosen = (
        {(x, y, label) for (x, y), label in zip(inputs.tolist(), labels.tolist(), strict=True)}
        for inputs, labels in ((data.train_inputs[:], data.train_labels), (reference.inputs, reference.labels))
    )
    assert len(chosen) == 100 and chosen <= rows
    assert len(small().reference(100, 0).labels) == 3, "at most half of the training inputs"


@pytest.mark.parametrize(("count", "held"), [(2, 1), (9, 1), (60, 6), (7_000, 500)])
def test_what_is_held_out_is_not_trained_on(count, held):
    inputs, labels = torch.arange(count).float()[:, None], torch.arange(count) % 2
    data = Dataset(inputs, labels, inputs, labels, classes=2)
    kept, (trained, own) = data.held_out(seed=1), data.trained_on(seed=1)
    rows = trained[:].flatten().long()
    torch.testing.assert_close(own, rows % 2)
    assert len(kept.inputs) == held
    assert sorted({*rows.tolist(), *kept.inputs.flatten().long().tolist()}) == list(range(count))
    assert len(rows) == count - held


def test_what_methods_fit_is_not_what_fidelity_is_measured_on():
    measuring, fitting = (toy2d().reference(500, 0, part).inputs.tolist() for part in (0, 1))
    assert not {tuple(row) for row in measuring} & {tuple(row) for row in fitting}


@pytest.mark.parametrize("count", [20, 60, 999, 1_437, 3_000, 7_000])
@pytest.mark.parametrize("size", [1, 500])
def test_fidelity_is_measured_on_what_nothing_was_fitted_on(count, size):
    inputs, labels = torch.arange(count).float()[:, None], torch.arange(count) % 2
    data = Dataset(inputs, labels, inputs, labels, classes=2)
    parts = [data.reference(size, 3, part).inputs for part in (0, 1)]
    fitted = [*parts, data.pilots(3).inputs, data.trained_on(3)[0][:]]
    measured = data.measuring(size, 3)
    rows = set(measured.inputs.flatten().long().tolist())
    assert 0 < len(rows) <= size and not rows & set(torch.cat(fitted).flatten().long().tolist())
    assert rows <= set(data.held_out(3).inputs.flatten().long().tolist())
    torch.testing.assert_close(measured.labels, measured.inputs.flatten().long() % 2)
    assert len(measured.labels) == size or len(rows) + len(data.pilots(3).labels) == len(data.held_out(3).labels)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_labels": torch.zeros(5, dtype=torch.long)}, "6 train inputs but 5 train labels"),
        ({"test_labels": torch.zeros(4, dtype=torch.long)}, "5 test inputs but 4 test labels"),
        ({"test_inputs": torch.tensor([[0.0, 0.0]] * 4 + [[torch.nan, 0.0]])}, "test input 4 holds NaN"),
        ({"train_inputs": torch.full((6, 2), torch.inf)}, "train input 0 holds NaN or infinite"),
        ({"test_labels": torch.tensor([0, 1, 0, -1, 1])}, r"the label of test input 3 is -1: labels are 0 \.\. 1"),
        ({"train_labels": torch.tensor([0, 1, 0, 1, 0, 2])}, r"the label of train input 5 is 2: labels are 0 \.\. 1"),
    ],
)
def test_data_that_does_not_fit_is_refused(changes, message, shapes_unchecked):
    with pytest.raises(ValueError, match=message):
        small(**changes)


def test_a_network_answers_alike_on_data_that_is_rotated_with_it():
    data, rotation = digits(), random_rotation(64, seed=3)
    network = Perceptron((1, 8, 8), 10)
    turned = data.rotated(rotation)
    assert torch.allclose(rotation @ rotation.mT, torch.eye(64), atol=1e-5)
    assert torch.allclose(turned.test_inputs[5].flatten(), rotation @ data.test_inputs[5].flatten(), atol=1e-5)
    answers = Rotated(network, rotation)(turned.test_inputs[:])
    assert torch.allclose(answers, network(data.test_inputs[:]), atol=1e-5)
    assert not torch.allclose(network(turned.test_inputs[:]), answers, atol=1e-2)
