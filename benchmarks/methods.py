"""Methods, networks and structures side by side: what they certify, what it means, and what it costs.

python -m benchmarks.methods data=mnist data.root=FOLDER [OVERRIDE ...] [--contestants 'NAME: OVERRIDE ...' ...]

Overrides are those of `python -m pipelines.run`; a contestant has its own in addition. The first one is what ratios
refer to. Classifiers and scales that all inputs share are made first, unless they are there. Interleaved: every input
goes through all contestants before the next one. Seconds are the median an input, on one core. Methods fit one set of
training inputs, contradictions are counted on another, fidelity is measured on held-out ones. `rddrs_paper` is timed
on `--paper` iterations of its hyper-parameters (n = 20,000) and extrapolated to 100: its certificates are not measured.
"""

import argparse
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from hydra import compose, initialize_config_dir
from rich.progress import track

import rddrs
from benchmarks.measured import keep
from pipelines.config import load
from pipelines.entry import CONFIGURATION
from pipelines.means import share_scale, unseen
from pipelines.prepare import Prepared, prepare
from pipelines.train import train
from rddrs.report import measured

CONTESTANTS = [
    *(f"{name}: method={name}" for name in ("rs", "ddrs", "ancer", "rddrs_global", "rddrs")),
    "cotrained: method=rddrs_global train=covariance",
]
ROW = "{:<20}{:>10}{:>8}{:>10}{:>8}{:>9}{:>7}{:>10}{:>8}{:>9}{:>9}"


def trained(common: list[str], own: str) -> Prepared:
    """What a contestant works on, its classifier trained."""
    with initialize_config_dir(str(CONFIGURATION), version_base="1.3"):
        prepared = prepare(load(compose("config", [*common, *own.split()])))
    train(prepared)
    return prepared


def contestant(common: list[str], own: str) -> tuple[Prepared, rddrs.Reference, rddrs.Reference, rddrs.Reference]:
    """What a contestant works on, its classifier trained and its shared scale made, and the three reference sets."""
    prepared = trained(common, own)
    settings = prepared.settings
    measuring, fitting = (
        prepared.data.reference(settings.data.reference, settings.seed, part).to(settings.device) for part in (0, 1)
    )
    share_scale(prepared, fitting)
    return prepared, measuring, fitting, unseen(prepared)[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--contestants", nargs="+", default=CONTESTANTS)
    parser.add_argument("--workers", type=int, default=1, help="inputs side by side, a core each")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--paper", type=int, default=0)
    parser.add_argument("--table", type=Path, default=Path("outputs/benchmarks/methods.csv"))
    options = parser.parse_args()
    fields = {}
    for text in options.contestants:
        name, _, own = text.partition(":")
        start = time.perf_counter()
        fields[name] = contestant(options.overrides, own)
        print(f"{name}: ready after {time.perf_counter() - start:.0f} s", flush=True)

    def examine(index: int) -> list[dict]:
        rows = []
        for name, (prepared, measuring, fitting, held_out) in fields.items():
            settings = prepared.settings
            found = rddrs.certify_input(
                prepared.network,
                prepared.data.test_inputs[index].to(settings.device),
                sigma=settings.sigma,
                method=prepared.method,
                reference=fitting,
                measuring=measuring,
                held_out=held_out,
                label=int(prepared.data.test_labels[index]),
                seed=settings.seed,
                index=index,
                batch=options.batch,
                perturbations=prepared.threat.reported,
                clamp=prepared.clamp,
                rounding=prepared.rounding,
                samples=settings.certify.samples,
                selection_samples=settings.certify.selection_samples,
                alpha=settings.certify.alpha,
            )
            rows.append({"contestant": name, **found.record})
        return rows

    first, *_ = next(iter(fields.values()))
    with ThreadPoolExecutor(options.workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        examined = track(pool.map(examine, first.indices), total=len(first.indices), description="inputs")
        table = pd.DataFrame([row for rows in examined for row in rows])
    options.table.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(options.table, index=False)
    print(ROW.format("", "acr_proxy", "ratio", "acr_ball", "ratio", "accuracy", "+-", "fidelity", "clashes", "propose",
                     "certify"))  # fmt: skip
    base, figures = None, {}
    for name, part in table.groupby("contestant", sort=False):
        proxy, ball = ((part[column] * part["correct"]).mean() for column in ("proxy_radius", "ball_radius"))
        base = base or (proxy, ball)
        accuracy = part["correct"].mean()
        figures |= {f"acr_proxy, {name}": proxy, f"acr_ball, {name}": ball, f"accuracy, {name}": accuracy}
        error = np.sqrt(accuracy * (1 - accuracy) / len(part))
        seconds = (f"{part[column].median():.2f}" for column in ("optimize_seconds", "certify_seconds"))
        print(ROW.format(str(name), f"{proxy:.3f}", f"{proxy / base[0]:.2f}", f"{ball:.3f}", f"{ball / base[1]:.3f}",
                         f"{accuracy:.3f}", f"{error:.3f}", f"{part['fidelity'].mean():.3f}",
                         f"{part['contradictions'].sum():.0f}", *seconds))  # fmt: skip
    keep("methods", figures)
    print("\nmean certified severities, 0 where wrong")
    for column in (f"severity_{name}" for name in measured(table)):
        means = [np.mean(part[column] * part["correct"]) for _, part in table.groupby("contestant", sort=False)]
        print(f"{column.removeprefix('severity_'):<20}" + "".join(f"{mean:>12.4f}" for mean in means))
    print(f"written to {options.table}")
    if options.paper:
        start = time.perf_counter()
        paper, x = rddrs.RDDRSPaper(iterations=options.paper), first.data.test_inputs[0]
        paper.propose(first.network, x, sigma=first.settings.sigma, sigma_x=first.settings.sigma, batch=options.batch)
        seconds = (time.perf_counter() - start) / options.paper * 100
        print(f"rddrs_paper: {seconds:.0f} s an input, from {options.paper} of 100 iterations of one input")


if __name__ == "__main__":
    main()
