"""The memory's cost as it grows: seconds an input, and how many pairs reach the exact test.

python benchmarks/memory.py --mnist FOLDER [--inputs 2000] [--folder]

The ellipsoids are synthetic: centres are MNIST test images, predictions their labels, rho = 2, eigenvalues 0.5 .. 10
log-uniform, small along the principal components of the images (to which classifiers are sensitive) and large
elsewhere, turned by a random rotation an input (`--turn` is its size in radians an axis).
"""

import argparse
import gzip
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from rddrs.certify import Certificate
from rddrs.memory import Folder, Memory, Volatile
from rddrs.scales import Full


def images(folder: Path, part: str) -> np.ndarray:
    data = gzip.decompress((folder / f"{part}-images-idx3-ubyte.gz").read_bytes())
    return np.frombuffer(data, np.uint8, offset=16).reshape(-1, 1, *np.frombuffer(data, ">i4", 2, 8)) / np.float32(255)


def synthetic(x: torch.Tensor, label: int, index: int, basis: torch.Tensor, radius: float, turn: float, low: float, high: float):
    dim = x.numel()
    source = torch.Generator().manual_seed(index)
    values = torch.exp(torch.empty(dim, dtype=torch.float64).uniform_(np.log(low), np.log(high), generator=source)).sort().values
    mixed = basis + turn * basis @ torch.randn(dim, dim, generator=source, dtype=torch.float64) / dim**0.5
    axes = torch.linalg.qr(mixed)[0]
    matrix = ((axes * values) @ axes.mT).float()
    return Certificate(x, Full((matrix + matrix.mT) / 2), label, 0.98, radius, (100,), (1000,), 1e-3, 0, index)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mnist", type=Path, required=True)
    parser.add_argument("--inputs", type=int, default=500)
    parser.add_argument("--radius", type=float, default=2.0)
    parser.add_argument("--low", type=float, default=0.5)
    parser.add_argument("--high", type=float, default=10.0)
    parser.add_argument("--turn", type=float, default=0.3)
    parser.add_argument("--reference", type=int, default=200)
    parser.add_argument("--folder", action="store_true", help="keep the regions on disk")
    options = parser.parse_args()
    torch.set_num_threads(1)
    inputs = torch.from_numpy(images(options.mnist, "t10k"))
    train = torch.from_numpy(images(options.mnist, "train"))[:: 60_000 // options.reference] if options.reference else None
    raw = gzip.decompress((options.mnist / "t10k-labels-idx1-ubyte.gz").read_bytes())
    labels = np.frombuffer(raw, np.uint8, offset=8)
    flat = inputs.flatten(1).double()
    basis = torch.linalg.svd(flat - flat.mean(dim=0), full_matrices=True).Vh.mT if len(flat) < 1000 else (
        torch.linalg.eigh((flat - flat.mean(dim=0)).mT @ (flat - flat.mean(dim=0)))[1].flip(1))
    step = len(inputs) // options.inputs
    with tempfile.TemporaryDirectory() as folder:
        memory = Memory(Folder(folder) if options.folder else Volatile(), reference=train)
        print(f"{'remembered':>10} {'seconds an input':>16} {'exact tests an input':>20} {'shrunk':>7} {'inside':>7}")
        seconds, tests, shrunk, inside, mark = 0.0, 0, 0, 0, max(1, options.inputs // 10)
        for position in range(options.inputs):
            index = position * step
            certificate = synthetic(inputs[index], int(labels[index]), index, basis, options.radius, options.turn, options.low, options.high)
            start = time.perf_counter()
            reason = memory.admit(certificate).reason
            seconds += time.perf_counter() - start
            shrunk += reason.startswith("shrunk")
            inside += reason.startswith("inside")
            if (position + 1) % mark == 0:
                exact = (memory.exact_tests - tests) / mark
                print(f"{len(memory):>10} {seconds / mark:>16.3f} {exact:>20.2f} {shrunk:>7} {inside:>7}", flush=True)
                seconds, tests, shrunk, inside = 0.0, memory.exact_tests, 0, 0


if __name__ == "__main__":
    main()
