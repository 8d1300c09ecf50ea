"""What the papers maximise, against finite differences; RDDRSPaper's gradient with common random numbers."""

import pytest
import torch
from scipy.stats import norm

from rddrs import Full, RDDRSPaper
from rddrs.methods.base import Problem
from rddrs.methods.papers import P_MAX, gap, size


def differences(function, matrix, step=1e-5):
    """The symmetric gradient of a function of a symmetric matrix, by central differences."""
    gradient = torch.zeros_like(matrix)
    for row in range(len(matrix)):
        for column in range(row, len(matrix)):
            tangent = torch.zeros_like(matrix)
            tangent[row, column] = tangent[column, row] = 1
            slope = (function(matrix + step * tangent) - function(matrix - step * tangent)) / (2 * step)
            gradient[row, column] = gradient[column, row] = slope / (1 if row == column else 2)
    return gradient


def slope(matrix, kappa):
    values, vectors = torch.linalg.eigh(matrix)
    return size(values, vectors, kappa)[1]


@pytest.mark.parametrize("dim", [1, 2, 5])
def test_gradient_of_the_geometric_mean(spd_matrix, dim):
    matrix = spd_matrix(dim, seed=dim)
    expected = differences(lambda c: torch.linalg.det(c) ** (1 / dim), matrix)
    torch.testing.assert_close(slope(matrix, 0.0), expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("dim", [1, 2, 5])
def test_gradient_of_the_smallest_eigenvalue(spd_matrix, dim):
    matrix = spd_matrix(dim, seed=dim)
    expected = differences(lambda c: torch.linalg.eigvalsh(c)[0], matrix)
    torch.testing.assert_close(slope(matrix, 1.0) - slope(matrix, 0.0), expected, rtol=1e-6, atol=1e-8)


def test_gap_of_known_probabilities():
    assert gap(torch.tensor([norm.cdf(1.2), norm.cdf(-1.2)]), 0).item() == pytest.approx(1.2, rel=1e-5)
    three = torch.tensor([0.1, 0.6, 0.3])
    assert gap(three, 1).item() == pytest.approx((norm.ppf(0.6) - norm.ppf(0.3)) / 2, rel=1e-5)
    assert gap(three, 2).item() == pytest.approx((norm.ppf(0.3) - norm.ppf(0.6)) / 2, rel=1e-5)


def test_gap_stays_finite_at_certainty():
    probabilities = torch.tensor([1.0, 0.0], dtype=torch.float64, requires_grad=True)
    value = gap(probabilities, 0)
    assert value.item() == pytest.approx(norm.ppf(P_MAX))
    (gradient,) = torch.autograd.grad(value, probabilities)
    assert torch.equal(gradient, torch.zeros(2, dtype=torch.float64))


@pytest.mark.parametrize("label", [0, 1, 3])
def test_gradient_of_the_gap(label):
    probabilities = torch.tensor([0.2, 0.5, 0.25, 0.05], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda p: gap(p, label), probabilities)


@pytest.mark.parametrize(("samples", "batch", "step"), [(60, 60, 0), (60, 25, 3)])
def test_the_ascent_gradient_against_finite_differences(spd_matrix, samples, batch, step):
    """H of equation (5), evaluated here from its definition on the very noise that the method draws."""
    source = torch.Generator().manual_seed(4)
    weight = torch.randn(3, 4, generator=source, dtype=torch.float64)

    def network(inputs):
        return torch.tanh(inputs @ weight.mT)

    x = torch.randn(4, generator=source, dtype=torch.float64)
    problem = Problem(network, x, 0.5, None, 0, 0, batch, 0.3)
    method = RDDRSPaper(samples=samples, kappa=0.7)
    sizes = [min(batch, samples - start) for start in range(0, samples, batch)]
    first = step * len(sizes)
    z = torch.cat([problem.draw(size, first + block) for block, size in enumerate(sizes)])
    label = problem.label

    def maximised(matrix):
        radius = gap(torch.softmax(network(x + z @ matrix), dim=1).mean(dim=0), label)
        scale = Full(matrix)
        return radius * (scale.geometric_mean + 0.7 * scale.eigenvalues[0])

    matrix = spd_matrix(4, seed=2)
    values, vectors = torch.linalg.eigh(matrix)
    found = method.gradient(problem, values, vectors, step)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, differences(maximised, matrix), rtol=1e-5, atol=1e-7)
