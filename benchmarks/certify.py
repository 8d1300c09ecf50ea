"""How fast inputs are certified, beside the raw network and beside other implementations of randomized smoothing.

python -m benchmarks.certify data=mnist data.root=FOLDER [OVERRIDE ...] [--full FILE] [--samples 100000] [--rounds 9]

Overrides are those of `python -m pipelines.train`, which makes the classifier. Every round takes one test input
through all the contestants, in an order that turns, on one core, in the main thread as in a script of their users (in
other threads PyTorch's allocations may cost less); seconds are those of the processor, so that other work on the
machine counts little. Peers and `raw network` run the plain network; with `classifier.precision=bfloat16
classifier.compile=true` this project runs it in that form (give `classifier.checkpoint`, so that both have one set of
weights). With `--cores N` every round takes N inputs, and seconds are those of the clock: a peer and the raw network
take one input after another, on N of torch's threads; this project takes them side by side, on a thread each. `of the
raw network` is the median over rounds of the ratio within a round. All use the micro-batch at which the raw network
alone, on noise that is drawn beforehand, is fastest; this project that of its own form of it. `bash scripts/peers.sh`
installs the peers in an environment of their own, `.venv-peers`; those that are missing are left out. ANCER has no
certification of its own: it is the class `Smooth` of ddsmoothing with a noise level for every pixel. ART draws the
noise of all samples at once.
"""

import argparse
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.stats
import torch
from matplotlib.figure import Figure
from torch import Tensor

import rddrs
from benchmarks.methods import contestant
from rddrs.methods.flats import LARGEST_FULL
from rddrs.noise import load_scale
from rddrs.report.style import PALETTE, panels, save, styled
from rddrs.smoothing import measure_batch

SELECTION, ALPHA = 100, 1e-3
Contestant = Callable[[Tensor, int], int]
"""Certifies an input, number `index`, and returns how many forward passes that took."""


