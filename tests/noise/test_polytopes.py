"""Cross-polytopes: how far one may grow, against an independent linear program, and never too far."""

import numpy as np
import pytest
import torch
from scipy.optimize import linprog

from rddrs import Kronecker
from rddrs.noise import Ellipsoid, clearance, polytopes
from rddrs.noise.polytopes import CrossPolytope

KINDS = ["isotropic", "diagonal", "full", "kronecker"]


def distance(first, second):
    """min |B_2^-1 (y - x_2)|_1 over the y of `first`: the primal program, y = x_1 + B_1 (p - q), in p, q, r, s >= 0."""
    dim = first.scale.dim
    mine, others = (it.scale.spread(torch.eye(dim, dtype=torch.float64)).mT.numpy() for it in (first, second))
    inverse = np.linalg.inv(others)
    turned, away = inverse @ mine, inverse @ (first.center.double() - second.center.double()).numpy()
    costs = np.concatenate([np.zeros(2 * dim), np.ones(2 * dim)])
    equal = np.hstack([turned, -turned, -np.eye(dim), np.eye(dim)])
    limit = np.concatenate([np.ones(2 * dim), np.zeros(2 * dim)])[None]
    found = linprog(costs, limit, [first.radius], equal, -away, bounds=(0, None), method="highs")
    return found.fun


def pair(scale_of, kinds, dim, seed):
    source = torch.Generator().manual_seed(seed)
    centers = torch.randn(2, dim, generator=source)
    scales = [scale_of(kind, dim, seed=seed + place) for place, kind in enumerate(kinds)]
    return [CrossPolytope(center, scale, 0.9) for center, scale in zip(centers, scales, strict=True)]


@pytest.mark.parametrize("dim", [1, 2, 6, 30])
@pytest.mark.parametrize("kinds", [(one, other) for one in KINDS for other in KINDS], ids="-".join)
def test_the_clearance_is_the_distance(scale_of, kinds, dim):
    for seed in range(3):
        first, second = pair(scale_of, kinds, dim, seed)
        found, expected = clearance(first, second), distance(first, second)
        assert found == pytest.approx(expected, rel=1e-8, abs=1e-8)


def test_one_kronecker_basis_needs_no_program(scale_of, monkeypatch):
    monkeypatch.setattr("scipy.optimize.linprog", None)
    base = scale_of("kronecker", 30)
    other = Kronecker(base.factors, base.values.flip(0) + 0.1)
    centers = torch.randn(2, 30, generator=torch.Generator().manual_seed(0))
    first, second = CrossPolytope(centers[0], base, 0.9), CrossPolytope(centers[1], other, 0.9)
    assert clearance(first, second) == pytest.approx(distance(first, second), rel=1e-6)


@pytest.mark.parametrize("kinds", [("full", "full"), ("full", "diagonal"), ("kronecker", "kronecker")], ids="-".join)
def test_beyond_the_largest_program_the_answer_is_safe_and_better_than_the_ellipsoids(scale_of, kinds, monkeypatch):
    first, second = pair(scale_of, kinds, 30, 1)
    expected = distance(first, second)
    monkeypatch.setattr(polytopes, "LARGEST", 0)
    one, other = (Ellipsoid(it.center, it.scale, it.radius) for it in (first, second))
    assert clearance(one, other) < clearance(first, second) <= expected


def test_a_centre_inside_is_no_clearance(scale_of):
    first, _ = pair(scale_of, ("full", "full"), 6, 0)
    inside = CrossPolytope(first.center + 0.01, scale_of("diagonal", 6), 0.5)
    assert first.contains(inside.center) and clearance(first, inside) == 0
