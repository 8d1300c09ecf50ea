"""What a certificate was to be made with. An audit takes it from whoever asked for the certificate, never from that."""

from dataclasses import dataclass, replace

import torch

from rddrs.certification import ABSTAIN, Certificate, lower_bound
from rddrs.certification.certify import Bound
from rddrs.noise import Norm
from rddrs.smoothing import decide


@dataclass(frozen=True)
class Terms:
    """The arguments of `certify` that decide what its certificate is worth.

    `samples` is the most that may be drawn where there is a `target_radius`, whose bound is "sequential". `clamp` and
    `rounding` are those of the images that severities speak of.
    """

    samples: int
    selection_samples: int = 100
    alpha: float = 1e-3
    bound: Bound = "clopper_pearson"
    target_radius: float | None = None
    norm: Norm = "l2"
    grid: float | None = None
    seed: int = 0
    clamp: tuple[float, float] | None = None
    rounding: float | None = None

    def applied(self, certificate: Certificate) -> Certificate:
        """The certificate with these terms in the place of those that it states."""
        early = self.target_radius is not None
        return replace(
            certificate,
            samples=min(certificate.samples, self.samples) if early else self.samples,
            selection_samples=self.selection_samples,
            alpha=self.alpha,
            bound="sequential" if early else self.bound,
            norm=self.norm,
            grid=self.grid,
            seed=self.seed,
        )

    def differences(self, certificate: Certificate) -> dict[str, tuple[object, object]]:
        """The terms that the certificate does not state as they are: its own and the right one, by name."""
        right = self.applied(certificate)
        names = ("samples", "selection_samples", "alpha", "bound", "norm", "grid", "seed")
        pairs = {name: (getattr(certificate, name), getattr(right, name)) for name in names}
        return {name: (stated, asked) for name, (stated, asked) in pairs.items() if stated != asked}

    def proven(self, certificate: Certificate) -> Certificate:
        """What the counts of a certificate prove under these terms, whatever class, bound and radius it states."""
        it = self.applied(certificate)
        top = int(torch.tensor(it.selection_counts).argmax())
        successes = min(it.counts[top], it.samples)
        decision = None
        if self.target_radius is None:
            p_lower = lower_bound(it.bound, successes, it.samples, it.alpha, it.seed, it.index)
            radius = it.family.radius(p_lower)
        else:
            asked = self.target_radius / it.family.ball(it.scale) * (1 + 1e-12)
            needed = it.family.probability(asked)
            decision = decide(successes, it.samples, needed, it.alpha)
            p_lower, radius = (needed, asked) if decision == "yes" else (0.0, 0.0)
        prediction = top if radius > 0 else ABSTAIN
        return replace(it, prediction=prediction, p_lower=p_lower, radius=radius, decision=decision)
