"""The memory: ellipsoids against independent oracles, and laws of what is remembered."""

import json
import math
import threading
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from scipy.optimize import minimize, minimize_scalar
from torch import Tensor

from rddrs.certification import ABSTAIN, Certificate
from rddrs.noise import Ellipsoid, clearance, disjoint
from rddrs.noise.diagonal import Diagonal
from rddrs.noise.full import Full
from rddrs.noise.isotropic import Isotropic
from rddrs.noise.kronecker import Kronecker
from rddrs.noise.scale import Scale
from rddrs.records.outcomes import Folder, Ledger
from rddrs.trust.memory import Memory, _region, admit_in_order, overlaps
from rddrs.trust.outcome import Outcome, Recalled, Volatile, certificate_digest
from rddrs.trust.shadows import Shadows, directions
from tests.conftest import divisors


def random_scale(source: torch.Generator, dim: int, kind: str) -> Scale:
    values = torch.exp(torch.empty(dim, dtype=torch.float64).uniform_(-1.5, 1.5, generator=source))
    if kind == "isotropic":
        return Isotropic(values[0].item(), dim)
    if kind == "diagonal":
        return Diagonal(values)
    if kind == "kronecker":
        shape = divisors(dim)
        return Kronecker([orthogonal(source, size) for size in shape], values.view(shape))
    axes = orthogonal(source, dim)
    matrix = (axes * values) @ axes.mT
    return Full((matrix + matrix.mT) / 2)


def orthogonal(source: torch.Generator, dim: int) -> Tensor:
    return torch.linalg.qr(torch.randn(dim, dim, generator=source, dtype=torch.float64))[0]


def random_ellipsoid(source: torch.Generator, dim: int, kind: str = "full", spread: float = 3.0) -> Ellipsoid:
    center = spread * torch.randn(dim, generator=source, dtype=torch.float64)
    return Ellipsoid(center, random_scale(source, dim, kind), 0.3 + torch.rand((), generator=source).item())


def pair(seed: int, dim: int, kinds: tuple[str, str] = ("full", "full"), spread: float = 3.0):
    source = torch.Generator().manual_seed(seed)
    return random_ellipsoid(source, dim, kinds[0], spread), random_ellipsoid(source, dim, kinds[1], spread)


def certificate(center, scale: Scale, radius: float, prediction: int, index: int) -> Certificate:
    center = torch.as_tensor(center, dtype=torch.float64)
    return Certificate(center, scale, prediction, 0.9, radius, (1, 2), (3, 4), 1e-3, 0, index, samples=7)


def oracle_clearance(first: Ellipsoid, second: Ellipsoid) -> float:
    """min |C_2^-1 (y - x_2)| over y in `first`, by SciPy's sequential quadratic programming."""
    axes = first.radius * first.scale.matrix.double().numpy()
    inverse = np.linalg.inv(second.scale.matrix.double().numpy())
    matrix, offset = inverse @ axes, inverse @ (first.center - second.center).numpy()
    found = minimize(
        lambda u: 0.5 * np.sum((matrix @ u + offset) ** 2),
        np.zeros(len(offset)),
        jac=lambda u: matrix.T @ (matrix @ u + offset),
        constraints={"type": "ineq", "fun": lambda u: 1 - u @ u, "jac": lambda u: -2 * u},
        method="SLSQP",
        options={"ftol": 1e-15, "maxiter": 500},
    )
    return math.sqrt(2 * found.fun)


KINDS = [
    *(("full", "full"), ("full", "diagonal"), ("isotropic", "full"), ("diagonal", "diagonal"), ("isotropic",) * 2),
    *(("kronecker", "isotropic"), ("isotropic", "kronecker"), ("full", "kronecker")),
]


