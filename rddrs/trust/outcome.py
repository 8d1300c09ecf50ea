"""What the memory leaves of a certificate, and what keeps it."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Protocol, runtime_checkable

from torch import Tensor

from rddrs.certification import ABSTAIN, Certificate
from rddrs.digests import digest
from rddrs.noise import Scale


def certificate_digest(certificate: Certificate) -> str:
    """What tells a certificate from any other: its input, its scale, and all that it states."""
    values = {field.name: getattr(certificate, field.name) for field in fields(certificate)}
    tensors = {name: values.pop(name) for name, value in list(values.items()) if isinstance(value, Tensor)}
    stated = {name: value.digest if isinstance(value, Scale) else value for name, value in values.items()}
    return digest(repr(sorted(stated.items())), tensors)


@dataclass(frozen=True, eq=False)
class Outcome:
    """A certificate after the memory: its radius is the memory-checked one.

    `raw` is the digest of the certificate as it came. One that certified a target radius and was shrunk below it keeps
    what is left of its region, but its `decision` is `undecided`. `reason` is `shrunk by J`, `inside J` (an abstention;
    J is the index of the remembered input) or empty where the memory changed nothing.
    """

    certificate: Certificate
    raw: str
    raw_radius: float
    raw_prediction: int
    reason: str

    @classmethod
    def of(cls, certificate: Certificate, radius: float, reason: str) -> "Outcome":
        """What a radius, at most its own, leaves of a certificate: an abstention where it is 0."""
        left = replace(
            certificate,
            radius=radius,
            prediction=certificate.prediction if radius > 0 else ABSTAIN,
            decision="undecided" if certificate.decision and radius < certificate.radius else certificate.decision,
        )
        raw = certificate_digest(certificate)
        return cls(left, raw, certificate.radius, certificate.prediction, reason)

    @classmethod
    def unchanged(cls, certificate: Certificate) -> "Outcome":
        """The outcome of a certificate that no memory has seen."""
        return cls(certificate, "", certificate.radius, certificate.prediction, "")


@runtime_checkable
class Outcomes(Protocol):
    """Where remembered outcomes are kept."""

    def indices(self) -> list[int]: ...
    def read(self, index: int) -> Outcome: ...
    def write(self, outcome: Outcome) -> None: ...


class Volatile:
    """Outcomes in main memory."""

    def __init__(self) -> None:
        self._outcomes: dict[int, Outcome] = {}

    def indices(self) -> list[int]:
        return sorted(self._outcomes)

    def read(self, index: int) -> Outcome:
        return self._outcomes[index]

    def write(self, outcome: Outcome) -> None:
        self._outcomes[outcome.certificate.index] = outcome


class Recalled:
    """Outcomes of which nothing is kept: a certificate is read again, by its index, where it is asked for."""

    def __init__(self, recall: Callable[[int], Certificate]) -> None:
        self._recall = recall

    def indices(self) -> list[int]:
        return []

    def read(self, index: int) -> Outcome:
        return Outcome.unchanged(self._recall(index))

    def write(self, outcome: Outcome) -> None:
        pass
