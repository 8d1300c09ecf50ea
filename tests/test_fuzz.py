"""Five hundred wrong values and damaged files: a clear error or a right result, never another exception."""

import gzip
import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import torch
from hydra.errors import HydraException
from hypothesis import HealthCheck, given, strategies
from hypothesis import settings as examples
from omegaconf.errors import OmegaConfBaseException
from PIL import Image

from pipelines.errors import SettingsError
from pipelines.prepare import Prepared, prepare
from rddrs import Certificate, Diagonal, Full, Isotropic, Kronecker, certify
from rddrs.data import Dataset, arrays, folder
from rddrs.data.mnist import read_idx
from rddrs.models import Perceptron, load_weights, save_weights
from rddrs.noise import Scale, load_scale, save_scale
from rddrs.records import Folder, Ledger, Store
from rddrs.records.store import COLUMNS
from rddrs.trust import Outcome
from tests.pipelines.test_config import settings

CLEAR = (SettingsError, HydraException, OmegaConfBaseException)
"""What the command line prints as one message; Hydra's own errors among them."""

SKIPPED = ("hydra", "run", "runs", "data.root", "_target_")


def fuzzed(count: int):
    """The same cases in every run."""
    ignored = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
    return examples(max_examples=count, derandomize=True, deadline=None, database=None, suppress_health_check=ignored)


@cache
def keys() -> list[str]:
    """Every key of the configuration that holds a value."""
    made = settings("data=toy2d", "method=rddrs", "train=covariance").model_dump(by_alias=True)

    def walk(values: dict, prefix: str) -> list[str]:
        found = []
        for name, value in values.items():
            if name not in SKIPPED:
                found += walk(value, f"{prefix}{name}.") if isinstance(value, dict) else [f"{prefix}{name}"]
        return found

    return walk(made, "")


NUMBERS = [0, -1, 1, 2, 7, 300, -(10**30), 10**30, 0.5, -0.0, 1e-320, 1e308, float("inf"), float("nan"), True, None]
VALUES = strategies.one_of(
    strategies.sampled_from(NUMBERS).map(lambda it: "null" if it is None else str(it).lower()),
    strategies.sampled_from(["1/0", "1/255", "1e999999999", "l1", "auto", "[]", "{}", "[1,2]", "{a: 1}", "''", "~"]),
    strategies.sampled_from(["${sigma}", "${nothing}", "${a.b", "${oc.env:NO}", "../..", "\\", "1_0", "é", "9" * 400]),
    strategies.text(max_size=8),
)


@fuzzed(100)
@given(key=strategies.sampled_from(keys()), value=VALUES)
def test_values_of_the_command_line(key, value):
    try:
        made = prepare(settings("data=toy2d", "train=covariance", f"{key}={value}"))
    except CLEAR as error:
        assert str(error).strip()
    else:
        assert isinstance(made, Prepared)
        assert made.run_folder.parent == made.settings.root / "runs"


@cache
def network() -> Perceptron:
    torch.manual_seed(0)
    return Perceptron((1, 2, 3), 3, width=4).eval()


@cache
def certificate(kind: str) -> Certificate:
    factors = [torch.eye(size) for size in (1, 2, 3)]
    scale: Scale = {
        "isotropic": Isotropic(0.3, 6),
        "diagonal": Diagonal(torch.rand(6) + 0.1),
        "full": Full(torch.eye(6) + 0.1),
        "kronecker": Kronecker(factors, torch.rand(1, 2, 3) + 0.1),
    }[kind]
    return certify(network(), torch.rand(1, 2, 3), scale, samples=50, index=3)


def record(of: Certificate) -> dict:
    return dict.fromkeys(COLUMNS, 0) | {"index": of.index, "status": "done"}


@dataclass(frozen=True)
class Reader:
    """A file of one kind: `make` writes it below a folder and returns its path, `read` gives the `kind` of it."""

    make: Callable[[Path], Path]
    read: Callable[[Path], object]
    kind: type


def idx(place: Path) -> Path:
    path = place / "images.gz"
    path.write_bytes(gzip.compress(struct.pack(">HBBIII", 0, 8, 3, 2, 4, 4) + bytes(range(32))))
    return path