@pytest.mark.parametrize("dim", [2, 3, 7, 30])
@pytest.mark.parametrize("kinds", KINDS, ids="-".join)
def test_clearance_is_that_of_quadratic_programming(dim, kinds):
    for seed in range(4):
        first, second = pair(seed, dim, kinds)
        assert clearance(first, second) == pytest.approx(oracle_clearance(first, second), rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("dim", [2, 12, 30])
def test_clearance_within_one_kronecker_basis_is_exact(dim):
    for seed in range(4):
        first, second = pair(seed, dim, ("kronecker", "kronecker"))
        assert isinstance(first.scale, Kronecker) and isinstance(second.scale, Kronecker)
        second = replace(second, scale=Kronecker(first.scale.factors, second.scale.values))
        assert clearance(first, second) == pytest.approx(oracle_clearance(first, second), rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("dim", [2, 12, 30])
@pytest.mark.parametrize("kinds", [("kronecker", "kronecker"), ("diagonal", "kronecker"), ("kronecker", "diagonal")])
def test_clearance_between_different_bases_is_safe_and_close(dim, kinds):
    for seed in range(4):
        first, second = pair(seed, dim, kinds)
        exact = oracle_clearance(first, second)
        assert 0.99 * exact - 1e-5 <= clearance(first, second) <= exact * (1 + 1e-5) + 1e-5


def test_large_kronecker_regions_are_compared_without_a_dense_matrix(no_dense_tensors):
    """d = 3,072: a far pair is disjoint, a near one is not, and nothing has d x d entries or a fourth of them."""
    shape, source = (3, 32, 32), torch.Generator().manual_seed(0)
    factors = [[orthogonal(source, size).float() for size in shape] for _ in range(2)]
    values = 0.2 + torch.rand(shape, generator=source)
    regions = [
        Ellipsoid(place * torch.ones(3072), Kronecker(factors[kind], values), 1.0)
        for place, kind in ((0.0, 0), (0.2, 0), (-0.2, 1), (1e-3, 1))
    ]
    with no_dense_tensors(3072):
        assert disjoint(regions[0], regions[1]) and disjoint(regions[0], regions[2])
        assert not disjoint(regions[0], regions[3])
        reach = clearance(regions[0], regions[2])
        assert 1 < reach < 0.2 * 3072**0.5 / 0.2
        memory = Memory()
        for index, region in enumerate(regions):
            memory.admit(certificate(region.center.double(), region.scale, region.radius, index, index))
        assert len(memory) == 3, "the last one lies inside the first"


@pytest.mark.parametrize("dim", [2, 30])
def test_disjointness_is_that_of_the_concave_function(dim):
    """K(s) of METHOD section 5, maximised by SciPy, is 1 where the second ellipsoid has grown by its clearance."""
    for seed in range(5):
        first, second = pair(seed, dim, spread=6.0)
        delta = second.center - first.center
        radius = clearance(first, second)

        def concave(s: float, first=first, second=second, delta=delta, radius=radius) -> float:
            shapes = first.radius**2 * first.scale.covariance / s + radius**2 * second.scale.covariance / (1 - s)
            return -(delta @ torch.linalg.solve(shapes, delta)).item()

        best: Any = minimize_scalar(concave, bounds=(1e-9, 1 - 1e-9), method="bounded", options={"xatol": 1e-12})
        assert -best.fun == pytest.approx(1, abs=1e-8)
        assert disjoint(first, replace(second, radius=radius * (1 - 1e-9)))
        assert not disjoint(first, replace(second, radius=radius * (1 + 1e-9)))


def test_balls_have_a_closed_form():
    zero, one = torch.zeros(3, dtype=torch.float64), torch.tensor([0.0, 0.0, 5.0], dtype=torch.float64)
    for scale in (Isotropic(2.0, 3), Diagonal(torch.full((3,), 2.0)), Full(2 * torch.eye(3))):
        found = clearance(Ellipsoid(zero, Isotropic(1.0, 3), 1.5), Ellipsoid(one, scale, 1.0))
        assert found == pytest.approx((5 - 1.5) / 2, rel=1e-10)
        assert found <= (5 - 1.5) / 2


def test_touching_nested_and_identical_ellipsoids_overlap():
    small, large = Isotropic(1.0, 2), Full(torch.diag(torch.tensor([5.0, 7.0])))
    origin, apart = torch.zeros(2), torch.tensor([2.0, 0.0])
    assert not disjoint(Ellipsoid(origin, small, 1.0), Ellipsoid(apart, small, 1.0))  # touching: undecided
    assert not disjoint(Ellipsoid(origin, small, 1.0), Ellipsoid(apart * 0.1, large, 1.0))
    assert not disjoint(Ellipsoid(origin, large, 1.0), Ellipsoid(origin, large, 1.0))
    assert clearance(Ellipsoid(origin, large, 1.0), Ellipsoid(apart, small, 1.0)) == 0  # the centre lies inside
    assert clearance(Ellipsoid(apart, small, 1.0), Ellipsoid(origin, large, 1.0)) > 0  # nested, but the centre is free


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(0, 10_000), st.integers(2, 12), st.sampled_from(KINDS), st.floats(0.5, 5))
def test_disjointness_is_symmetric_and_proven_where_no_common_point_is_found(seed, dim, kinds, spread):
    first, second = pair(seed, dim, kinds, spread)
    assert disjoint(first, second) == disjoint(second, first)
    if not disjoint(first, second):
        assert oracle_clearance(first, second) < second.radius * (1 + 1e-5)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.integers(0, 10_000), st.integers(2, 12))
