"""What whole paths cost and how often they are certified: METHOD section 14, beside what is published there.

python -m benchmarks.paths --root DIR [--sigma 0.12] [--inputs 500] [--held-out] [--perturbation rotation] [--limit 50]
    [--epochs 14] [--threat brightness | --scale FILE] [--rounding 1/255 [--rounded-alone]] [--path-alone]
    [--unclamped] [--slack 0] [--weights FILE] [--run data=folder data.root=DIR ...] [--device cpu] [--workers 1]
    [--write paths.csv] [--beside other.csv]

Trains a `small_cnn` on MNIST (with `--data digits` a perceptron on those) under Gaussian noise, its images perturbed at
random up to 1.1 times the limit, then certifies evenly spaced test inputs: all severities from -limit (0 where there
are no negative ones) to the limit. A pair is `--perturbation rotation+brightness --limit 50 0.2`. The noise is
isotropic, or of the C in a file, or of one that grows in turn with the network from there, aimed at the steps of the
path along what `--threat` names: both are then kept in `paths.csv.rounds`, as `scale.safetensors` and
`weights.safetensors`. It prints and writes one row an input, and over all of them the share that is right and certified
with its 95 % interval, the share answered rightly without noise, that answered rightly under it all along, which no
certificate can exceed by much, and, of all inputs and of those certified, samples, tests (anchors) and the processor's
seconds an input, of geometry and draws together; with `--beside` how many times the samples of another run they are, on
the inputs that both certify. What was stopped goes on: rows that are in the file stay, where arguments and weights are
the same.

With `--right-alone` no draw but those that choose the class goes into an input where they choose another: its path
cannot be right.

With `--held-out` they are training inputs that the network has not seen, with draws of their own: noise, epochs and the
rest are chosen with these, before a test input is certified.

Data, network and sigma are those of a run of the pipeline where `--run` has its words, trained where it is not there.
With `--device cuda` passes, and training, are done there; draws and geometry stay on the CPU, where they cost less,
of so many processes, `--workers`, an input each.
"""

import argparse
import json
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import torch
from joblib import Parallel, delayed
from torch import Tensor, nn

import rddrs
from benchmarks.measured import keep
from benchmarks.methods import trained
from rddrs.certification.cells import Course
from rddrs.certification.paths import feared
from rddrs.data import Dataset, digits, mnist
from rddrs.data.inputs import Stored
from rddrs.digests import digest
from rddrs.models import Perceptron, SmallCNN, load_weights, save_weights
from rddrs.noise import Isotropic, Scale, load_scale, save_scale
from rddrs.report.tables import confidence_band
from rddrs.smoothing import Reference
from rddrs.threats import Threat, Way, stored
from rddrs.training.augmentation import Augmentation, Augmented
from rddrs.training.cotraining import cotrain
from rddrs.training.fit import fit
from rddrs.training.noisy import NoisyTraining
from rddrs.training.options import CotrainingOptions, TrainingOptions

FREE = ("inputs", "root", "weights", "scale", "workers", "write", "beside")
"""Arguments that decide no row: files count by what they hold."""

SELECTION = 100
"""Draws that choose the class of a path."""

PLACES, DRAWS = 25, 200
"""Severities all along a path, or all over a box, and draws at each that say whether G_C is right there."""


class Training:
    """A network and the C of its noise, trained with images that are perturbed along the path and a little beyond."""

    def __init__(self, data: Dataset, options: argparse.Namespace, clamp: tuple[float, float] | None) -> None:
        self._data, self._options, self._way, self._clamp = data, options, way_of(options), clamp
        limits = {it: 1.1 * end for it, end in zip(self._way.perturbations, self._way.high, strict=True)}
        self._augmentation = Augmentation(limits, clamp)
        torch.manual_seed(options.seed)
        self._network = (SmallCNN if options.data == "mnist" else Perceptron)(data.shape, data.classes)

    def done(self) -> tuple[nn.Module, Scale]:
        """Both, as far as they are there read from their files."""
        options, weights = self._options, self._options.weights and Path(self._options.weights)
        scale = load_scale(options.scale) if options.scale else self._isotropic
        if weights and weights.exists():
            load_weights(self._network, weights)
            self._network.eval().requires_grad_(False)
        else:
            with TemporaryDirectory() as folder:
                self._fit(scale, options.epochs, Path(folder))
            if weights:
                save_weights(self._network, weights)
        return self._network, self._grown(Path(f"{options.write}.rounds")) if options.threat else scale

    @property
    def _isotropic(self) -> Scale:
        return Isotropic(self._options.sigma, self._data.test_inputs[0].numel())

    def _fit(self, scale: Scale, epochs: int, folder: Path, first_epoch: int = 0) -> None:
        inputs, labels = self._data.trained_on(self._options.seed)
        module = NoisyTraining(
            self._network.requires_grad_(True), inputs, labels, scale, self._data.held_out(self._options.seed),
            TrainingOptions(schedule="linear"), seed=self._options.seed, first_epoch=first_epoch,
            augmentation=self._augmentation,
        )  # fmt: skip
        fit(module, epochs=epochs, folder=folder, device=self._options.device)

    def _grown(self, folder: Path) -> Scale:
        """A C that is aimed at the steps of the path, and grows in turn with the network."""
        options, seed = self._options, self._options.seed
        names = ("rounds", "round_epochs", "last_epochs", "growth", "keep")
        rounds = CotrainingOptions(**{name: getattr(options, name) for name in names})

        def fine_tune(scale: Scale, turn: int, place: Path) -> None:
            epochs = rounds.last_epochs if turn == rounds.rounds - 1 else rounds.round_epochs
            self._fit(scale, epochs, place, 1000 * (turn + 1))

        folder.mkdir(parents=True, exist_ok=True)
        (inputs, labels), pilots = self._data.trained_on(seed), self._data.pilots(seed)
        perturbed = Reference(Augmented(Stored(pilots.inputs), self._augmentation, seed)[:], pilots.labels)
        scale = cotrain(
            self._network, Augmented(inputs, self._augmentation, seed), labels.to(options.device),
            perturbed.to(options.device), fine_tune, folder, rounds, sigma=options.sigma, seed=seed,
            feared=pilots.inputs.to(options.device),
            threat=Threat(*options.threat, clamp=self._clamp, along=[self._way]),
        )  # fmt: skip
        save_scale(scale, folder / "scale.safetensors")
        save_weights(self._network, folder / "weights.safetensors")
        return scale