def npz(place: Path) -> Path:
    x, y = np.arange(24, dtype=np.float32).reshape(8, 3), np.arange(8) % 2
    np.savez(place / "data.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    return place / "data.npz"


def images(place: Path) -> Path:
    for part in ("train", "test"):
        for name in ("a", "b"):
            (place / part / name).mkdir(parents=True)
            for number in range(2):
                Image.fromarray(np.full((4, 4, 3), 40 * number, np.uint8)).save(place / part / name / f"{number}.png")
    return place / "test" / "b" / "1.png"


def read_images(path: Path) -> Dataset:
    data = folder(str(path.parents[2]))
    assert len(data.test_inputs[:]) and data.digest
    return data


def weights(place: Path, name: str) -> Path:
    save_weights(network(), place / "made.safetensors")
    if name.endswith("safetensors"):
        return (place / "made.safetensors").rename(place / name)
    torch.save(network().state_dict(), place / name)
    return place / name


def read_weights(path: Path) -> list:
    return load_weights(Perceptron((1, 2, 3), 3, width=4), path)


def region(place: Path, kind: str) -> Path:
    store, made = Store(place), certificate(kind)
    store.save(made, record(made))
    return store.path(3)


def read_region(path: Path) -> Certificate:
    store = Store(path.parents[1])
    store.stated(3)
    return store.certificate(3)


def scale(place: Path, kind: str) -> Path:
    save_scale(certificate(kind).scale, place / "scale.safetensors")
    return place / "scale.safetensors"


def outcome(place: Path) -> Path:
    Folder(place).write(Outcome.unchanged(certificate("full")))
    return place / "3.safetensors"


def ledger(place: Path) -> Path:
    made = certificate("full")
    Ledger(place, lambda _: made).write(Outcome.of(made, made.radius / 2, "shrunk by 1"))
    return place / "3.json"


READERS = {
    "idx": Reader(idx, read_idx, torch.Tensor),
    "npz": Reader(npz, lambda path: arrays(str(path)), Dataset),
    "images": Reader(images, read_images, Dataset),
    "weights": Reader(partial(weights, name="w.safetensors"), read_weights, list),
    "checkpoint": Reader(partial(weights, name="w.pt"), read_weights, list),
    "outcome": Reader(outcome, lambda path: Folder(path.parent).read(3), Outcome),
    "ledger": Reader(ledger, lambda path: Ledger(path.parent, lambda _: certificate("full")).read(3), Outcome),
    **{
        f"region {kind}": Reader(partial(region, kind=kind), read_region, Certificate)
        for kind in ("isotropic", "diagonal", "full", "kronecker")
    },
    **{
        f"scale {kind}": Reader(partial(scale, kind=kind), load_scale, Scale)
        for kind in ("isotropic", "full", "kronecker")
    },
}

CHANGES = strategies.lists(
    strategies.tuples(
        strategies.sampled_from(["cut", "set", "drop", "put", "swap"]),
        strategies.floats(0, 1),
        strategies.binary(min_size=1, max_size=9),
    ),
    min_size=1,
    max_size=3,
)


def damaged(content: bytes, changes: list[tuple[str, float, bytes]]) -> bytes:
    for kind, where, piece in changes:
        place = int(where * len(content))
        if kind == "cut":
            content = content[:place]
        elif kind == "put":
            content = content[:place] + piece + content[place:]
        elif kind == "swap":  # what a text holds, by something of the same length: it stays a text
            digits = bytes(48 + byte % 10 for byte in piece)
            content = content[:place] + digits + content[place + len(digits) :]
        else:
            content = content[:place] + (piece if kind == "set" else b"") + content[place + len(piece) :]
    return content


@cache
def original(name: str) -> tuple[Path, bytes]:
    path = READERS[name].make(Path(mkdtemp(prefix="fuzz")))
    assert isinstance(READERS[name].read(path), READERS[name].kind)
    return path, path.read_bytes()


@fuzzed(400)
@given(name=strategies.sampled_from(list(READERS)), changes=CHANGES)
def test_damaged_files(shapes_unchecked, name, changes):
    path, content = original(name)
    path.write_bytes(damaged(content, changes))
    try:
        found = READERS[name].read(path)
    except ValueError as error:
        assert str(path) in str(error), error
    else:
        assert isinstance(found, READERS[name].kind)
    finally:
        path.write_bytes(content)