def test_clearance_is_invariant_under_affine_maps(seed, dim):
    """A map y -> Q y s + t with an orthogonal Q moves scales to s Q C Q^T and keeps every clearance."""
    first, second = pair(seed, dim)
    source = torch.Generator().manual_seed(seed + 1)
    turn = torch.linalg.qr(torch.randn(dim, dim, generator=source, dtype=torch.float64))[0]
    offset = torch.randn(dim, generator=source, dtype=torch.float64)

    def moved(it: Ellipsoid) -> Ellipsoid:
        matrix = 3 * turn @ it.scale.matrix @ turn.mT
        return Ellipsoid(3 * turn @ it.center + offset, Full((matrix + matrix.mT) / 2), it.radius)

    assert clearance(moved(first), moved(second)) == pytest.approx(clearance(first, second), rel=1e-8, abs=1e-8)


@pytest.mark.parametrize("condition", [1e2, 1e4, 1e6])
def test_ill_conditioned_answers_err_on_the_safe_side(condition):
    """With eigenvalues over six decades the clearance is never above the true one, known by construction."""
    source = torch.Generator().manual_seed(0)
    dim = 20
    axes = torch.linalg.qr(torch.randn(dim, dim, generator=source, dtype=torch.float64))[0]
    values = torch.logspace(0, math.log10(condition), dim, dtype=torch.float64)
    matrix = (axes * values) @ axes.mT
    scale = Full((matrix + matrix.mT) / 2)
    first = Ellipsoid(torch.zeros(dim, dtype=torch.float64), scale, 1.0)
    for axis in range(dim):  # the same shape everywhere: balls in the whitened space
        second = Ellipsoid(5 * scale.spread(axes[:, axis][None])[0], scale, 1.0)
        found = clearance(first, second)
        assert found <= 4 * (1 + 1e-15 * condition)
        assert found == pytest.approx(4, rel=max(1e-9, 1e-14 * condition**2))


def test_enough_stops_early_and_stays_a_lower_bound():
    for seed in range(20):
        first, second = pair(seed, 10, spread=5.0)
        exact = clearance(first, second)
        early = clearance(first, second, enough=exact / 2)
        assert exact / 2 <= early <= exact * (1 + 1e-12)


def test_ellipsoids_of_different_dimensions_are_refused():
    with pytest.raises(ValueError, match="dimensions 2 and 3"):
        clearance(Ellipsoid(torch.zeros(2), Isotropic(1.0, 2), 1.0), Ellipsoid(torch.zeros(3), Isotropic(1.0, 3), 1.0))


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.integers(0, 10_000), st.integers(3, 12), st.integers(1, 4))
def test_shadows_are_lower_bounds_that_become_exact(seed, dim, few):
    source = torch.Generator().manual_seed(seed)
    regions = [random_ellipsoid(source, dim) for _ in range(6)]
    second = random_ellipsoid(source, dim)
    exact = torch.tensor([clearance(first, second) for first in regions], dtype=torch.float64)
    points = torch.stack([region.center for region in regions])
    for count in (min(few, dim), dim):
        basis = torch.linalg.qr(torch.randn(dim, count, generator=source, dtype=torch.float64))[0]
        shadows = Shadows(basis)
        for region in regions:
            shadows.append(region)
        found = shadows.clearances(torch.arange(6), second, math.inf if count == dim else 1.0)
        assert (found <= exact * (1 + 1e-9) + 1e-9).all()
        assert (shadows.boxes(second) <= exact * (1 + 1e-9) + 1e-9).all()
        assert (shadows.distances(second.center) <= (points - second.center).norm(dim=1)).all()
    assert directions(points, [region.scale for region in regions], few).shape == (dim, min(few, 6, dim))


