"""What whole paths cost and how often they are certified: METHOD section 14, beside what is published there.

python -m benchmarks.paths --root DIR [--sigma 0.12] [--inputs 500] [--perturbation rotation] [--limit 50]
    [--epochs 14] [--rounding 1/255] [--unclamped] [--slack 0] [--write paths.csv]

Trains a `small_cnn` on MNIST (with `--data digits` a perceptron on those) under Gaussian noise, its images perturbed at
random up to 1.1 times the limit, then certifies evenly spaced test inputs under isotropic noise: all severities from
-limit (0 where there are no negative ones) to the limit. A pair is `--perturbation rotation+brightness --limit 50 0.2`.
It prints and writes one row an input, and over all of them the share that is right and certified with its 95 %
interval, the share answered rightly without noise, and, of all inputs and of those certified, samples, tests (anchors)
and the processor's seconds an input, of geometry and draws together.
"""

import argparse
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
import torch
from torch import nn

import rddrs
from rddrs.certification.paths import feared
from rddrs.data import Dataset, digits, mnist
from rddrs.models import Perceptron, SmallCNN, load_weights, save_weights
from rddrs.report.tables import confidence_band
from rddrs.training.augmentation import Augmentation
from rddrs.training.fit import fit
from rddrs.training.noisy import NoisyTraining
from rddrs.training.options import TrainingOptions


def trained(data: Dataset, options: argparse.Namespace, clamp: tuple[float, float] | None) -> nn.Module:
    """The network, trained under the noise with perturbed images; read where its weights are there."""
    torch.manual_seed(options.seed)
    network = (SmallCNN if options.data == "mnist" else Perceptron)(data.shape, data.classes)
    if options.weights and Path(options.weights).exists():
        load_weights(network, Path(options.weights))
        return network.eval().requires_grad_(False)
    limits = {it: 1.1 * limit for it, limit in zip(feared(options.perturbation), options.limit, strict=True)}
    inputs, labels = data.trained_on(options.seed)
    scale = rddrs.Isotropic(options.sigma, data.test_inputs[0].numel())
    module = NoisyTraining(
        network, inputs, labels, scale, data.held_out(options.seed), TrainingOptions(schedule="linear"),
        seed=options.seed, augmentation=Augmentation(limits, clamp),
    )  # fmt: skip
    with TemporaryDirectory() as folder:
        fit(module, epochs=options.epochs, folder=Path(folder))
    if options.weights:
        save_weights(network, Path(options.weights))
    return network


def certified(network: nn.Module, data: Dataset, options: argparse.Namespace, clamp: tuple[float, float] | None):
    """One row an input."""
    perturbations = feared(options.perturbation)
    low = [-limit if it.two_sided else 0.0 for it, limit in zip(perturbations, options.limit, strict=True)]
    smoothed = rddrs.Smoothed(network, rddrs.Isotropic(options.sigma, data.test_inputs[0].numel()), grid=options.grid)
    for index in data.evaluation_indices(options.inputs):
        x, label, start = data.test_inputs[index], int(data.test_labels[index]), time.process_time()
        path = smoothed.certify_path(
            x, perturbations, low, options.limit, clamp=clamp, rounding=options.rounding, seed=options.seed,
            slack=options.slack / options.sigma, samples=options.samples, index=index,
        )  # fmt: skip
        with torch.inference_mode():
            clean = int(network(x[None]).argmax()) == label
        right = path.complete and path.prediction == label
        row = {"index": index, "label": label, "prediction": path.prediction, "certified": right, "clean": clean}
        row |= {"low": path.low, "high": path.high, "samples": path.samples, "anchors": len(path.cells)}
        row |= {"status": path.status}
        yield row | {"seconds": time.process_time() - start}


def fraction(text: str) -> float:
    """A number, or a fraction such as 1/255."""
    above, _, below = text.partition("/")
    return float(above) / float(below or 1)


def main(arguments: list[str] | None = None) -> pd.DataFrame:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=["mnist", "digits"], default="mnist")
    parser.add_argument("--root", default="data")
    parser.add_argument("--sigma", type=float, default=0.12)
    parser.add_argument("--inputs", type=int, default=500)
    parser.add_argument("--perturbation", default="rotation")
    parser.add_argument("--limit", type=float, nargs="+", default=[50.0])
    parser.add_argument("--epochs", type=int, default=14)
    parser.add_argument("--rounding", type=fraction)
    parser.add_argument("--grid", type=fraction)
    parser.add_argument("--unclamped", action="store_true")
    parser.add_argument("--slack", type=float, default=0.0, help="a further l2 change, in the input's own units")
    parser.add_argument("--samples", type=int, default=20_000, help="of one test, at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--weights", help="a file that keeps the trained weights")
    parser.add_argument("--write", default="paths.csv")
    options = parser.parse_args(arguments)
    clamp = None if options.unclamped else (0.0, 1.0)
    data = mnist(options.root) if options.data == "mnist" else digits()
    network, rows = trained(data, options, clamp), []
    for row in certified(network, data, options, clamp):
        rows.append(row)
        print(" ".join(f"{name} {value}" for name, value in row.items()), flush=True)
        pd.DataFrame(rows).to_csv(options.write, index=False)
    table = pd.DataFrame(rows)
    share = table["certified"].to_numpy(float).mean(keepdims=True)
    low, high = confidence_band(share, len(table))
    clean = table["clean"].mean()
    print(f"certified {share[0]:.4f} ({low[0]:.4f} to {high[0]:.4f}) of {len(table)}, clean {clean:.4f}")
    for told, rows in (("an input", table), ("of those certified", table[table["certified"]])):
        means = rows[["samples", "anchors", "seconds"]].mean()
        print(" ".join(f"{name} {value:.6g}" for name, value in means.items()), told)
    return table


if __name__ == "__main__":
    main()
