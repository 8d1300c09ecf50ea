"""Certified intervals beside the exact ones, which are known of a linear classifier and a straight change.

python -m benchmarks.intervals [--count 2000] [--samples 20000] [--alpha 0.001]

Each has a random classifier, input, direction and scale, isotropic or full, in three dimensions. It prints how many
of the certified intervals are longer than the exact one, the most that alpha allows (false alarms 1e-6), and the share
of the exact interval that is certified: at least, its first hundredth, and in the mean.
"""

import argparse
import time

import numpy as np
import pandas as pd
import torch
from scipy.stats import binom

import rddrs
from rddrs import Full, Isotropic, Perturbation


def interval(index: int, samples: int, alpha: float) -> dict[str, float]:
    """One interval from 0: its certified end and the exact one, and the draws."""
    source = torch.Generator().manual_seed(index)
    weight, x, direction = (torch.randn(3, generator=source, dtype=torch.float64) for _ in range(3))
    direction = direction * -torch.sign(direction @ weight)  # towards the other class
    root = 0.2 * (torch.eye(3) + 0.5 * torch.randn(3, 3, generator=source)).double()
    scale = Full((root @ root.mT + 0.01 * torch.eye(3)).float()) if index % 2 else Isotropic(0.3, 3)
    whole = scale.spread(weight.float()[None])[0].norm().item()
    margin = (0.5 + 2 * torch.rand((), generator=source).item()) * whole
    bias = margin - (weight @ x.float().double()).item()

    def classifier(inputs: torch.Tensor) -> torch.Tensor:
        answer = (inputs.double() @ weight + bias).float()
        return torch.stack([torch.zeros_like(answer), answer], dim=1)

    v = direction.numpy()
    push = Perturbation(
        "push", lambda x, s: x + s * v, 100, images=False,
        variation=lambda x, low, high: np.broadcast_to((high - low) / 2 * np.abs(v), x.shape),
    )  # fmt: skip
    exact = margin / abs((direction @ weight).item())
    found = rddrs.Smoothed(classifier, scale).certify_path(
        x.float(), push, 0.0, 1.5 * exact, clamp=None, alpha=alpha, samples=samples, index=index
    )
    end = float(np.ravel(found.high)[0])
    return {"index": index, "exact": exact, "end": end, "samples": found.samples, "prediction": found.prediction}


def main(arguments: list[str] | None = None) -> pd.DataFrame:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--samples", type=int, default=20_000)
    parser.add_argument("--alpha", type=float, default=1e-3)
    options = parser.parse_args(arguments)
    start, rows = time.process_time(), []
    for index in range(options.count):
        rows.append(interval(index, options.samples, options.alpha))
        if (done := index + 1) % max(1, options.count // 20) == 0:
            left = (time.process_time() - start) * (options.count - done) / done
            print(f"{done} of {options.count}, about {left:.0f} s of a processor left", flush=True)
    table = pd.DataFrame(rows)
    prediction, share = table["prediction"].to_numpy(), (table["end"] / table["exact"]).to_numpy()
    false, allowed = np.sum((prediction == 0) | (share > 1 + 1e-5)), binom.isf(1e-6, options.count, options.alpha)
    print(f"{false} of {options.count} are too long, at most {allowed:.0f} by luck")
    share = share[prediction == 1]
    least, low, mean = share.min(), np.quantile(share, 0.01), share.mean()
    print(f"{len(share)} certified: {least:.4f}, {low:.4f}, {mean:.4f} of the exact interval")
    print(f"{table['samples'].mean():.6g} samples, {(time.process_time() - start) / options.count:.3g} s an interval")
    return table


if __name__ == "__main__":
    main()