def test_a_region_is_shrunk_until_it_touches_and_the_reason_is_named():
    memory = Memory()
    memory.admit(certificate([0.0, 0.0], Isotropic(1.0, 2), 1.0, 0, 3))
    outcome = memory.admit(certificate([3.0, 0.0], Isotropic(1.0, 2), 2.5, 1, 4))
    assert outcome.reason == "shrunk by 3"
    assert (outcome.raw_radius, outcome.raw_prediction) == (2.5, 1)
    assert outcome.certificate.radius == pytest.approx(2.0, rel=1e-9)
    assert outcome.certificate.radius <= 2.0
    same = memory.admit(certificate([1.5, 0.0], Isotropic(1.0, 2), 0.6, 1, 5))
    assert (same.reason, same.certificate.radius) == ("shrunk by 3", pytest.approx(0.5, rel=1e-9))
    free = memory.admit(certificate([9.0, 0.0], Isotropic(1.0, 2), 2.0, 0, 6))
    assert (free.reason, free.certificate.radius) == ("", 2.0)


def test_an_input_inside_a_region_of_another_class_is_an_abstention_and_not_remembered():
    memory = Memory()
    memory.admit(certificate([0.0, 0.0], Isotropic(1.0, 2), 1.0, 0, 45))
    outcome = memory.admit(certificate([0.5, 0.0], Isotropic(1.0, 2), 0.1, 1, 46))
    assert outcome.reason == "inside 45"
    assert (outcome.certificate.prediction, outcome.certificate.radius) == (ABSTAIN, 0.0)
    abstained = memory.admit(certificate([7.0, 0.0], Isotropic(1.0, 2), 0.0, ABSTAIN, 47))
    assert abstained.certificate.prediction == ABSTAIN
    assert len(memory) == 1


def test_a_region_that_is_shrunk_below_its_target_radius_is_no_longer_decided():
    """`yes` says that the ball of the target radius is certified: neither a smaller region nor an abstention is."""
    memory = Memory()
    decided = [
        replace(certificate([place, 0.0], Isotropic(1.0, 2), 2.5, prediction, index), decision="yes")
        for index, (place, prediction) in enumerate([(0.0, 0), (4.0, 1), (1.0, 1), (-9.0, 1)])
    ]
    left = [memory.admit(it).certificate for it in decided]
    assert [it.decision for it in left] == ["yes", "undecided", "undecided", "yes"]
    assert 0 < left[1].radius < 2.5 and left[1].prediction == 1
    assert (left[2].radius, left[2].prediction) == (0.0, ABSTAIN)


@pytest.mark.parametrize(
    "change", ["radius", "prediction", "x", "scale", "precision of the scale", "counts", "seed", "alpha", "samples"]
)
def test_an_outcome_is_bound_to_the_certificate_that_it_was_made_of(tmp_path, change):
    it = certificate([1.0, 2.0], Diagonal(torch.tensor([1.0, 2.0])), 1.0, 0, 3)
    other = {
        "radius": {"radius": 0.9},
        "prediction": {"prediction": 1},
        "x": {"x": it.x + 1},
        "scale": {"scale": Diagonal(torch.tensor([2.0, 1.0]))},
        "precision of the scale": {"scale": it.scale.to("cpu", torch.float64)},
        "counts": {"counts": (4, 3)},
        "seed": {"seed": 1},
        "alpha": {"alpha": 0.01},
        "samples": {"samples": 8},
    }[change]
    Memory(Ledger(tmp_path / "ledger", {3: it}.__getitem__)).admit(it)
    Memory(Folder(tmp_path / "folder")).admit(it)
    again = replace(it, **other)
    with pytest.raises(ValueError, match=r"3\.json is of another certificate"):
        Memory(Ledger(tmp_path / "ledger", {3: again}.__getitem__))
    memory = Memory(Folder(tmp_path / "folder"))
    with pytest.raises(ValueError, match="another certificate is remembered as 3"):
        memory.admit(again)
    assert memory.admit(it).certificate.radius == 1.0