def way_of(options: argparse.Namespace) -> Way:
    """The path that is asked for."""
    perturbations = feared(options.perturbation)
    pairs = zip(perturbations, options.limit, strict=True)
    return Way(perturbations, tuple(-end if it.two_sided else 0.0 for it, end in pairs), tuple(options.limit))


def certified(
    network: nn.Module, scale: Scale, data: Dataset, options: argparse.Namespace, clamp: tuple[float, float] | None
) -> pd.DataFrame:
    """One row an input; those that are in the file stay. Raises SystemExit where they are of other arguments."""
    path, indices = Path(options.write), data.evaluation_indices(options.inputs)
    asked = {name: value for name, value in vars(options).items() if name not in FREE}
    asked |= {"network": digest("weights", network.state_dict()), "noise": scale.digest, "version": rddrs.__version__}
    terms = path.with_name(f"{path.name}.json")
    found = json.loads(terms.read_text()) if path.exists() and terms.exists() else {}
    if path.exists() and (other := sorted(name for name in asked if found.get(name) != asked[name])):
        raise SystemExit(f"--write {path} has rows of other arguments ({', '.join(other)}): name another file")
    terms.write_text(json.dumps(asked))
    rows = pd.read_csv(path).to_dict("records") if path.exists() else []
    tasks = (
        delayed(row_of)(network, scale, data.test_inputs[index], int(data.test_labels[index]), index, options, clamp)
        for index in indices
        if all(row["index"] != index for row in rows)
    )
    done: Any = Parallel(options.workers, return_as="generator_unordered")(tasks)
    for row in done:
        rows = sorted([*rows, row], key=lambda row: row["index"])
        print(" ".join(f"{name} {value}" for name, value in row.items()), flush=True)
        pd.DataFrame(rows).to_csv(path, index=False)
    return pd.DataFrame([row for row in rows if row["index"] in indices])


def row_of(
    network: nn.Module,
    scale: Scale,
    x: Tensor,
    label: int,
    index: int,
    options: argparse.Namespace,
    clamp: tuple[float, float] | None,
) -> dict[str, Any]:
    """What is found of one input; its passes, and no more, are done on the device."""

    network = network.to(options.device)

    @torch.inference_mode()
    def passes(inputs: Tensor) -> Tensor:
        return network(inputs.to(options.device)).cpu()

    way, start = way_of(options), time.process_time()
    slack = options.slack / scale.eigenvalues[0].item()  # the ball of that radius is inside the region of the slack
    smoothed = rddrs.Smoothed(network if options.device == "cpu" else passes, scale, grid=options.grid)

    def walked(budget: int | None) -> rddrs.PathCertificate:
        return smoothed.certify_path(
            x, way.perturbations, way.low, way.high, clamp=clamp, rounding=options.rounding,
            unrounded=not options.rounded_alone, regions=not options.path_alone,
            seed=options.seed + options.held_out, slack=slack, samples=options.samples, budget=budget,
            selection_samples=SELECTION, index=index,
        )  # fmt: skip

    found = walked(SELECTION if options.right_alone else options.budget)
    if options.right_alone and int(np.argmax(found.selection_counts)) == label:
        found = walked(options.budget)
    right = found.complete and found.prediction == label
    row = {"index": index, "label": label, "prediction": found.prediction, "certified": right}
    row |= {"clean": int(passes(x[None]).argmax()) == label, "low": found.low, "high": found.high}
    row |= {"samples": found.samples, "anchors": len(found.cells), "status": found.status, "needed": found.needed}
    row["seconds"] = time.process_time() - start
    ends = [
        torch.linspace(*each, round(PLACES ** (1 / len(way.low))), dtype=torch.float64)
        for each in zip(way.low, way.high, strict=True)
    ]
    places = torch.cartesian_prod(*ends).view(-1, len(ends))
    images = stored(Course(way.perturbations, x, clamp).points(places), rounding=options.rounding)
    counts = smoothed.counts(images.to(x.dtype).view(-1, *x.shape), DRAWS, options.seed)
    return row | {"smoothed": bool((counts.argmax(dim=1) == label).all())}


