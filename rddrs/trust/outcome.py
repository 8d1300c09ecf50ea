"""What the memory leaves of a certificate, and what keeps it."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from rddrs.certification import Certificate


@dataclass(frozen=True, eq=False)
class Outcome:
    """A certificate after the memory: its radius is the memory-checked one.

    `reason` is `shrunk by J`, `inside J` (an abstention; J is the index of the remembered input) or empty where the
    memory changed nothing.
    """

    certificate: Certificate
    raw_radius: float
    raw_prediction: int
    reason: str


@runtime_checkable
class Store(Protocol):
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
