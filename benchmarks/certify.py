"""How fast inputs are certified, beside the raw network and beside other implementations of randomized smoothing.

python -m benchmarks.certify data=mnist data.root=FOLDER [OVERRIDE ...] [--full FILE] [--samples 100000] [--rounds 9]

Overrides are those of `python -m pipelines.train`, which makes the classifier. Every round takes one test input
through all the contestants, in an order that turns, on one core; seconds are those of the processor, so that other work
on the machine counts little. Each implementation has a process of its own, as in a script of its users, because what
one allocates and frees makes another's allocations cheaper; this project's keeps freed memory, as its pipeline does.
Peers and `raw network` run the plain network; with `classifier.precision=bfloat16
classifier.compile=true` this project runs it in that form (give `classifier.checkpoint`, so that both have one set of
weights); `--forms` sets float32, compiled, bfloat16 and int8 in onnxruntime and OpenVINO side by side. With `--cores N`
every round takes N inputs, and seconds are those of the clock: a peer and the raw network take one input after another,
on N of torch's threads; this project takes them side by side, on a thread each. `of the
raw network` is the median over rounds of the ratio within a round. All use the micro-batch at which the raw network
alone, on noise that is drawn beforehand, is fastest; this project that of its own form of it. `bash scripts/peers.sh`
installs the peers in an environment of their own, `.venv-peers`; those that are missing are left out. ANCER has no
certification of its own: it is the class `Smooth` of ddsmoothing with a noise level for every pixel. ART draws the
noise of all samples at once.
"""

import argparse
import multiprocessing
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import scipy.stats
import torch
from matplotlib.figure import Figure
from rich.progress import track
from torch import Tensor

import rddrs
from benchmarks.measured import keep
from benchmarks.methods import trained
from pipelines.errors import SettingsError
from rddrs.methods.structures import LARGEST_FULL
from rddrs.noise import load_scale
from rddrs.report.style import PALETTE, panels, save, styled
from rddrs.smoothing import keep_freed_memory, measure_batch

SELECTION, ALPHA = 100, 1e-3
Contestant = Callable[[Tensor, int], int]
"""Certifies an input, number `index`, and returns how many forward passes that took."""

PLAIN = "classifier.runtime=torch classifier.precision=float32 classifier.compile=false"
FORMS = {
    "rddrs float32": PLAIN,
    "rddrs compiled": "classifier.compile=true",
    "rddrs bfloat16": "classifier.precision=bfloat16 classifier.compile=true",
    "rddrs int8 onnxruntime": "classifier.precision=int8 classifier.runtime=onnxruntime",
    "rddrs int8 openvino": "classifier.precision=int8 classifier.runtime=openvino",
}
"""The forms of one network that `--forms` sets side by side, each with the ACR of its own certificates."""


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


def this_project(
    network: torch.nn.Module,
    scale: rddrs.Scale,
    samples: int,
    batch: int,
    labels: Sequence[int] = (),
    radii: list[float] | None = None,
    **options: Any,
) -> Contestant:
    """`rddrs.certify` on one thread; `radii` are added up, 0 where the class is not that of the `labels`."""

    def run(x: Tensor, index: int) -> int:
        found = rddrs.certify(
            network, x, scale, samples=samples, selection_samples=SELECTION, index=index, batch=batch, **options
        )
        if radii is not None:
            radii.append(found.ball_radius if found.prediction == labels[index] else 0.0)
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