def test_overlaps_reads_regions_again_instead_of_holding_them():
    certificates = [it for it in random_certificates(1, 20) if it.prediction != ABSTAIN]
    again = {it.index: it for it in certificates}
    assert overlaps(iter(certificates), again.__getitem__) == overlaps(certificates) != []


def test_reading_a_full_region_decomposes_nothing(monkeypatch):
    """A point that lies far from a region is told apart without its eigenvalues."""
    calls = []
    decompose = torch.linalg.eigvalsh
    monkeypatch.setattr(torch.linalg, "eigvalsh", lambda *given: calls.append(1) or decompose(*given))
    full = [it for it in random_certificates(1, 30, dim=4) if isinstance(it.scale, Full) and it.prediction != ABSTAIN]
    again = {it.index: replace(it, scale=Full(it.scale.matrix.clone())) for it in full}
    memory = Memory(Recalled(lambda index: replace(again[index], scale=Full(again[index].scale.matrix.clone()))))
    for it in full:
        memory._remember(Outcome.unchanged(it))
    calls.clear()
    assert memory.find(full[0].x + 50) is None
    for it in again.values():
        assert not _region(it).contains(it.x + 50)
    assert calls == []


def test_reconcile_changes_nothing():
    memory = Memory()
    memory.admit(certificate([0.0, 0.0], Isotropic(1.0, 2), 1.0, 0, 0))
    late = certificate([1.5, 0.0], Isotropic(1.0, 2), 1.0, 1, 1)
    assert memory.reconcile(late).certificate.radius == memory.reconcile(late).certificate.radius
    assert len(memory) == 1


def random_certificates(seed: int, count: int, dim: int = 3) -> list[Certificate]:
    source = torch.Generator().manual_seed(seed)
    kinds = ("full", "diagonal", "isotropic")
    found = []
    for index in range(count):
        region = random_ellipsoid(source, dim, kinds[index % 3], spread=4.0)
        found.append(certificate(region.center, region.scale, region.radius, int(index % 5) - 1, index))
    return [replace(it, radius=0.0) if it.prediction == ABSTAIN else it for it in found]


def outline(outcomes) -> list[tuple]:
    return [(it.certificate.index, it.certificate.radius, it.certificate.prediction, it.reason) for it in outcomes]


def test_broad_phase_changes_no_outcome():
    """Every outcome is that of a memory that compares each pair exactly."""
    memory = Memory(shadows=2)
    kept: list[Certificate] = []
    for it in random_certificates(1, 50):
        outcome = memory.admit(it)
        if it.prediction != ABSTAIN:
            region = Ellipsoid(it.x, it.scale, it.radius)
            rivals = [other for other in kept if other.prediction != it.prediction]
            reach = [clearance(Ellipsoid(other.x, other.scale, other.radius), region) for other in rivals]
            assert outcome.certificate.radius == pytest.approx(min([it.radius, *reach]), rel=1e-12)
        if outcome.certificate.prediction != ABSTAIN:
            kept.append(outcome.certificate)
    assert len(memory) == len(kept)
    assert overlaps(kept) == []
    some = [it for it in random_certificates(1, 20) if it.prediction != ABSTAIN]
    regions = [Ellipsoid(it.x, it.scale, it.radius) for it in some]
    expected = [
        (some[early].index, some[late].index)
        for late in range(len(some))
        for early in range(late)
        if some[early].prediction != some[late].prediction and not disjoint(regions[early], regions[late])
    ]
    assert overlaps(some) == expected != []


@pytest.mark.parametrize("make", ["folder", "ledger"])
def test_an_interrupted_pass_over_merged_shards_gives_the_same_as_one_process(tmp_path, make):
    certificates = random_certificates(2, 40)
    expected = outline(admit_in_order(Memory(), certificates))

    def memory() -> Memory:
        return Memory(Folder(tmp_path) if make == "folder" else Ledger(tmp_path, lambda index: certificates[index]))

    first = memory()
    for it in certificates[:23]:
        first.admit(it)
    again = memory()  # a restart, after which the pass begins anew
    assert len(again) == len(first)
    shards = [certificates[part::3] for part in range(3)]
    merged = sorted((it for shard in shards for it in shard), key=lambda it: it.index)
    assert outline(admit_in_order(again, merged)) == expected
    assert outline(admit_in_order(memory(), merged)) == expected


