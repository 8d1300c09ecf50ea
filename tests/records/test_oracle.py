"""A linear classifier, whose radius is known, in every precision, under every scale, through the files of a run."""

from typing import Any

import pytest
import torch
from scipy.stats import binom
from torch import Tensor, nn

from rddrs import Certificate, audit, certify
from rddrs.models import Accelerated
from rddrs.records import Store, derived
from rddrs.records.store import COLUMNS

KINDS = ("isotropic", "diagonal", "full", "kronecker")
ALPHA, SEEDS = 0.01, 12


class Margin(nn.Module):
    """Logits (0, w.x + b)."""

    def __init__(self, weight: Tensor, bias: float) -> None:
        super().__init__()
        self.line = nn.Linear(len(weight), 1)
        with torch.no_grad():
            self.line.weight.copy_(weight[None])
            self.line.bias.fill_(bias)
        self.eval().requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        margin = self.line(x.flatten(1))
        return torch.cat([torch.zeros_like(margin), margin], dim=1)


PRECISIONS = {
    "float32": (torch.float32, lambda network: network),
    "float64": (torch.float64, lambda network: network.double()),
    "bfloat16 inside": (torch.float32, lambda network: Accelerated(network, "bfloat16")),
    "float16 inside": (torch.float32, lambda network: (half := network.half()) and (lambda x: half(x.half()).float())),
}


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_certified_written_and_read_again_is_true(oracle_of, tmp_path, kind, precision):
    """False alarm: 1e-6 by the binomial tail; rounding inside moves the margin by 1 % of its deviation at most."""
    dtype, inside = PRECISIONS[precision]
    slack, false = (0.01 if "inside" in precision else 0.0), 0
    store = Store(tmp_path)
    for seed in range(SEEDS):
        oracle = oracle_of(kind, 12, radius=0.8, seed=seed)
        classifier, x = inside(Margin(oracle.classifier.weight, oracle.classifier.bias)), oracle.x.to(dtype)
        keyed = {"samples": 1_000, "alpha": ALPHA, "seed": seed}
        certificate = certify(classifier, x, oracle.scale, index=seed, **keyed)
        store.save(certificate, _columns(certificate))
        again = store.certificate(seed)
        assert (again.radius, again.counts, again.scale.digest) == (
            certificate.radius,
            certificate.counts,
            certificate.scale.digest,
        )
        assert not audit(classifier, again, x, index=seed, samples=500, false_alarm=1e-7).flags
        false += again.prediction == 0 or again.radius > oracle.radius + slack
    assert false <= binom.isf(1e-6, SEEDS, ALPHA)


def _columns(certificate: Certificate) -> dict[str, Any]:
    return dict.fromkeys(COLUMNS, 0) | derived(certificate, label=1, measuring=None, perturbations=())