class Field:
    """What the contestants of one implementation need, made in their own process."""

    contestants: dict[str, Contestant]
    network: torch.nn.Module
    inputs: Tensor
    batch: int
    radii: ClassVar[dict[str, list[float]]] = {}

    @classmethod
    def make(cls, implementation: str, options: argparse.Namespace) -> None:
        plain = FORMS.get(implementation, "" if implementation == "rddrs" else PLAIN)
        prepared = trained(options.overrides, f"method=rs {plain}")
        data, network, sigma, samples = prepared.data, prepared.network, prepared.settings.sigma, options.samples
        if implementation.startswith("rddrs"):
            keep_freed_memory()
        torch.set_num_threads(1 if options.cores == 1 else torch.get_num_threads())
        cls.inputs = data.test_inputs[data.evaluation_indices(options.rounds * options.cores)]
        x, cls.network = cls.inputs[0], network
        cls.batch = options.batch or measure_batch(network, x)
        match implementation:
            case "raw network":
                cls.contestants = {implementation: raw_network(network, x, samples, cls.batch, sigma)}
            case "ddsmoothing":
                cls.contestants = {implementation: smooth(network, sigma, samples, cls.batch)}
            case "ancer":
                levels = torch.linspace(sigma, 2 * sigma, x.numel()).view(1, *data.shape)
                cls.contestants = {implementation: smooth(network, levels, samples, cls.batch)}
            case "art":
                cls.contestants = {implementation: toolbox(network, data.shape, sigma, samples, cls.batch)}
            case form if form in FORMS:
                labels = data.test_labels[data.evaluation_indices(options.rounds * options.cores)].tolist()
                own = this_project(
                    network,
                    rddrs.Isotropic(sigma, x.numel()),
                    samples,
                    cls.batch,
                    labels,
                    cls.radii.setdefault(form, []),
                )
                cls.contestants = {form: own}
            case "rddrs":
                scales = scales_of(data.shape, sigma, options.full)
                cls.contestants = {f"rddrs, {name}": this_project(network, scale, samples, cls.batch)
                                   for name, scale in scales.items()}  # fmt: skip
                if data.grid is not None:
                    isotropic = scales["isotropic"]
                    cls.contestants["rddrs, on the grid"] = this_project(
                        network, isotropic, samples, cls.batch, grid=data.grid
                    )

    @classmethod
    def acr(cls) -> float:
        """The average certified radius of a form, over the inputs of all rounds."""
        (radii,) = cls.radii.values()
        return float(np.mean(radii))

    @classmethod
    def names(cls) -> tuple[list[str], int]:
        return list(cls.contestants), cls.batch

    @classmethod
    def rate(cls, name: str, turn: int, cores: int) -> float:
        """Forward passes a second in one round."""
        several, workers = cls.inputs[cores * turn : cores * (turn + 1)], cores if name.startswith("rddrs") else 1
        clock = time.process_time if cores == 1 else time.perf_counter
        start = clock()
        if cores == 1:
            passes = cls.contestants[name](several[0], turn)
        else:
            with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(cores // workers,)) as pool:
                passes = sum(pool.map(cls.contestants[name], several, range(cores * turn, cores * (turn + 1))))
        return passes / (clock() - start)

    @classmethod
    def decide(cls, sigma: float, samples: int) -> tuple[int, list[int], float]:
        """Whether the inputs are certified at sigma / 2: how many, the samples that each of them took, and seconds."""
        isotropic, network = rddrs.Isotropic(sigma, cls.inputs[0].numel()), cls.network
        start = time.process_time()
        found = [
            rddrs.certify(network, x, isotropic, samples=samples, index=index, batch=cls.batch, target_radius=sigma / 2)
            for index, x in enumerate(cls.inputs)
        ]
        seconds = time.process_time() - start
        return len(found), [it.samples for it in found if it.decision == "yes"], seconds


def scales_of(shape: tuple[int, ...], sigma: float, full: Path | None) -> dict[str, rddrs.Scale]:
    """A scale of each kind, of levels from sigma to 2 sigma."""
    dim = int(np.prod(shape))
    levels = torch.linspace(sigma, 2 * sigma, dim)
    factors = [torch.linalg.qr(torch.randn(size, size, dtype=torch.float64)).Q.float() for size in shape]
    scales = {
        "isotropic": rddrs.Isotropic(sigma, dim),
        "diagonal": rddrs.Diagonal(levels),
        "kronecker": rddrs.Kronecker(factors, levels.view(shape)),
    }
    if dim <= LARGEST_FULL:
        scales["full"] = load_scale(full) if full else random_full(dim, sigma)
    return scales


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
    parser.add_argument("--forms", action="store_true", help="float32, compiled, bfloat16, int8 of one network")
    parser.add_argument("--figure", type=Path, default=Path("outputs/benchmarks/certify"))
    options = parser.parse_args()
    trained(options.overrides, f"method=rs {PLAIN}")
    prepared = trained(options.overrides, "method=rs")  # once, here
    pools, batches = {}, {}
    own = tuple(FORMS) if options.forms else ("rddrs",)
    for implementation in ("raw network", *own, "ddsmoothing", "ancer", "art"):
        pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
        try:
            pool.submit(Field.make, implementation, options).result()
        except (ImportError, SettingsError) as error:
            print(f"{implementation} is left out: {error}")
            continue
        names, batches[implementation] = pool.submit(Field.names).result()
        pools |= dict.fromkeys(names, pool)
    rows, names = [], list(pools)
    for turn in track(range(options.rounds), description="rounds"):
        for name in [*names[turn % len(names) :], *names[: turn % len(names)]]:
            rate = pools[name].submit(Field.rate, name, turn, options.cores).result()
            rows.append({"round": turn, "name": name, "rate": rate})
    table = pd.DataFrame(rows).pivot(index="round", columns="name", values="rate").reindex(columns=names)
    shares = table.div(table["raw network"], axis=0)
    print(f"n = {options.samples:,}, micro-batches {batches}, {options.rounds} rounds on {options.cores} cores")
    print(f"{'':<20}{'passes/s':>10}{'inputs/hour at n = 100,000':>28}{'of the raw network':>20}{'ddsmoothing':>13}")
    for name in names:
        rate, share = np.median(table[name]), np.median(shares[name])
        peer = np.median(table[name] / table["ddsmoothing"]) if "ddsmoothing" in table else np.nan
        print(f"{name:<20}{rate:>10,.0f}{3600 * rate / (100_000 + SELECTION):>28,.0f}{share:>20.3f}{peer:>13.2f}")
    keep("certify", {f"of the raw network, {name}": float(np.median(shares[name])) for name in names})
    if options.forms:
        print("ACR over", options.rounds * options.cores, "inputs:", ", ".join(
            f"{name} {pools[name].submit(Field.acr).result():.4f}" for name in names if name in FORMS))  # fmt: skip
        return
    sigma = prepared.settings.sigma
    inputs, spent, seconds = pools["rddrs, isotropic"].submit(Field.decide, sigma, options.samples).result()
    print(f"deciding R = sigma / 2, isotropic: {len(spent)} of {inputs} yes, in {np.median(spent):.0f} samples "
          f"(median; most {max(spent)}); {3600 * inputs / seconds:,.0f} inputs an hour")  # fmt: skip
    print("written to", *save(figure(shares), options.figure))


if __name__ == "__main__":
    main()
