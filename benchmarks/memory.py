"""The memory's cost as it grows: CPU seconds an input, how many pairs reach the exact test, and main memory.

python -m benchmarks.memory --mnist FOLDER [--inputs 1000] [--kind full] [--disk]

The ellipsoids are synthetic: centres are MNIST test images, predictions their labels, rho = 2, eigenvalues 0.5 .. 10
log-uniform, small along the principal components of the images (to which classifiers are sensitive) and large
elsewhere, turned by a random rotation an input (`--turn`: 0 is none, 3 is any orientation). Of the kind `diagonal`
their axes are the pixels, small along those that vary most; of the kind `isotropic` they are balls of the least
eigenvalue.
"""

import argparse
import gzip
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from benchmarks.measured import keep
from rddrs.certification import Certificate
from rddrs.noise import Diagonal, Full, Isotropic, Scale
from rddrs.records import Folder
from rddrs.trust import Memory, Volatile


def images(folder: Path, part: str) -> np.ndarray:
    data = gzip.decompress((folder / f"{part}-images-idx3-ubyte.gz").read_bytes())
    return np.frombuffer(data, np.uint8, offset=16).reshape(-1, 1, *np.frombuffer(data, ">i4", 2, 8)) / np.float32(255)


def shape(index: int, basis: torch.Tensor, options: argparse.Namespace) -> Scale:
    source = torch.Generator().manual_seed(index)
    spread = torch.rand(len(basis), generator=source, dtype=basis.dtype).sort().values
    values = options.low * (options.high / options.low) ** spread
    if options.kind == "isotropic":
        return Isotropic(options.low, len(basis))
    if options.kind == "diagonal":
        return Diagonal(values[basis.argmax(dim=1)].float())
    turned = basis @ torch.randn(basis.shape, generator=source, dtype=basis.dtype) * options.turn / len(basis) ** 0.5
    axes = torch.linalg.qr(basis + turned)[0] if options.turn else basis
    matrix = ((axes * values) @ axes.mT).float()
    return Full((matrix + matrix.mT) / 2)


def axes_of(inputs: torch.Tensor, kind: str) -> torch.Tensor:
    """The directions of the inputs as columns, those along which they vary most first: pixels, or any."""
    flat = inputs.flatten(1).double()
    flat = flat - flat.mean(dim=0)
    if kind == "full":
        return torch.linalg.eigh(flat.mT @ flat)[1].flip(1)
    return torch.eye(flat.shape[1], dtype=flat.dtype)[:, flat.var(dim=0).argsort(descending=True)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mnist", type=Path, required=True)
    parser.add_argument("--inputs", type=int, default=500)
    parser.add_argument("--radius", type=float, default=2.0)
    parser.add_argument("--low", type=float, default=0.5)
    parser.add_argument("--high", type=float, default=10.0)
    parser.add_argument("--turn", type=float, default=0.3)
    parser.add_argument("--reference", type=int, default=200, help="training inputs that help to choose directions")
    parser.add_argument("--kind", choices=("full", "diagonal", "isotropic"), default="full")
    parser.add_argument("--disk", action="store_true", help="keep the regions on disk")
    options = parser.parse_args()
    torch.set_num_threads(1)
    inputs = torch.from_numpy(images(options.mnist, "t10k"))
    train = torch.from_numpy(images(options.mnist, "train"))
    raw = gzip.decompress((options.mnist / "t10k-labels-idx1-ubyte.gz").read_bytes())
    labels = np.frombuffer(raw, np.uint8, offset=8)
    basis = axes_of(inputs, options.kind)
    step, mark = len(inputs) // options.inputs, max(1, options.inputs // 10)
    with tempfile.TemporaryDirectory() as folder:
        store = Folder(folder) if options.disk else Volatile()
        memory = Memory(store, reference=train[:: len(train) // options.reference])
        print(f"{'remembered':>10} {'CPU s an input':>14} {'exact tests an input':>20} {'shrunk':>7} {'inside':>7}")
        seconds, tests, shrunk, inside, whole = 0.0, 0, 0, 0, 0.0
        figures = {}
        for position in range(options.inputs):
            index = position * step
            scale, stated = shape(index, basis, options), (int(labels[index]), 0.98, options.radius, (100,), (1000,))
            certificate = Certificate(inputs[index], scale, *stated, 1e-3, 0, index, samples=1000)
            start = time.process_time()
            reason = memory.admit(certificate).reason
            seconds += time.process_time() - start
            shrunk += reason.startswith("shrunk")
            inside += reason.startswith("inside")
            if (position + 1) % mark == 0:
                exact = (memory.exact_tests - tests) / mark
                print(f"{len(memory):>10} {seconds / mark:>14.3f} {exact:>20.2f} {shrunk:>7} {inside:>7}", flush=True)
                figures = {"seconds an input at the end": seconds / mark, "exact tests an input at the end": exact}
                whole += seconds
                seconds, tests, shrunk, inside = 0.0, memory.exact_tests, 0, 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"all of them {whole:.1f} CPU s, peak of main memory {peak:,.0f} MB")
    figures |= {"seconds": whole, "megabytes": peak}
    keep("memory", figures)


if __name__ == "__main__":
    main()
