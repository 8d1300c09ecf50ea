"""What a smoothed classifier is worth: the fidelity of G_C on other labelled inputs (METHOD section 4.1)."""

from dataclasses import dataclass, field
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rddrs.noise import FAMILIES, Isotropic, Norm, Purpose, Scale, generator
from rddrs.smoothing.counts import votes
from rddrs.smoothing.edge import Classifier, Known, check_evaluates, logits_of

DRAWS = 20


@dataclass(frozen=True, eq=False)
class Reference:
    """Labelled training inputs that fidelity and contradictions are measured on.

    The accuracy of the isotropic G_sigma on them, which fidelity is relative to, is measured once for a classifier
    object, noise level and seed, and remembered: make a new set where the object's weights have changed. Raises
    ValueError where counts do not fit, inputs are not finite floating-point numbers or a label is negative.
    """

    inputs: Float[Tensor, "m *shape"]
    labels: Int[Tensor, " m"]
    _baselines: Known = field(default_factory=Known, init=False, repr=False)

    def __post_init__(self) -> None:
        if len(self.inputs) != len(self.labels) or len(self.labels) == 0:
            raise ValueError(f"reference: {len(self.inputs)} inputs and {len(self.labels)} labels: one label an input")
        if not (self.inputs.is_floating_point() and torch.isfinite(self.inputs).all()):
            raise ValueError(f"reference: the inputs ({self.inputs.dtype}) must be finite floating-point numbers")
        if self.labels.min() < 0:
            raise ValueError(f"reference: the smallest label is {self.labels.min().item()}: labels count from 0")

    @cached_property
    def halves(self) -> "tuple[Reference, Reference]":
        """Every second input, and the others."""
        return tuple(Reference(self.inputs[start::2], self.labels[start::2]) for start in (0, 1))  # pyright: ignore

    def baseline(self, classifier: Classifier, sigma: float, seed: int, draws: int = DRAWS, norm: Norm = "l2") -> float:
        """The accuracy of the isotropic G_sigma."""
        known = self._baselines.of(classifier)
        if (key := (sigma, seed, draws, norm)) not in known:
            scale = Isotropic(sigma, self.inputs[0].numel())
            keyed = {"seed": seed, "purpose": Purpose.BASELINE}
            answers = predict(classifier, self.inputs, scale, draws=draws, norm=norm, **keyed)
            known[key] = (answers == self.labels).double().mean().item()
        return known[key]

    def to(self, device: torch.device | str) -> "Reference":
        """The same set on another device, with the baselines that are known; itself if it is there."""
        inputs, labels = self.inputs.to(device), self.labels.to(device)
        if inputs is self.inputs and labels is self.labels:
            return self
        moved = Reference(inputs, labels)
        object.__setattr__(moved, "_baselines", self._baselines)
        return moved


@dataclass(frozen=True)
class Fidelity:
    """Accuracy of G_C on the reference set, relative to that of the isotropic G_sigma: 1 is as good as RS.

    `distribution` is the share of each class among the answers of G_C; a constant classifier has one entry of 1.
    """

    value: float
    accuracy: float
    distribution: tuple[float, ...]


@torch.inference_mode()
def predict(
    classifier: Classifier,
    inputs: Float[Tensor, "m *shape"],
    scale: Scale,
    *,
    seed: int = 0,
    index: int = 0,
    purpose: Purpose = Purpose.FIDELITY,
    draws: int = DRAWS,
    norm: Norm = "l2",
) -> Int[Tensor, " m"]:
    """The answer of G_C at each input: the majority of `draws` noisy answers, keyed by (seed, index, purpose)."""
    scale = scale.to(inputs.device)
    source = generator(seed, index, purpose, device=inputs.device)
    shape = inputs.shape[1:]
    tally, classes = None, None
    for _ in range(draws):
        answers = []
        for part in inputs.split(256):
            noisy = part.flatten(1) + scale.spread(FAMILIES[norm].draw(len(part), part[0], source))
            logits = logits_of(classifier, noisy.view(-1, *shape), classes)
            classes = logits.shape[1]
            answers.append(torch.nn.functional.one_hot(votes(logits), classes + 1))
        tally = torch.cat(answers) if tally is None else tally + torch.cat(answers)
    assert tally is not None
    return tally[:, :-1].argmax(dim=1)


def fidelity(
    classifier: Classifier,
    scale: Scale,
    reference: Reference,
    *,
    sigma: float,
    seed: int = 0,
    index: int = 0,
    purpose: Purpose = Purpose.FIDELITY,
    draws: int = DRAWS,
    norm: Norm = "l2",
) -> Fidelity:
    """The fidelity of G_C under the noise of the `norm`, from `draws` draws an input of the reference set.

    Raises ValueError for a network in train mode.
    """
    check_evaluates(classifier)
    keyed = {"seed": seed, "index": index, "purpose": purpose}
    answers = predict(classifier, reference.inputs, scale, draws=draws, norm=norm, **keyed)
    accuracy = (answers == reference.labels).double().mean().item()
    classes = int(max(answers.max(), reference.labels.max())) + 1
    shares = torch.bincount(answers, minlength=classes).double() / len(answers)
    baseline = reference.baseline(classifier, sigma, seed, draws, norm)
    return Fidelity(accuracy / max(baseline, 1 / len(answers)), accuracy, tuple(shares.tolist()))
