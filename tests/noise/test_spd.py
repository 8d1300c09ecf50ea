"""The manifold: steps and gradients against geomstats, SciPy's formulas and the laws of each metric."""

import os
import subprocess
import sys

import numpy as np
import pytest
import scipy.linalg
import torch

from rddrs.noise import spd

gs, manifold = spd.geomstats()
METRICS = {
    "affine_invariant": manifold.SPDAffineMetric,
    "log_euclidean": manifold.SPDLogEuclideanMetric,
    "bures_wasserstein": manifold.SPDBuresWassersteinMetric,
}
every_metric = pytest.mark.parametrize("metric", METRICS)


def tangent_vector(dim, seed, size=1.0):
    matrix = torch.randn(dim, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return size * (matrix + matrix.mT) / 2


def geomstats_metric(metric, dim):
    return METRICS[metric](manifold.SPDMatrices(dim, equip=False))


def log_differential(base, tangent):
    """The derivative of the logarithm at `base` along `tangent`: the corner of the logarithm of a block matrix."""
    dim = len(base)
    block = np.block([[base, tangent], [np.zeros((dim, dim)), base]])
    return np.asarray(scipy.linalg.logm(block))[:dim, dim:]


def scipy_exp(base, tangent, metric):
    """Exp_base(tangent) by the textbook formula of each metric."""
    if metric == "affine_invariant":
        root = scipy.linalg.sqrtm(base)
        inverse = np.linalg.inv(root)
        return root @ scipy.linalg.expm(inverse @ tangent @ inverse) @ root
    if metric == "log_euclidean":
        return scipy.linalg.expm(scipy.linalg.logm(base) + log_differential(base, tangent))
    factor = scipy.linalg.solve_sylvester(base, base, tangent)
    return base + tangent + factor @ base @ factor


def inner(metric, base, one, other):
    arrays = (gs.array(one.numpy()), gs.array(other.numpy()), gs.array(base.numpy()))
    return float(geomstats_metric(metric, len(base)).inner_product(*arrays))


@every_metric
@pytest.mark.parametrize("dim", [2, 6, 20])
def test_exp_is_that_of_geomstats_and_scipy(spd_matrix, metric, dim):
    base, tangent = spd_matrix(dim, seed=dim), tangent_vector(dim, dim, size=0.05)
    end = spd.exp(base, tangent, metric)
    assert end.dtype == torch.float64 and torch.equal(end, end.mT)
    reference = geomstats_metric(metric, dim).exp(gs.array(tangent.numpy()), gs.array(base.numpy()))
    np.testing.assert_allclose(end.numpy(), np.asarray(reference), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(end.numpy(), scipy_exp(base.numpy(), tangent.numpy(), metric), rtol=1e-8, atol=1e-10)


@every_metric
def test_numbers_are_matrices_of_one_row(metric):
    """geomstats 2.8 raises at [1, 1]: networks of one number had no paper ascent and no aim of a full C."""
    base, tangent = torch.tensor([[2.0]], dtype=torch.float64), torch.tensor([[0.3]], dtype=torch.float64)
    expected = scipy_exp(base.numpy(), tangent.numpy(), metric)
    np.testing.assert_allclose(spd.exp(base, tangent, metric).numpy(), expected, rtol=1e-8)
    assert spd.geometric_mean(base, 4 * base).item() == pytest.approx(4.0)
    with pytest.raises(FloatingPointError, match="left the manifold"):
        spd.geometric_mean(base, -base)


@every_metric
def test_exp_at_a_scale_that_the_floor_made(metric):
    """Repeated eigenvalues, as the floor makes them, beside large ones: a condition number of 10^4."""
    vectors = torch.linalg.qr(tangent_vector(8, seed=1)).Q
    values = torch.tensor([0.5] * 5 + [3.0, 80.0, 5_000.0], dtype=torch.float64)
    base = spd.symmetric((vectors * values) @ vectors.mT)
    tangent = spd.symmetric(base @ tangent_vector(8, seed=2, size=0.1)) / 10
    expected = scipy_exp(base.numpy(), tangent.numpy(), metric)
    np.testing.assert_allclose(spd.exp(base, tangent, metric).numpy(), expected, rtol=1e-6, atol=1e-6)


@every_metric
def test_exp_starts_along_the_tangent(spd_matrix, metric):
    base, tangent = spd_matrix(5, seed=3), tangent_vector(5, seed=3)
    torch.testing.assert_close(spd.exp(base, 0 * tangent, metric), base, rtol=1e-12, atol=1e-12)
    slope = (spd.exp(base, 1e-5 * tangent, metric) - spd.exp(base, -1e-5 * tangent, metric)) / 2e-5
    torch.testing.assert_close(slope, tangent, rtol=1e-6, atol=1e-6)


@every_metric
@pytest.mark.parametrize("dim", [2, 7])
def test_the_riemannian_gradient_represents_the_differential(spd_matrix, metric, dim):
    """<grad, v>_C = dH[v] = tr(G v) for every tangent vector v, by geomstats' inner product."""
    base, gradient = spd_matrix(dim, seed=dim), tangent_vector(dim, seed=dim + 1)
    riemannian = spd.riemannian_gradient(base, gradient, metric)
    assert riemannian.dtype == torch.float64
    for seed in range(5):
        vector = tangent_vector(dim, seed=100 + seed)
        slope = torch.trace(gradient @ vector).item()
        assert inner(metric, base, riemannian, vector) == pytest.approx(slope, rel=1e-8, abs=1e-10)


@every_metric
def test_a_step_along_the_gradient_ascends(spd_matrix, metric):
    """H(Exp_C(t grad H)) grows at the rate |grad H|^2."""
    base, target = spd_matrix(5, seed=5), spd_matrix(5, seed=6, low=1.0, high=2.0)
    gradient = target - base
    riemannian = spd.riemannian_gradient(base, gradient, metric)

    def height(step):
        return -(spd.exp(base, step * riemannian, metric) - target).square().sum().item() / 2

    rate = (height(1e-6) - height(-1e-6)) / 2e-6
    assert rate == pytest.approx(inner(metric, base, riemannian, riemannian), rel=1e-5)
    assert rate > 0


def test_the_affine_invariant_step_is_affine_invariant(spd_matrix):
    """With C -> A C A^T the gradient is A^-T G A^-1, and a step from A C A^T ends in A Exp_C(grad) A^T."""
    base, gradient = spd_matrix(6, seed=1), tangent_vector(6, seed=2, size=0.5)
    affine = torch.randn(6, 6, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    inverse = torch.linalg.inv(affine)
    end = spd.exp(base, spd.riemannian_gradient(base, gradient))
    moved = spd.symmetric(affine @ base @ affine.mT)
    moved_gradient = spd.riemannian_gradient(moved, inverse.mT @ gradient @ inverse)
    torch.testing.assert_close(spd.exp(moved, moved_gradient), affine @ end @ affine.mT, rtol=1e-7, atol=1e-9)


@every_metric
def test_every_step_turns_with_a_rotation(spd_matrix, metric):
    base, gradient = spd_matrix(5, seed=1), tangent_vector(5, seed=2, size=0.2)
    rotation = torch.linalg.qr(tangent_vector(5, seed=3)).Q
    end = spd.exp(base, spd.riemannian_gradient(base, gradient, metric), metric)
    turned_base, turned_gradient = (spd.symmetric(rotation @ m @ rotation.mT) for m in (base, gradient))
    turned = spd.exp(turned_base, spd.riemannian_gradient(turned_base, turned_gradient, metric), metric)
    torch.testing.assert_close(turned, rotation @ end @ rotation.mT, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("metric", "tangent"),
    [
        ("affine_invariant", 1e4 * torch.eye(3)),
        ("log_euclidean", 1e4 * torch.eye(3)),
        ("bures_wasserstein", -2 * torch.eye(3)),
        *((metric, torch.full((3, 3), value)) for metric in METRICS for value in (torch.nan, torch.inf)),
    ],
)
def test_a_step_that_leaves_the_manifold_says_so(metric, tangent):
    with pytest.raises(FloatingPointError, match="left the manifold"):
        spd.exp(torch.eye(3), tangent, metric)


def test_floor_raises_the_small_eigenvalues_and_nothing_else(spd_matrix):
    matrix = spd_matrix(7, seed=4, low=0.1, high=1.0)

    def floor(matrix, level):
        return spd.compose(*spd.floored_spectrum(matrix, level))

    floored = floor(matrix, 0.4)
    values, vectors = torch.linalg.eigh(matrix)
    torch.testing.assert_close(vectors.mT @ floored @ vectors, values.clamp(min=0.4).diag())
    torch.testing.assert_close(floor(floored, 0.4), floored)
    torch.testing.assert_close(floor(matrix, 0.05), matrix)


@pytest.mark.parametrize("dim", [2, 9])
def test_the_geometric_mean_solves_riccatis_equation(spd_matrix, dim):
    """Sigma = M^-1 # D is the solution of Sigma M Sigma = D (METHOD section 8)."""
    sensitivity, threat = spd_matrix(dim, seed=1, low=0.01, high=3.0), spd_matrix(dim, seed=2, low=0.1, high=5.0)
    found = spd.geometric_mean(torch.linalg.inv(sensitivity), threat)
    torch.testing.assert_close(found @ sensitivity @ found, threat, rtol=1e-8, atol=1e-10)
    swapped = spd.geometric_mean(threat, torch.linalg.inv(sensitivity))
    torch.testing.assert_close(swapped, found, rtol=1e-8, atol=1e-10)


def test_the_geometric_mean_of_what_is_not_positive_definite_is_refused():
    with pytest.raises(FloatingPointError, match="left the manifold"):
        spd.geometric_mean(torch.eye(2), torch.diag(torch.tensor([1.0, -1.0])))


def test_importing_geomstats_leaves_torch_and_numpy_as_they_were():
    """With the backend that changes torch's default precision, and a NumPy that has no trapz any more."""
    code = """
import numpy, torch
if "trapz" in numpy.__all__:
    numpy.__all__.remove("trapz")
    del numpy.trapz
from rddrs.noise import spd
spd.geomstats()
assert torch.get_default_dtype() == torch.float32 and "trapz" not in vars(numpy)
"""
    environment = os.environ | {"GEOMSTATS_BACKEND": "pytorch"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


def test_geomstats_is_not_imported_before_it_is_needed():
    code = "import sys; from rddrs import records, report; assert 'geomstats' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
