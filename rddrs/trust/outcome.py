"""What the memory leaves of a certificate, and what keeps it."""

import os
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from tempfile import TemporaryFile, gettempdir
from typing import Protocol, runtime_checkable
from weakref import finalize

from safetensors.torch import load, save
from torch import Tensor

from rddrs.certification import ABSTAIN, Certificate
from rddrs.digests import digest
from rddrs.noise import Full, Isotropic, Scale, from_tensors


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


MOST = 1 << 30
"""Bytes of dense matrices C that are kept in main memory."""


class Volatile:
    """Outcomes in main memory.

    A dense C is kept once, however many share it, as half a matrix without what was computed of it; where there are
    more than `most` bytes of them, in a temporary file.
    """

    def __init__(self, most: int = MOST) -> None:
        self._outcomes: dict[int, tuple[Outcome, str]] = {}
        self._matrices: dict[str, bytes | tuple[int, int]] = {}
        self._left, self._file = most, None
        self._scale = lru_cache(maxsize=8)(self._rebuilt)

    def indices(self) -> list[int]:
        return sorted(self._outcomes)

    def read(self, index: int) -> Outcome:
        outcome, name = self._outcomes[index]
        it = outcome.certificate
        return replace(outcome, certificate=replace(it, scale=self._scale(name).to(it.x.device))) if name else outcome

    def write(self, outcome: Outcome) -> None:
        it, name = outcome.certificate, ""
        if isinstance(it.scale, Full):
            name = it.scale.digest
            if name not in self._matrices:
                self._keep(name, save({key: tensor.cpu() for key, tensor in it.scale.tensors().items()}))
            outcome = replace(outcome, certificate=replace(it, scale=Isotropic(1.0, it.scale.dim)))  # in its place
        self._outcomes[it.index] = outcome, name

    def _keep(self, name: str, content: bytes) -> None:
        self._left -= len(content)
        if self._left >= 0:
            self._matrices[name] = content
            return
        if self._file is None:
            self._file = TemporaryFile(buffering=0)  # noqa: SIM115
            finalize(self, self._file.close)
        start = self._file.seek(0, os.SEEK_END)
        self._matrices[name] = start, len(content)
        if self._file.write(content) != len(content):
            raise OSError(f"{gettempdir()} is full: Memory(store=Folder(...)) keeps regions where there is room")

    def _rebuilt(self, name: str) -> Scale:
        kept = self._matrices[name]
        if not isinstance(kept, bytes):
            assert self._file is not None
            kept = os.pread(self._file.fileno(), kept[1], kept[0])
        return from_tensors(load(kept))


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
