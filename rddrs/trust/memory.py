"""The memory of certificates: no two remembered regions of different classes overlap (Alfarra 2020; Eiras 2021).

An input inside a remembered region of another class is an abstention; otherwise its region is shrunk, its shape kept,
until it meets no remembered region of another class. Undecided pairs count as overlapping.
"""

import threading
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rddrs.certification import ABSTAIN, Certificate
from rddrs.noise import Ellipsoid, Isotropic, clearance, require_tensor
from rddrs.noise.ellipsoids import rounding
from rddrs.trust.outcome import Outcome, Outcomes, Recalled, Volatile, certificate_digest
from rddrs.trust.shadows import Rows, Shadows, directions

RENEWALS = tuple(4**power for power in range(6))
"""How many remembered regions let the directions of the shadows be chosen anew."""


TOGETHER = 1024
"""So many remembered regions at most are compared with a new one at a time: what that takes does not grow with them."""


class Memory:
    """Remembered regions in the order they came in; safe under threads of one process.

    `store` keeps them (main memory by default; a `Folder` survives a restart). `certify(x, index)` certifies a new
    input for `predict`. `reference` are typical inputs, rows of any shape: they only make the search for overlaps
    faster while the memory is small. `shadows` is the number of directions of the broad phase; `exact_tests` counts
    the pairs that went beyond it. A region takes 8 (d + shadows^2) bytes of main memory beside what the store keeps; of
    most regions no more than 3 `shadows` numbers are looked at for a new one.
    """

    def __init__(
        self,
        store: Outcomes | None = None,
        certify: Callable[[Tensor, int], Certificate] | None = None,
        reference: Float[Tensor, "n *shape"] | None = None,
        shadows: int = 48,
    ) -> None:
        self._store = store if store is not None else Volatile()
        self._certify = certify
        self._reference = reference.flatten(1).double().cpu() if reference is not None else None
        self._shadow_count = shadows
        self._lock = threading.RLock()
        self._read = lru_cache(maxsize=32)(self._store.read)
        self._indices: list[int] = []
        self._positions: dict[int, int] = {}
        self._columns: tuple[Rows, ...] = ()
        self._shadows: Shadows | None = None
        self.exact_tests = 0
        stored = self._store.indices()
        for index in stored:
            self._append(self._read(index))
        self._next = max(stored, default=-1) + 1

    def __len__(self) -> int:
        return len(self._indices)

    def __contains__(self, index: int) -> bool:
        return index in self._positions

    def read(self, index: int) -> Outcome:
        """The remembered outcome of one index; raises KeyError where there is none."""
        if index not in self._positions:
            raise KeyError(index)
        return self._read(index)

    def find(self, x: Float[Tensor, "*shape"]) -> Certificate | None:
        """The first remembered certificate whose region is proven to contain `x`."""
        require_tensor("x", x)
        x = x.detach().flatten().cpu()
        with self._lock:
            for position in self._near(Ellipsoid(x, Isotropic(1.0, x.numel()), 0.0), None)[0]:
                found = self._read(self._indices[position]).certificate
                if _region(found).contains(x):
                    return found
        return None

    def predict(self, x: Float[Tensor, "*shape"]) -> int:
        """The class of the remembered region that `x` lies in; else `x` is certified, reconciled and remembered.

        -1 for an abstention, which is certified anew when it is asked for again: who asks until there is an answer
        takes the certificates' alpha each time. Two threads may certify at once; they are reconciled one after the
        other. Raises ValueError where the memory was made without `certify`, or that returns a certificate of another
        index.
        """
        if (found := self.find(x)) is not None:
            return found.prediction
        if self._certify is None:
            raise ValueError("Memory(certify=...) is needed to predict for an input that is not remembered")
        with self._lock:
            index, self._next = self._next, self._next + 1
        certificate = self._certify(x, index)
        if certificate.index != index:
            raise ValueError(f"certify(x, {index}) must return a certificate of that index, not {certificate.index}")
        outcome = self.admit(certificate)
        if outcome.certificate.prediction == ABSTAIN and (found := self.find(x)) is not None:
            return found.prediction
        return outcome.certificate.prediction

    def admit(self, certificate: Certificate) -> Outcome:
        """Reconciles a certificate and remembers what is left of it; abstentions are not remembered."""
        with self._lock:
            outcome = self.reconcile(certificate)
            if outcome.certificate.prediction != ABSTAIN and certificate.index not in self:
                self._remember(outcome)
            return outcome

    def reconcile(self, certificate: Certificate) -> Outcome:
        """What the memory leaves of a certificate; changes nothing. One that is remembered keeps its outcome.

        Raises ValueError where another certificate is remembered under the same index, or one of another norm.
        """
        with self._lock:
            if self._indices and (norm := self._read(self._indices[0]).certificate.norm) != certificate.norm:
                raise ValueError(f"the memory holds regions of {norm}, not of {certificate.norm}: use a new memory")
            if certificate.index in self:
                kept = self._read(certificate.index)
                if kept.raw != certificate_digest(certificate):
                    raise ValueError(f"another certificate is remembered as {certificate.index}: use a new memory")
                return kept
            radius, reason = certificate.radius, ""
            if certificate.prediction != ABSTAIN:
                for other, reach in self._meetings(certificate, shrinking=True):
                    radius, reason = reach, f"shrunk by {other}" if reach > 0 else f"inside {other}"
            return Outcome.of(certificate, radius, reason)

    def _meetings(self, certificate: Certificate, shrinking: bool) -> Iterator[tuple[int, float]]:
        """Remembered regions of another class that this one meets, each with the radius that avoids it.

        Where `shrinking`, a later one is yielded only if it leaves less than those before it, and the radius is the
        largest; else it is any that is safe, 0 where a centre lies in the other region.
        """
        region = _region(certificate)
        near, bounds = self._near(region, certificate.prediction)
        touching = [position for position, bound in zip(near, bounds, strict=True) if bound == 0]
        if shrinking:
            for position in touching:
                if _region(self._read(self._indices[position]).certificate).contains(region.center):
                    yield self._indices[position], 0.0
                    return
        radius = region.radius
        for bound, position in sorted(zip(bounds, near, strict=True)):
            if bound >= radius:
                return
            other = _region(self._read(self._indices[position]).certificate)
            if not shrinking and (region.contains(other.center) or other.contains(region.center)):
                yield self._indices[position], 0.0
                continue
            self.exact_tests += 1
            reach = clearance(other, region, enough=radius)
            if reach < radius:
                yield self._indices[position], reach
                radius = reach if shrinking else radius
            if radius == 0:
                return

    def _near(self, region: Ellipsoid, prediction: int | None) -> tuple[list[int], list[float]]:
        """Positions of regions, of another class than `prediction`, that the broad phase cannot tell from `region`.

        With each a lower bound of its clearance. The empty region of radius 0 asks for those that may contain a point.
        """
        if not self._columns:
            return [], []
        centers, outers, classes = (rows.values for rows in self._columns)
        if centers.shape[1] != region.scale.dim:
            raise ValueError(f"the memory holds inputs of {centers.shape[1]} entries, not of {region.scale.dim}")
        center, slack = region.center.double().cpu(), rounding(region.scale.dim)

        def balls(distances: Float[Tensor, " n"], which: Int[Tensor, " n"] | slice) -> Float[Tensor, " n"]:
            return ((distances * (1 - slack) - outers[which] * (1 + slack)) / region.scale.norm).clamp_min(0)

        near = classes != prediction if prediction is not None else torch.ones_like(classes, dtype=torch.bool)
        enough, shadows = max(region.radius, torch.finfo(torch.float64).tiny), self._shadows
        assert shadows is not None
        near &= balls(shadows.distances(center), slice(None)) < enough
        near &= shadows.boxes(region) < enough
        found: tuple[list[int], list[float]] = [], []
        for which in torch.nonzero(near).flatten().split(TOGETHER):
            bounds = balls((centers[which] - center).norm(dim=1), which)
            which, bounds = which[bounds < enough], bounds[bounds < enough]
            bounds = torch.maximum(bounds, shadows.clearances(which, region, enough)) if len(which) else bounds
            for values, more in zip(found, (which, bounds), strict=True):
                values += more[bounds < enough].tolist()
        return found

    def _remember(self, outcome: Outcome) -> None:
        self._store.write(outcome)
        self._append(outcome)
        self._next = max(self._next, outcome.certificate.index + 1)

    def _append(self, outcome: Outcome) -> None:
        """Adds a region; at 1, 4, 16, ... 1024 regions the shadows' directions are chosen and all are cast anew."""
        region, index = _region(outcome.certificate), outcome.certificate.index
        if not self._columns:
            self._columns = (Rows(region.scale.dim), Rows(), Rows())
        for rows, value in zip(
            self._columns, (region.center, region.outer, outcome.certificate.prediction), strict=True
        ):
            rows.append(value)
        self._positions[index] = len(self._indices)
        self._indices.append(index)
        if len(self) not in RENEWALS:
            assert self._shadows is not None
            self._shadows.append(region)
            return
        points = self._columns[0].values
        if self._reference is not None:
            points = torch.cat([points, self._reference])
        some = self._indices[:: -(-len(self) // 32)]
        scales = [_region(self._read(each).certificate).scale for each in some]
        self._shadows = Shadows(directions(points, scales, self._shadow_count))
        for each in self._indices:
            self._shadows.append(_region(self._read(each).certificate))


def admit_in_order(memory: Memory, certificates: Iterable[Certificate]) -> Iterator[Outcome]:
    """Admits certificates in the order of their indices: the memory pass over the merged shards of a run.

    The outcomes depend on the certificates alone, not on how they were sharded or whether the pass was interrupted
    and begun again. Raises ValueError where the indices do not increase.
    """
    previous = -1
    for certificate in certificates:
        if certificate.index <= previous:
            raise ValueError(f"index {certificate.index} follows {previous}: the memory needs them in order")
        previous = certificate.index
        yield memory.admit(certificate)


def overlaps(
    certificates: Iterable[Certificate], read: Callable[[int], Certificate] | None = None
) -> list[tuple[int, int]]:
    """The pairs of indices whose regions, of different classes, are not proven disjoint.

    With `read`, which gives a certificate by its index again, no more than a few are held in memory at a time.
    """
    memory, pairs = Memory(None if read is None else Recalled(read)), []
    for certificate in certificates:
        if certificate.prediction != ABSTAIN:
            met = memory._meetings(certificate, shrinking=False)
            pairs += sorted((other, certificate.index) for other, _ in met)
            memory._remember(Outcome.unchanged(certificate))
    return pairs


def _region(certificate: Certificate) -> Ellipsoid:
    x, scale = certificate.x.flatten().cpu(), certificate.scale.to("cpu")
    return certificate.family.region(x, scale, certificate.radius)
