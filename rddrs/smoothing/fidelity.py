"""What a smoothed classifier is worth: the fidelity of G_C on other labelled inputs (METHOD section 4.1)."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from threading import Lock
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from rddrs.digests import digest
from rddrs.noise import Isotropic, Norm, Purpose, Scale, Stream
from rddrs.smoothing.bounds import clopper_pearson, clopper_pearson_upper
from rddrs.smoothing.edge import Classifier, Known, held, logits_of, votes
from rddrs.smoothing.smoothed import SmoothedClassifier

DRAWS = 20
CONFIDENCE = 0.95
"""That of the interval of a fidelity."""

_measuring = Lock()


@dataclass(frozen=True, eq=False)
class Reference:
    """Labelled training inputs, tensors or NumPy arrays, that fidelity and contradictions are measured on.

    The accuracy of the isotropic G_sigma on them, which fidelity is relative to, is measured once for a classifier
    object, its weights where it is a torch.nn.Module, noise level and seed, and remembered: make a new set where
    something else that it answers with has changed. It is that of the `standard`, where there is one: a network that
    was trained together with its C may be worse under isotropic noise than one that was trained for it. Raises
    ValueError where counts do not fit, inputs are not finite floating-point numbers or a label is negative.
    """

    inputs: Float[Tensor, "m *shape"]
    labels: Int[Tensor, " m"]
    standard: Classifier | None = None
    _measured: Known = field(default_factory=Known, init=False, repr=False)

    def __post_init__(self) -> None:
        for name in ("inputs", "labels"):
            if not isinstance(given := getattr(self, name), Tensor):
                try:
                    object.__setattr__(self, name, torch.from_numpy(np.ascontiguousarray(given)))
                except TypeError as error:
                    raise ValueError(f"reference: {name} must be tensors or arrays of numbers: {error}") from error
        if self.labels.ndim != 1 or self.labels.is_floating_point() or self.labels.is_complex():
            told = f"labels of {self.labels.dtype} and shape {list(self.labels.shape)}"
            raise ValueError(f"reference: {told}: a whole number, the class, of every input is needed")
        if len(self.inputs) != len(self.labels) or len(self.labels) == 0:
            raise ValueError(f"reference: {len(self.inputs)} inputs and {len(self.labels)} labels: one label an input")
        if not (self.inputs.is_floating_point() and torch.isfinite(self.inputs).all()):
            raise ValueError(f"reference: the inputs ({self.inputs.dtype}) must be finite floating-point numbers")
        if self.labels.min() < 0:
            raise ValueError(f"reference: the smallest label is {self.labels.min().item()}: labels count from 0")

    @classmethod
    def of(cls, given: "Reference | tuple[Any, Any]") -> "Reference":
        """A set as it is; a pair of inputs and labels as a set."""
        if isinstance(given, Reference):
            return given
        if not (isinstance(given, tuple | list) and len(given) == 2):
            told = f"{len(given)} parts" if isinstance(given, tuple | list) else f"a {type(given).__name__}"
            raise ValueError(f"reference: a pair (inputs, labels) is needed, not {told}")
        return cls(*given)

    def require(self, classes: int) -> None:
        """Raises ValueError where a label is none of so many classes."""
        if (largest := self.labels.max().item()) >= classes:
            raise ValueError(f"reference: the largest label is {largest}, of {classes} classes that count from 0")

    @cached_property
    def halves(self) -> "tuple[Reference, Reference]":
        """Every second input, and the others; raises ValueError where there is one alone."""
        if len(self.labels) < 2:
            raise ValueError("reference: at least two inputs are needed, half of which measure")
        halves = (Reference(self.inputs[start::2], self.labels[start::2], self.standard) for start in (0, 1))
        return tuple(halves)  # pyright: ignore[reportReturnType]

    def baseline(self, classifier: Classifier, sigma: float, seed: int, draws: int = DRAWS, norm: Norm = "l2") -> float:
        """The accuracy of the isotropic G_sigma, of the `standard` in the classifier's place."""
        classifier = classifier if self.standard is None else self.standard
        known = self.known(classifier)
        if (key := (sigma, seed, draws, norm)) not in known:
            smoothed = SmoothedClassifier(classifier, Isotropic(sigma, self.inputs[0].numel()), norm)
            answers = predict(smoothed, self.inputs, Stream(seed, 0, Purpose.BASELINE), draws)
            known[key] = (answers == self.labels).double().mean().item()
        return known[key]

    def known(self, classifier: Classifier) -> dict[Any, Any]:
        """What was measured of the classifier with the weights that it has now."""
        named = []
        if isinstance(classifier, nn.Module):
            named = [*classifier.named_parameters(), *classifier.named_buffers()]
        tensors = {name: tensor for name, tensor in named if not is_lazy(tensor)}  # which have no numbers yet
        return self._measured.of(classifier).setdefault(digest("weights", tensors), {})

    def to(self, device: torch.device | str) -> "Reference":
        """The same set on another device, with the baselines that are known; itself if it is there."""
        inputs, labels = self.inputs.to(device), self.labels.to(device)
        if inputs is self.inputs and labels is self.labels:
            return self
        moved = Reference(inputs, labels, self.standard)
        object.__setattr__(moved, "_measured", self._measured)
        return moved


