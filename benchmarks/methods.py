"""All methods side by side on MNIST: what they certify, what it means, and what it costs.

python -m benchmarks.methods --mnist FOLDER --classifier FOLDER [--cotrained FOLDER] [--inputs 20] [--samples 100000]

The classifiers are folders that `python -m pipelines.train data=mnist` and `... train=covariance` made. Interleaved:
every input goes through all the methods before the next one. Seconds are the median an input on one core; what is
optimised once for all inputs is printed apart. Methods fit one set of training inputs, fidelity and contradictions are
measured on another. `rddrs_paper` is timed on `--paper` iterations of its hyper-parameters (n = 20,000) and
extrapolated to 100: its certificates are not measured.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch

import rddrs
from rddrs.data import Dataset, mnist
from rddrs.methods import RDDRS, GlobalScale
from rddrs.models import LeNet, load_weights
from rddrs.noise import load_scale
from rddrs.smoothing import fidelity
from rddrs.trust import contradictions

ROW = "{:<14}{:>10}{:>8}{:>10}{:>8}{:>10}{:>10}{:>15}{:>10}{:>10}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mnist", required=True)
    parser.add_argument("--classifier", type=Path, required=True)
    parser.add_argument("--cotrained", type=Path)
    parser.add_argument("--inputs", type=int, default=20)
    parser.add_argument("--samples", type=int, default=100_000)
    parser.add_argument("--sigma", type=float, default=0.5)
    parser.add_argument("--reference", type=int, default=500)
    parser.add_argument("--paper", type=int, default=1)
    parser.add_argument("--methods", nargs="*", default=["rs", "ddrs", "ancer", "rddrs_global", "rddrs"])
    options = parser.parse_args()
    torch.set_num_threads(1)
    data, sigma = mnist(options.mnist), options.sigma
    network = read(options.classifier, data)
    measuring, fitting = (data.reference(options.reference, 0, part) for part in (0, 1))

    one, guarded = GlobalScale(), RDDRS()
    methods = {"rs": rddrs.RS(), "ddrs": rddrs.DDRS(), "ancer": rddrs.ANCER(), "rddrs_global": one, "rddrs": guarded}
    methods = {name: method for name, method in methods.items() if name in options.methods}
    networks: dict[str, torch.nn.Module] = dict.fromkeys(methods, network)
    if {"rddrs", "rddrs_global"} & set(methods):
        start = time.perf_counter()
        scale = one.known(network, fitting, sigma, 0)
        print(f"one C for all inputs: {time.perf_counter() - start:.0f} s, once")
        assert guarded.shared_scale is not None
        guarded.shared_scale.adopt(network, scale, sigma=sigma)
    if options.cotrained:
        together = GlobalScale()
        methods["cotrained"], networks["cotrained"] = together, read(options.cotrained, data)
        together.adopt(networks["cotrained"], load_scale(options.cotrained / "scale.safetensors"), sigma=sigma)

    found = {name: [] for name in methods}
    for index in data.evaluation_indices(options.inputs):
        x, label = data.test_inputs[index], int(data.test_labels[index])
        for name, method in methods.items():
            clock = [time.perf_counter()]
            proposal = method.propose(networks[name], x, sigma=sigma, reference=fitting, index=index, batch=128)
            clock.append(time.perf_counter())
            certificate = rddrs.certify(
                networks[name], x, proposal.scale, samples=options.samples, index=index, batch=128
            )
            clock.append(time.perf_counter())
            right = certificate.prediction == label
            kept = fidelity(networks[name], proposal.scale, measuring, sigma=sigma, index=index)
            found[name].append([
                right * certificate.proxy_radius, right * certificate.ball_radius, right, kept.value, kept.accuracy,
                contradictions(certificate, measuring), *np.diff(clock),
            ])  # fmt: skip
    print(ROW.format("method", "acr_proxy", "/ RS", "acr_ball", "/ RS", "accuracy", "fidelity", "contradictions",
                     "propose", "certify"))  # fmt: skip
    tables = {name: np.array(rows, float) for name, rows in found.items()}
    for name, table in tables.items():
        proxy, ball, accuracy, kept, _, clashes = table.mean(axis=0)[:6]
        base = tables["rs"].mean(axis=0) if "rs" in tables else np.full(2, np.nan)
        ratios = (f"{proxy / base[0]:.2f}", f"{ball / base[1]:.2f}")
        seconds = [f"{value:.2f}" for value in np.median(table[:, 6:], axis=0)]
        print(ROW.format(name, f"{proxy:.3f}", ratios[0], f"{ball:.3f}", ratios[1], f"{accuracy:.2f}", f"{kept:.3f}",
                         f"{clashes * len(table):.0f}", *seconds))  # fmt: skip
    if options.paper:
        start = time.perf_counter()
        paper = rddrs.RDDRSPaper(iterations=options.paper)
        paper.propose(network, data.test_inputs[0], sigma=sigma, sigma_x=sigma, batch=128)
        seconds = (time.perf_counter() - start) / options.paper * 100
        print(
            f"rddrs_paper: {seconds:.0f} s an input, extrapolated from {options.paper} of 100 iterations of one input"
        )
        if "rddrs" in tables:
            print(f"rddrs proposes {seconds / np.median(tables['rddrs'][:, 6]):.0f} times as fast")


def read(folder: Path, data: Dataset) -> LeNet:
    """The trained LeNet of a classifier's folder."""
    network = LeNet(data.shape, data.classes)
    load_weights(network, folder / "weights.safetensors")
    return network.eval().requires_grad_(False)


if __name__ == "__main__":
    main()
