"""How the cost of a certificate grows with the dimension d, the samples n and the number of processes.

python -m benchmarks.cost [--samples 5000 20000] [--rounds 5]

The network is a LeNet of random weights for inputs of 64, 784 and 3,072 entries (8 x 8, 28 x 28, 3 x 32 x 32).
Seconds are the processor's, an input, median over rounds. Beside them stands the model

    seconds = (100 + n) (pass + d draw + structure),   structure = 0 (isotropic, diagonal) or 2 d^2 flop (full),

whose three prices, of a forward pass at that d, of a normal number and of a floating point operation in a product,
are measured alone, on the same core. With more than one process the seconds are those on the wall: each process does
its own inputs, so that the model divides by their number where every process has a core of its own.
"""

import argparse
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

import rddrs
from benchmarks.certify import SELECTION, random_full
from benchmarks.measured import keep
from rddrs.models import LeNet
from rddrs.report.style import DASHES, PALETTE, panels, save, styled

SHAPES = {64: (1, 8, 8), 784: (1, 28, 28), 3072: (3, 32, 32)}
BATCH = 128


def lenet(dim: int) -> LeNet:
    """A LeNet of random weights for inputs of a dimension; small inputs are padded and have small kernels."""
    torch.manual_seed(0)
    kernel, padding = (3, 1) if dim == 64 else (5, 0)
    return LeNet(SHAPES[dim], 10, kernel, padding).eval().requires_grad_(False)


def scale_of(kind: str, dim: int) -> rddrs.Scale:
    match kind:
        case "isotropic":
            return rddrs.Isotropic(0.5, dim)
        case "diagonal":
            return rddrs.Diagonal(torch.linspace(0.5, 1, dim))
        case _:
            return random_full(dim, 0.5)


def certifier(kind: str, dim: int, samples: int) -> Callable[[], object]:
    """What certifies an input of zeros."""
    network, x, scale = lenet(dim), torch.zeros(SHAPES[dim]), scale_of(kind, dim)
    return lambda: rddrs.certify(network, x, scale, samples=samples, selection_samples=SELECTION, batch=BATCH)


def seconds(action: Callable[[], object], rounds: int) -> float:
    """The processor's seconds, median over rounds after one that warms up."""
    found = []
    for _ in range(rounds + 1):
        start = time.process_time()
        action()
        found.append(time.process_time() - start)
    return float(np.median(found[1:]))


@torch.inference_mode()
def prices(dim: int, rounds: int) -> tuple[float, float, float]:
    """Seconds of a forward pass, of a normal number and of a floating point operation of a product, each alone."""
    network, z, repeats = lenet(dim), torch.randn(BATCH, dim), 10
    inputs, scale = z.view(-1, *SHAPES[dim]).clone(), random_full(dim, 0.5)

    def repeated(action: Callable[[], object]) -> float:
        return seconds(lambda: [action() for _ in range(repeats)], rounds) / repeats / BATCH

    product = repeated(lambda: scale.perturb(z[0], z)) / (2 * dim**2)
    return repeated(lambda: network(inputs)), repeated(z.normal_) / dim, product


def work(arguments: tuple[str, int, int, int]) -> None:
    """Several certificates in a process of its own."""
    kind, dim, samples, inputs = arguments
    torch.set_num_threads(1)
    certify = certifier(kind, dim, samples)
    for _ in range(inputs):
        certify()


def wall_seconds(processes: int, samples: int, inputs: int = 4) -> float:
    """Seconds on the wall an input at d = 784, full C, after one round that starts the processes."""
    jobs = [("full", 784, samples, inputs // processes)] * processes
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        list(pool.map(work, [("full", 784, 200, 1)] * processes))
        start = time.perf_counter()
        list(pool.map(work, jobs))
        return (time.perf_counter() - start) / inputs


@styled
def figure(table: pd.DataFrame) -> Figure:
    """Seconds an input against n: dots as measured, lines by the model."""
    drawn, axes = panels(len(SHAPES), width=3.4, sharey=True)
    for axis, dim in zip(axes[0], SHAPES, strict=True):
        for place, (kind, part) in enumerate(table[table["d"] == dim].groupby("C", sort=False)):
            look = {"color": PALETTE[place], "linestyle": DASHES[place]}
            axis.plot(part["n"], part["model"], label=f"{kind}, model", **look)
            axis.scatter(part["n"], part["seconds"], color=PALETTE[place], s=18, label=kind)
        axis.set(title=f"d = {dim:,}", xlabel="samples n", xscale="log", yscale="log")
    axes[0][0].set_ylabel("seconds an input, one core")
    axes[0][0].legend(loc="upper left", fontsize=7)
    return drawn


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, nargs="+", default=[5_000, 20_000, 100_000])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--figure", type=Path, default=Path("outputs/benchmarks/cost"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    print(f"{'d':>6}{'C':>12}{'n':>9}{'s an input':>12}{'model':>9}")
    for dim in SHAPES:
        forward, draw, operation = prices(dim, options.rounds)
        for kind in ("isotropic", "diagonal", "full"):
            structure = 2 * dim**2 * operation if kind == "full" else 0.0
            for samples in options.samples:
                found = seconds(certifier(kind, dim, samples), options.rounds)
                model = (SELECTION + samples) * (forward + dim * draw + structure)
                rows.append({"d": dim, "C": kind, "n": samples, "seconds": found, "model": model})
                print(f"{dim:>6}{kind:>12}{samples:>9,}{found:>12.3f}{model:>9.3f}", flush=True)
        print(f"       a pass {forward * 1e6:.1f} us, a normal number {draw * 1e9:.2f} ns, "
              f"a product {operation**-1 / 1e9:.0f} GFLOP/s")  # fmt: skip
    figures = {f"seconds, {row['C']}, d = {row['d']}, n = {row['n']}": row["seconds"] for row in rows}
    for processes in options.processes:
        wall = wall_seconds(processes, max(options.samples))
        figures[f"seconds on the wall, {processes} processes"] = wall
        print(f"{processes} processes, d = 784, full, n = {max(options.samples):,}: {wall:.3f} s on the wall an input")
    keep("cost", figures)
    print("written to", *save(figure(pd.DataFrame(rows)), options.figure))


if __name__ == "__main__":
    main()
