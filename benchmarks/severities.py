"""Whether any image is outside of its region at a certified severity, of every method.

python -m benchmarks.severities [--certificates 200] [--severities 20000] [--seconds 300] [OVERRIDE ...]

Every test input is certified by every method in turn, as a run certifies it. Of each certificate, so many severities of
every certified interval, at random, both ends among them, are evaluated: the image, clamped and rounded as the run
does, must be inside. Overrides are those of `python -m pipelines.run`; `certify.rounding=1/255` is finer than the
digits' grid. It stops after so many seconds and says how far it came.
"""

import argparse
import time

import torch

import rddrs
from benchmarks.methods import contestant
from rddrs.certification import certified_severities
from rddrs.certification.severities import inside
from rddrs.threats import PERTURBATIONS

METHODS = {
    "rs": "method=rs", "ancer": "method=ancer", "ddrs": "method=ddrs", "rddrs": "method=rddrs",
    "rddrs kronecker": "method=rddrs method.structure=kronecker", "rddrs_global": "method=rddrs_global",
    "rddrs aimed": "method=rddrs threat=[brightness]",
}  # fmt: skip
PART = 2000
"""Images that are looked at together."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--certificates", type=int, default=200, help="of every method")
    parser.add_argument("--severities", type=int, default=20_000, help="of every interval")
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    source = torch.Generator().manual_seed(options.seed)
    common = [f"data.subset={options.certificates}", "certify.samples=2000", *options.overrides]
    methods = {name: contestant(common, own) for name, own in METHODS.items()}
    count, start = dict.fromkeys(methods, 0), time.perf_counter()
    intervals = points = outside = 0
    for index in next(iter(methods.values()))[0].indices:
        for name, (prepared, measuring, fitting, held_out) in methods.items():
            if time.perf_counter() - start > options.seconds:
                break
            stored = {"clamp": prepared.clamp, "rounding": prepared.rounding}
            it = rddrs.certify_input(
                prepared.network, prepared.data.test_inputs[index], sigma=prepared.settings.sigma,
                method=prepared.method, reference=fitting, measuring=measuring, held_out=held_out, index=index,
                samples=prepared.settings.certify.samples,
            ).certificate  # fmt: skip
            count[name] += 1
            if it.radius == 0:
                continue
            found = certified_severities(it, **stored)
            for perturbation in PERTURBATIONS:
                if (each := found.get(perturbation.name)) is None or each.low == each.high:
                    continue
                shares = torch.rand(options.severities, dtype=torch.float64, generator=source)
                shares[:2] = torch.tensor([0.0, 1.0])
                severities = each.low + (each.high - each.low) * shares
                severities[1] = each.high
                for part in severities.split(PART):
                    lost = int((~inside(it, perturbation, part, **stored)).sum())
                    points, outside = points + len(part), outside + lost
                    if lost:
                        print(f"{name}, input {index}, {perturbation.name}: {lost} outside of {each}", flush=True)
                intervals += 1
    print(f"{outside} of {points:,} images of {intervals:,} intervals outside; certificates: {count}")


if __name__ == "__main__":
    main()