def raw_network(network: torch.nn.Module, x: Tensor, samples: int, batch: int, sigma: float) -> Contestant:
    """The network alone: the limit."""
    noisy = x + sigma * torch.randn(batch, *x.shape)

    @torch.inference_mode()
    def run(x: Tensor, index: int) -> int:
        passes = -(-(samples + SELECTION) // batch)
        for _ in range(passes):
            network(noisy)
        return passes * batch

    return run


def this_project(network: torch.nn.Module, scale: rddrs.Scale, samples: int, batch: int, **options: Any) -> Contestant:
    """`rddrs.certify` on one thread."""

    def run(x: Tensor, index: int) -> int:
        found = rddrs.certify(
            network, x, scale, samples=samples, selection_samples=SELECTION, index=index, batch=batch, **options
        )
        return SELECTION + found.samples

    return run


def smooth(network: torch.nn.Module, sigma: float | Tensor, samples: int, batch: int) -> Contestant:
    """`Smooth.certify` of ddsmoothing, which ancer uses, too."""
    if not hasattr(scipy.stats, "binom_test"):
        # ddsmoothing 1.0 imports the name for its `predict`, which is not used here; SciPy 1.12 dropped it.
        setattr(scipy.stats, "binom_test", scipy.stats.binomtest)  # noqa: B010
    from ddsmoothing.certificate import L2Certificate  # pyright: ignore[reportMissingImports]
    from ddsmoothing.smooth import Smooth  # pyright: ignore[reportMissingImports]

    smoothed = Smooth(network, 10, sigma, L2Certificate(batch, device="cpu"))

    def run(x: Tensor, index: int) -> int:
        smoothed.certify(x, SELECTION, samples, ALPHA, batch, device=torch.device("cpu"))
        return SELECTION + samples

    return run


def toolbox(network: torch.nn.Module, shape: tuple[int, ...], sigma: float, samples: int, batch: int) -> Contestant:
    """`PyTorchRandomizedSmoothing.certify` of the adversarial robustness toolbox."""
    from art.estimators.certification.randomized_smoothing import (  # pyright: ignore[reportMissingImports]
        PyTorchRandomizedSmoothing,
    )

    loss = torch.nn.CrossEntropyLoss()
    smoothed = PyTorchRandomizedSmoothing(
        network, loss, shape, 10, device_type="cpu", sample_size=SELECTION, scale=sigma, alpha=ALPHA
    )

    def run(x: Tensor, index: int) -> int:
        smoothed.certify(x[None].numpy(), n=samples, batch_size=batch)
        return SELECTION + samples

    return run


def random_full(dim: int, sigma: float) -> rddrs.Full:
    """A scale with random axes and eigenvalues from sigma to 2 sigma: its cost is that of any full scale."""
    axes = torch.linalg.qr(torch.randn(dim, dim, generator=torch.Generator().manual_seed(0), dtype=torch.float64)).Q
    matrix = (axes * torch.linspace(sigma, 2 * sigma, dim, dtype=torch.float64)) @ axes.mT
    return rddrs.Full(((matrix + matrix.mT) / 2).float())


def measure(contestants: dict[str, Contestant], inputs: Tensor, cores: int) -> pd.DataFrame:
    """Forward passes a second: a row for every round, a column for every contestant."""
    rows, names = [], list(contestants)
    clock = time.process_time if cores == 1 else time.perf_counter
    torch.set_num_threads(1 if cores == 1 else torch.get_num_threads())
    for turn, several in enumerate(inputs.split(cores)):
        for name in [*names[turn % len(names) :], *names[: turn % len(names)]]:
            workers = cores if name.startswith("rddrs") else 1
            indices = range(cores * turn, cores * turn + len(several))
            start = clock()
            if cores == 1:
                passes = contestants[name](several[0], turn)
            else:
                with ThreadPoolExecutor(
                    workers, initializer=torch.set_num_threads, initargs=(cores // workers,)
                ) as pool:
                    passes = sum(pool.map(contestants[name], several, indices))
            rows.append({"round": turn, "name": name, "rate": passes / (clock() - start)})
    return pd.DataFrame(rows).pivot(index="round", columns="name", values="rate").reindex(columns=names)


@styled
def figure(shares: pd.DataFrame) -> Figure:
    """Forward passes a second, relative to the raw network: every round a dot, the median a bar."""
    names = list(reversed(shares.columns))
    drawn, axes = panels(1, height=0.4 * len(names) + 0.9, width=6.4)
    axis = axes[0][0]
    for place, name in enumerate(names):
        values = shares[name].to_numpy()
        axis.barh(place, np.median(values), color=PALETTE[0] if name.startswith("rddrs") else "#b0b0b0", height=0.62)
        axis.scatter(values, np.full(len(values), place), s=8, color="#333333", zorder=3)
        axis.text(0.01, place, f"{np.median(values):.2f}", va="center", color="white", fontweight="bold")
    axis.set_yticks(range(len(names)), names)
    axis.set(xlabel="forward passes a second, relative to the raw network", title="Certification")
    axis.grid(axis="y", visible=False)
    return drawn


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--full", type=Path, help="a scale.safetensors; a random full scale without it")
    parser.add_argument("--samples", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--cores", type=int, default=1)
    parser.add_argument("--batch", type=int, help="micro-batch; measured without it")
    parser.add_argument("--figure", type=Path, default=Path("outputs/benchmarks/certify"))
    options = parser.parse_args()
    prepared, _, _ = contestant(options.overrides, "method=rs")
    plain, _, _ = contestant(options.overrides, "method=rs classifier.precision=float32 classifier.compile=false")
    data, fast, network, samples = prepared.data, prepared.network, plain.network, options.samples
    sigma = prepared.settings.sigma
    dim = data.test_inputs[0].numel()
    inputs = data.test_inputs[data.evaluation_indices(options.rounds * options.cores)]
    batch = options.batch or measure_batch(network, inputs[0])
    own = options.batch or measure_batch(fast, inputs[0])
    isotropic, levels = rddrs.Isotropic(sigma, dim), torch.linspace(sigma, 2 * sigma, dim)
    factors = [torch.linalg.qr(torch.randn(size, size, dtype=torch.float64)).Q.float() for size in data.shape]
    kronecker = rddrs.Kronecker(factors, levels.view(data.shape))
    contestants = {
        "raw network": raw_network(network, inputs[0], samples, batch, sigma),
        "rddrs, isotropic": this_project(fast, isotropic, samples, own),
        "rddrs, diagonal": this_project(fast, rddrs.Diagonal(levels), samples, own),
        "rddrs, kronecker": this_project(fast, kronecker, samples, own),
    }
    if data.grid is not None:
        contestants["rddrs, on the grid"] = this_project(fast, isotropic, samples, batch, grid=data.grid)
    if dim <= LARGEST_FULL:
        full = load_scale(options.full) if options.full else random_full(dim, sigma)
        contestants["rddrs, full"] = this_project(fast, full, samples, own)
    peers: dict[str, Callable[[], Contestant]] = {
        "ddsmoothing": lambda: smooth(network, sigma, samples, batch),
        "ancer": lambda: smooth(network, levels.view(1, *data.shape), samples, batch),
        "art": lambda: toolbox(network, data.shape, sigma, samples, batch),
    }
    for name, make in peers.items():
        try:
            contestants[name] = make()
        except ImportError as error:
            print(f"{name} is left out: {error}")
    table = measure(contestants, inputs, options.cores)
    shares = table.div(table["raw network"], axis=0)
    print(f"n = {samples:,}, micro-batch {batch}, {options.rounds} rounds on {options.cores} cores")
    print(f"{'':<20}{'passes/s':>10}{'inputs/hour at n = 100,000':>28}{'of the raw network':>20}")
    for name in contestants:
        rate, share = np.median(table[name]), np.median(shares[name])
        print(f"{name:<20}{rate:>10,.0f}{3600 * rate / (100_000 + SELECTION):>28,.0f}{share:>20.3f}")
    torch.set_num_threads(1)
    start, target = time.process_time(), sigma / 2
    found = [rddrs.certify(network, x, isotropic, samples=samples, index=index, batch=batch, target_radius=target)
             for index, x in enumerate(inputs)]  # fmt: skip
    seconds = (time.process_time() - start) / len(inputs)
    spent = [it.samples for it in found if it.decision == "yes"]
    print(f"deciding R = sigma / 2, isotropic: {len(spent)} of {len(inputs)} yes, in {np.median(spent):.0f} samples "
          f"(median; most {max(spent)}); {3600 / seconds:,.0f} inputs an hour")  # fmt: skip
    print("written to", *save(figure(shares), options.figure))


if __name__ == "__main__":
    main()
