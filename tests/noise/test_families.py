"""The families of noise: what a probability proves, and the balls and factors that regions are made of."""

import math

import pytest
import torch
from scipy.stats import kstest, norm

from rddrs.noise import FAMILIES, Purpose, Stream, family_of

KINDS = ["isotropic", "diagonal", "full", "kronecker"]
PROBABILITIES = [0.0, 0.3, 0.5, 0.6, 0.9, 0.999]


@pytest.fixture(params=FAMILIES)
def family(request):
    return family_of(request.param)


def test_radius_and_probability_are_inverse(family):
    for probability in PROBABILITIES:
        radius = family.radius(probability)
        assert radius >= 0 and family.probability(radius) == pytest.approx(max(0.5, probability))
        soft = family.soft_radius(torch.tensor(probability, dtype=torch.float64)).item()
        assert max(0.0, soft) == pytest.approx(radius)


def test_margins_give_the_radius_of_their_probability(family):
    for ratio in (0.0, 0.7, 2.5):
        found = family.margin_radius(torch.tensor(ratio, dtype=torch.float64)).item()
        assert found == pytest.approx(family.radius(float(norm.cdf(ratio))))


@pytest.mark.parametrize(("name", "law", "arguments"), [("l2", "norm", ()), ("l1", "uniform", (-1, 2))])
def test_draws_are_of_the_family_and_keyed(name, law, arguments):
    """Kolmogorov and Smirnov on 50,000 draws: a p-value of 1e-6 is a false alarm of 1e-6."""
    stream = Stream(0, 3, Purpose.PILOT)
    z, again = (family_of(name).draw(500, torch.zeros(100), stream.generator()) for _ in range(2))
    assert torch.equal(z, again)
    assert kstest(z.flatten().numpy(), law, arguments).pvalue > 1e-6


@pytest.mark.parametrize("kind", KINDS)
def test_the_factor_of_the_noise(scale_of, kind):
    """perturb adds B z, but for the order of a Kronecker scale's entries; whiten undoes B; extent is B^T."""
    scale, z = scale_of(kind, 12, dtype=torch.float64), torch.randn(5, 12, dtype=torch.float64)
    factor = scale.spread(torch.eye(12, dtype=torch.float64)).mT
    torch.testing.assert_close(factor @ factor.mT, scale.covariance)
    torch.testing.assert_close(scale.spread(z), z @ factor.mT)
    torch.testing.assert_close(scale.whiten(scale.spread(z)), z)
    torch.testing.assert_close(scale.extent(z), z @ factor)
    noise = scale.whiten(scale.perturb(torch.zeros(12, dtype=torch.float64), z.clone()))
    torch.testing.assert_close(noise.sort(dim=1).values, z.sort(dim=1).values)


@pytest.mark.parametrize("kind", KINDS)
def test_the_largest_ball_touches_the_boundary_from_inside(scale_of, kind, family):
    """Of l1 the corners are farthest out, of l2 the shortest axis; no point of the ball is beyond 1."""
    scale = scale_of(kind, 12)
    points = torch.randn(2_000, 12, dtype=torch.float64)
    points = points / family.norm(points)[:, None]
    farthest = torch.cat([points, torch.eye(12, dtype=torch.float64), scale.axes(0, 1)[0].vector[None]])
    lengths = family.length(family.ball(scale) * farthest, scale)
    lengths = lengths / family.norm(farthest)
    assert lengths.max().item() == pytest.approx(1, rel=1e-6) and lengths.max() <= 1 + 1e-12


def test_volumes_of_unit_balls():
    assert [family_of("l1").log_unit_ball(dim) for dim in (1, 2, 3)] == pytest.approx(
        [math.log(2), math.log(2), math.log(4 / 3)]
    )
    assert [family_of("l2").log_unit_ball(dim) for dim in (1, 2)] == pytest.approx([math.log(2), math.log(math.pi)])