def test_indices_out_of_order_are_refused():
    certificates = random_certificates(3, 4)
    with pytest.raises(ValueError, match="in order"):
        list(admit_in_order(Memory(), [certificates[2], certificates[1]]))


def test_the_folder_keeps_every_bit(tmp_path):
    folder = Folder(tmp_path)
    for it in random_certificates(4, 3):
        folder.write(Memory().reconcile(it))
        read = folder.read(it.index).certificate
        for name in ("prediction", "p_lower", "radius", "selection_counts", "counts", "alpha", "seed", "index"):
            assert getattr(read, name) == getattr(it, name)
        assert torch.equal(read.x, it.x) and read.x.dtype == it.x.dtype
        assert torch.equal(read.scale.matrix, it.scale.matrix)


@pytest.mark.parametrize(
    "plant",
    [
        lambda tensors, stated: stated["certificate"].update(radius=9.0),
        lambda tensors, stated: stated["certificate"].update(prediction=1),
        lambda tensors, stated: stated["certificate"].update(counts=[9, 0]),
        lambda tensors, stated: stated.update(reason="shrunk by 2"),
        lambda tensors, stated: tensors["x"].add_(1e-6),
        lambda tensors, stated: tensors["theta"].mul_(2),
    ],
    ids=["radius", "prediction", "counts", "reason", "x", "scale"],
)
def test_a_folder_whose_file_was_edited_or_renamed_is_not_read(tmp_path, plant):
    folder, path = Folder(tmp_path), tmp_path / "3.safetensors"
    folder.write(Outcome.unchanged(certificate([1.0, 2.0], Diagonal(torch.tensor([1.0, 2.0])), 1.0, 0, 3)))
    assert Memory(folder).predict(torch.tensor([1.0, 2.0])) == 0
    content = path.read_bytes()
    (tmp_path / "4.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match=r"4\.safetensors is damaged .*written"):
        folder.read(4)
    with safe_open(path, "pt") as file:
        metadata, tensors = file.metadata(), load_file(path)
    stated = json.loads(metadata["outcome"])
    plant(tensors, stated)
    save_file(tensors, path, metadata | {"outcome": json.dumps(stated)})
    with pytest.raises(ValueError, match=r"3\.safetensors is damaged .*written"):
        Memory(folder)


def test_a_crash_in_the_middle_of_a_write_loses_only_that_write(tmp_path, monkeypatch):
    certificates = random_certificates(5, 8)
    memory = Memory(Folder(tmp_path))
    for it in certificates[:5]:
        memory.admit(it)

    def crash(*_):
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr("os.replace", crash)
        with pytest.raises(OSError, match="disk full"):
            memory.admit(replace(certificates[6], x=certificates[6].x + 100))
    (tmp_path / ".6.safetensors.1-1.part").write_bytes(b"half a fi")
    again = Memory(Folder(tmp_path))
    assert again._indices == memory._indices
    assert 6 not in again and 6 not in memory


class Remembering(RuleBasedStateMachine):
    """After any sequence of admissions, also with restarts, no two regions of different classes overlap."""

    def __init__(self) -> None:
        super().__init__()
        self.memory, self.count = Memory(shadows=2), 0

    @rule(seed=st.integers(0, 1000), kind=st.sampled_from(["full", "diagonal", "isotropic"]), label=st.integers(-1, 2))
    def admit(self, seed, kind, label):
        region = random_ellipsoid(torch.Generator().manual_seed(seed), 2, kind, spread=3.0)
        radius = 0.0 if label == ABSTAIN else region.radius
        outcome = self.memory.admit(certificate(region.center, region.scale, radius, label, self.count))
        self.count += 1
        assert outcome.certificate.radius <= radius
        found = self.memory.find(region.center)
        assert found is None or outcome.certificate.prediction in (ABSTAIN, found.prediction)

    @rule()
    def restart(self):
        self.memory = Memory(self.memory._store, shadows=2)

    @invariant()
    def no_overlap_between_classes(self):
        kept = [self.memory.read(index).certificate for index in self.memory._indices]
        regions = [Ellipsoid(it.x, it.scale, it.radius) for it in kept]
        for late in range(len(kept)):
            for early in range(late):
                if kept[early].prediction != kept[late].prediction:
                    assert disjoint(regions[early], regions[late])


TestRemembering = Remembering.TestCase
TestRemembering.settings = settings(
    max_examples=15,
    stateful_step_count=12,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)


def half_plane(x: torch.Tensor, index: int) -> Certificate:
    """A closed-form certificate of the class x_0 > 0: the region is the ball up to the line."""
    distance = abs(x[0].item())
    return certificate(x, Isotropic(1.0, 2), distance, int(x[0] > 0) if distance > 0 else ABSTAIN, index)


def test_predict_answers_from_memory_and_else_certifies():
    asked = []
    memory = Memory(certify=lambda x, index: asked.append(index) or half_plane(x, index))
    assert memory.predict(torch.tensor([2.0, 0.0])) == 1
    assert memory.predict(torch.tensor([1.0, 0.0])) == 1
    assert memory.predict(torch.tensor([-1.0, 0.0])) == 0
    assert memory.predict(torch.tensor([0.0, 5.0])) == ABSTAIN
    assert asked == [0, 1, 2]
    with pytest.raises(ValueError, match="certify"):
        Memory().predict(torch.zeros(2))
    with pytest.raises(ValueError, match="2 entries, not of 3"):
        memory.predict(torch.zeros(3))


def test_an_index_stands_for_one_certificate():
    memory = Memory(certify=lambda x, index: half_plane(x, 0))
    assert memory.predict(torch.tensor([2.0, 0.0])) == 1
    with pytest.raises(ValueError, match="of that index, not 0"):
        memory.predict(torch.tensor([-2.0, 0.0]))
    with pytest.raises(ValueError, match="another certificate is remembered as 0"):
        memory.admit(half_plane(torch.tensor([-2.0, 0.0]), 0))


def test_predict_is_safe_under_threads_and_survives_a_restart(tmp_path):
    memory = Memory(Folder(tmp_path), certify=half_plane)
    points = 3 * torch.randn(60, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    answers: dict[int, int] = {}

    def serve(part: int) -> None:
        for number in range(part, len(points), 4):
            answers[number] = memory.predict(points[number])

    threads = [threading.Thread(target=serve, args=(part,)) for part in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(answers[number] == int(points[number, 0] > 0) for number in range(len(points)))
    assert overlaps([memory.read(index).certificate for index in memory._indices]) == []
    again = Memory(Folder(tmp_path))  # cannot certify: every answer comes from the folder
    assert all(again.predict(point) == answers[number] for number, point in enumerate(points))
    assert again._next == memory._next


@pytest.mark.parametrize("most", [1 << 30, 500, 0], ids=["main memory", "some of each", "a file"])
def test_a_dense_matrix_is_kept_once_and_every_bit_of_it(most):
    """Wherever it lies; what was computed of it is not kept."""
    source, store = torch.Generator().manual_seed(0), Volatile(most)
    shared, own = (random_scale(source, 5, "full") for _ in range(2))
    scales = [shared, own, random_scale(source, 5, "kronecker"), shared, random_scale(source, 5, "full")]
    given = [certificate(torch.ones(5), scale, 1.0, 0, index) for index, scale in enumerate(scales)]
    for it in given:
        assert _region(it).outer > 0  # decomposes C
        store.write(Outcome.unchanged(it))
    assert store.indices() == [0, 1, 2, 3, 4] and len(store._matrices) == 3
    assert sum(isinstance(kept, bytes) for kept in store._matrices.values()) == {0: 0, 500: 2}.get(most, 3)
    for it in given:
        assert certificate_digest(store.read(it.index).certificate) == certificate_digest(it)
    assert store.read(0).certificate.scale is store.read(3).certificate.scale
    assert "_spectrum" not in store.read(1).certificate.scale.__dict__


def test_many_regions_are_compared_in_parts_and_the_outcomes_are_the_same(monkeypatch):
    certificates = [it for it in random_certificates(3, 40) if it.prediction != ABSTAIN]
    whole = outline(admit_in_order(Memory(), certificates))
    monkeypatch.setattr("rddrs.trust.memory.TOGETHER", 3)
    parts = outline(admit_in_order(Memory(), certificates))
    assert [it[0::2] for it in parts] == [it[0::2] for it in whole]
    assert [it[1] for it in parts] == pytest.approx([it[1] for it in whole], rel=1e-12)
    assert any(reason for *_, reason in whole)
