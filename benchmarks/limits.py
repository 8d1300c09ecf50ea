"""How much severity one C can gain over isotropic noise, by the first-order model of the margin (METHOD section 8).

python -m benchmarks.limits data=mnist data.root=FOLDER train=covariance threat=[rotation] [OVERRIDE ...]

Overrides are those of `python -m pipelines.run`. To first order a certified severity is proportional to
1 / sqrt(tr(M Sigma) tr(D Sigma^-1)), so that no fixed C gains more on a network than

    sqrt(tr(M) tr(D)) / tr((M^(1/2) D M^(1/2))^(1/2)),

reached at Sigma = t M^-1 # D; D is that of one perturbation, M that of the network's margin under its noise, at
`--slopes` training inputs. Stated for every perturbation of the threat, for the network before and, with
`train=covariance`, after the rounds: a network that has learned to do without a direction has another limit. For a
Kronecker C the limit is that of its own axes.
"""

import argparse
from collections.abc import Iterator
from dataclasses import replace

import torch
from hydra import compose, initialize_config_dir
from torch import Tensor

from benchmarks.measured import keep
from pipelines.config import load
from pipelines.entry import CONFIGURATION
from pipelines.prepare import Prepared, prepare
from pipelines.settings import CovarianceTrain
from pipelines.train import train
from rddrs.methods import moment_of, slopes, spreads_of, structured
from rddrs.methods.moments import trace
from rddrs.noise import Isotropic, Purpose, Scale, Stream, load_scale, spd


def limit(moment: Tensor, spread: Tensor) -> float:
    """sqrt(tr(M) tr(D)) / tr((M^(1/2) D M^(1/2))^(1/2)); from diagonals, [d], or matrices, [d, d]."""
    if moment.ndim == 1:
        roots = (moment * spread).sqrt()
    else:
        values, vectors = spd.floored_spectrum(moment.double(), 0.0)
        half = spd.compose(values.sqrt(), vectors)
        roots = torch.linalg.eigvalsh(spd.symmetric(half @ spread.double() @ half)).clamp_min(0).sqrt()
    return ((trace(moment) * trace(spread)).sqrt() / roots.sum()).item()


def limits(prepared: Prepared, scale: Scale, count: int) -> list[float]:
    """The limit of every perturbation of the threat, for the network under the noise of the scale."""
    settings, data, options = prepared.settings, prepared.data, prepared.settings.train
    inputs, labels = data.trained_on(settings.seed)
    feared = data.held_out(settings.seed).inputs

    def found() -> Iterator[Tensor]:
        source = Stream(settings.seed, 0, Purpose.GLOBAL).generator()
        chosen = torch.randint(len(inputs), (count,), generator=source)
        return slopes(prepared.network, inputs, labels, chosen, scale, source, settings.certify.norm)

    kind = (options.structure, options.basis) if isinstance(options, CovarianceTrain) else ("auto", "learned")
    base = structured(Isotropic(1.0, scale.dim), *kind, feared, found, prepared.threat)
    moment = moment_of(found(), base)
    return [limit(moment, spread) for spread in spreads_of(prepared.threat, feared, base)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--slopes", type=int, default=8_000)
    options = parser.parse_args()
    with initialize_config_dir(str(CONFIGURATION), version_base="1.3"):
        prepared = prepare(load(compose("config", ["method=rddrs_global", *options.overrides])))
    settings = prepared.settings
    before = replace(prepared, settings=settings.model_copy(update={"train": settings.train.isotropic}))
    train(before)
    columns = [limits(before, Isotropic(settings.sigma, prepared.data.test_inputs[0].numel()), options.slopes)]
    if settings.train.name == "covariance":
        train(prepared)
        scale = load_scale(prepared.classifier_folder / "scale.safetensors")
        columns.append(limits(prepared, scale, options.slopes))
    print(f"{'at most, times RS':<24}{'before':>10}{'co-trained':>12}")
    figures = {}
    for part, *row in zip(prepared.threat.perturbations, *columns, strict=True):
        print(f"{part.name:<24}" + "".join(f"{value:>11.2f}" for value in row))
        figures |= {f"{part.name}, {name}": value for name, value in zip(("before", "co-trained"), row, strict=False)}
    keep("limits", figures)


if __name__ == "__main__":
    main()