def told(table: pd.DataFrame, beside: str | None) -> None:
    """Prints what all rows say together."""
    share = table["certified"].to_numpy(float).mean(keepdims=True)
    low, high = confidence_band(share, len(table))
    clean, smoothed = table["clean"].mean(), table["smoothed"].mean()
    print(f"certified {share[0]:.4f} ({low[0]:.4f} to {high[0]:.4f}) of {len(table)}, clean {clean:.4f}, ", end="")
    print(f"right under noise all along {smoothed:.4f}")
    for name, rows in (("an input", table), ("of those certified", table[table["certified"]])):
        means = rows[["samples", "anchors", "seconds"]].mean()
        print(" ".join(f"{name} {value:.6g}" for name, value in means.items()), name)
    if beside is not None:
        both = table.merge(pd.read_csv(beside), on="index")
        both = both[both["certified_x"] & both["certified_y"]]
        ratio = both["samples_x"].sum() / max(1, both["samples_y"].sum())
        print(f"{ratio:.4g} times the samples of {beside} on the {len(both)} inputs that both certify")


def fraction(text: str) -> float:
    """A number, or a fraction such as 1/255."""
    above, _, below = text.partition("/")
    return float(above) / float(below or 1)


def main(arguments: list[str] | None = None) -> pd.DataFrame:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=["mnist", "digits"], default="mnist")
    parser.add_argument("--root", default="data")
    parser.add_argument("--sigma", type=float, default=0.12, help="of the noise; with --run that of the run")
    parser.add_argument("--inputs", type=int, default=500)
    parser.add_argument("--held-out", action="store_true", help="inputs to choose settings with: no test inputs")
    parser.add_argument("--perturbation", default="rotation")
    parser.add_argument("--limit", type=float, nargs="+", default=[50.0])
    parser.add_argument("--epochs", type=int, default=14)
    parser.add_argument("--scale", help="the file of a C")
    parser.add_argument("--threat", nargs="+", default=[], help="what a C that grows with the network is aimed at")
    parser.add_argument("--rounds", type=int, default=4, help="in which C grows, and the network after it")
    parser.add_argument("--round-epochs", type=int, default=1)
    parser.add_argument("--last-epochs", type=int, default=6)
    parser.add_argument("--growth", type=float, default=4.0, help="of a noise level in a round, at most")
    parser.add_argument("--keep", type=float, default=0.94, help="the share of the mean radius that a round leaves")
    parser.add_argument("--rounding", type=fraction)
    parser.add_argument("--rounded-alone", action="store_true", help="the images before rounding are not spoken of")
    parser.add_argument("--path-alone", action="store_true", help="the regions of the anchors are not spoken of")
    parser.add_argument("--grid", type=fraction)
    parser.add_argument("--unclamped", action="store_true")
    parser.add_argument("--slack", type=float, default=0.0, help="a further l2 change, in the input's own units")
    parser.add_argument("--samples", type=int, default=20_000, help="of one test, at most")
    parser.add_argument("--budget", type=int, help="the draws of a path, at most; a box that takes more is given up")
    parser.add_argument("--right-alone", action="store_true", help="an input whose class is not chosen is not walked")
    parser.add_argument("--run", nargs="+", default=[], help="the words of a run whose data and network are taken")
    parser.add_argument("--device", default="cpu", help="where passes and training are done")
    parser.add_argument("--workers", type=int, default=1, help="processes, an input each")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--weights", help="a file that keeps the weights, those before C grows")
    parser.add_argument("--write", default="paths.csv")
    parser.add_argument("--beside", help="what another run wrote")
    options = parser.parse_args(arguments)
    clamp = None if options.unclamped else (0.0, 1.0)
    if options.run and options.threat:
        parser.error("--threat: with --run a C is not grown here; give the run's own with --scale")
    if options.run:
        prepared = trained(options.run, "")
        data, network, options.sigma = prepared.data, prepared.network, prepared.settings.sigma
        scale = load_scale(options.scale) if options.scale else Isotropic(options.sigma, data.test_inputs[0].numel())
    else:
        data = mnist(options.root) if options.data == "mnist" else digits()
        network, scale = Training(data, options, clamp).done()
    if options.held_out:
        chosen = data.held_out(options.seed)
        data = Dataset(data.train_inputs, data.train_labels, chosen.inputs, chosen.labels, data.classes)
    table = certified(network, scale, data, options, clamp)
    told(table, options.beside)
    figures = {f"{name} an input": table[name].to_numpy(float).mean() for name in ("samples", "anchors", "seconds")}
    keep("paths", figures | {"share certified": table["certified"].to_numpy(float).mean()}, arguments)
    return table


if __name__ == "__main__":
    main()