@dataclass(frozen=True)
class Fidelity:
    """Accuracy of G_C on the reference set, relative to that of the isotropic G_sigma, `baseline`: 1 is as good as RS.

    `distribution` is the share of each class among the answers of G_C; a constant classifier has one entry of 1, and
    where most draws were answered by NaN they add up to less.
    `inputs` is the size of the set.
    """

    accuracy: float
    baseline: float
    inputs: int
    distribution: tuple[float, ...]

    @property
    def value(self) -> float:
        return self.accuracy / max(self.baseline, 1 / self.inputs)

    @property
    def low(self) -> float:
        """With `high` the interval that holds the fidelity on all inputs of the kind, at the confidence of 95 %.

        Clopper-Pearson's bounds of both accuracies, each at a quarter of what is left, whatever they have to do with
        each other.
        """
        return self._bound(clopper_pearson, self.accuracy) / self._bound(clopper_pearson_upper, self.baseline)

    @property
    def high(self) -> float:
        least = self._bound(clopper_pearson, self.baseline) or 1 / self.inputs  # as of `value`
        return self._bound(clopper_pearson_upper, self.accuracy) / least

    def _bound(self, of: Callable[[int, int, float], float], accuracy: float) -> float:
        return of(round(accuracy * self.inputs), self.inputs, (1 - CONFIDENCE) / 4)


@torch.inference_mode()
def predict(
    smoothed: SmoothedClassifier, inputs: Float[Tensor, "m *shape"], stream: Stream, draws: int = DRAWS
) -> Int[Tensor, " m"]:
    """The answer of G_C at each input: the majority of `draws` noisy answers of a stream, -1 where that is NaN."""
    scale, family = smoothed.scale.to(inputs.device), smoothed.family
    source = stream.generator(inputs.device)
    shape = inputs.shape[1:]
    tally, classes = None, None
    with held(smoothed.classifier):
        for _ in range(draws):
            answers = []
            for part in inputs.split(256):
                noisy = part.flatten(1) + scale.spread(family.draw(len(part), part[0], source))
                logits = logits_of(smoothed.classifier, noisy.view(-1, *shape), classes)
                classes = logits.shape[1]
                answers.append(torch.nn.functional.one_hot(votes(logits), classes + 1))
            tally = torch.cat(answers) if tally is None else tally + torch.cat(answers)
    assert tally is not None
    answers = tally.argmax(dim=1)
    return torch.where(answers < tally.shape[1] - 1, answers, -1)


def fidelity(
    classifier: Classifier,
    scale: Scale,
    reference: Reference | tuple[Any, Any],
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
    reference = Reference.of(reference)
    smoothed = SmoothedClassifier(classifier, scale, norm)
    answers = predict(smoothed, reference.inputs, Stream(seed, index, purpose), draws)
    accuracy = (answers == reference.labels).double().mean().item()
    classes = int(max(answers.max(), reference.labels.max())) + 1
    shares = torch.bincount(answers[answers >= 0], minlength=classes).double() / len(answers)
    baseline = reference.baseline(classifier, sigma, seed, draws, norm)
    return Fidelity(accuracy, baseline, len(answers), tuple(shares.tolist()))


def shared_fidelity(
    classifier: Classifier, scale: Scale, reference: Reference, *, sigma: float, seed: int = 0, norm: Norm = "l2"
) -> Fidelity:
    """The fidelity of a C that all inputs share: that of input 0, measured once for a classifier and a C.

    The reference set remembers it, as it does the accuracies under isotropic noise.
    """
    key = (scale.digest, sigma, seed, norm)
    with _measuring:  # the first thread measures, the others wait
        known = reference.known(classifier)
        if key not in known:
            known[key] = fidelity(classifier, scale, reference, sigma=sigma, seed=seed, norm=norm)
        return known[key]
