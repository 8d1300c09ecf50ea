"""The certificate against its oracle: for a linear classifier rho is (w.x + b) / |C w| exactly."""

import math

import pytest
import torch
from scipy.stats import binom, binomtest, norm

from rddrs import Diagonal, Full, Isotropic, certify
from rddrs.certification import ABSTAIN, Terms
from rddrs.smoothing.bounds import clopper_pearson

KINDS = ["isotropic", "diagonal", "full", "kronecker"]


def constant(inputs):
    """Answers class 2 of 3 everywhere."""
    return torch.tensor([0.0, 0.0, 1.0]).expand(len(inputs), 3)


def miss_probability(probability, samples, alpha):
    """The exact chance that the bound exceeds the true probability, summed over all counts."""
    above = [count for count in range(samples + 1) if clopper_pearson(count, samples, alpha) > probability]
    return sum(binom.pmf(above, samples, probability))


@pytest.mark.parametrize("dim", [2, 10, 784])
@pytest.mark.parametrize("kind", KINDS)
def test_radius_of_a_linear_classifier(oracle_of, kind, dim):
    """The count lies between its true binomial's quantiles at 1e-7: false alarms 2e-7 a case, 2e-6 in all nine."""
    samples, alpha = 10_000, 1e-3
    oracle = oracle_of(kind, dim, radius=1.3, seed=dim)
    certificate = certify(oracle.classifier, oracle.x, oracle.scale, samples=samples, seed=1, index=dim)
    low, high = (
        norm.ppf(binomtest(int(count), samples).proportion_ci(1 - 2 * alpha, "exact").low)
        for count in binom(samples, oracle.probability).ppf([1e-7, 1 - 1e-7])
    )
    assert certificate.prediction == 1
    assert low - 1e-9 <= certificate.radius <= high + 1e-9
    assert high - low < 0.2


@pytest.mark.parametrize("kind", KINDS)
def test_the_region_reaches_towards_the_boundary_and_not_beyond(oracle_of, kind):
    """Towards the boundary, along C C w, the region ends at rho, and the exact G_C answers 1 all over it."""
    oracle = oracle_of(kind, 12, radius=1.0)
    certificate = certify(oracle.classifier, oracle.x, oracle.scale, samples=20_000)
    weight, covariance = oracle.classifier.weight.double(), oracle.scale.covariance
    worst = -covariance @ weight / torch.sqrt(weight @ covariance @ weight)
    steps = certificate.radius * torch.tensor([0.0, 0.5, 0.999, 1.001, 2.0], dtype=torch.float64)
    points = oracle.x + (steps[:, None] * worst).float()
    assert certificate.contains(points).tolist() == [True, True, True, False, False]
    source = torch.Generator().manual_seed(0)
    z = torch.randn(500, 12, generator=source)
    lengths = certificate.radius * torch.rand(500, 1, generator=source)
    around = oracle.x + oracle.scale.spread(lengths * z / z.norm(dim=1, keepdim=True))
    assert certificate.contains(around).float().mean() > 0.99
    assert all(oracle.classifier.radius(point, oracle.scale) > 0 for point in around)


def test_coverage_over_repeated_certificates(oracle_of):
    """The radius of 2,000 certificates exceeds the true one as often as the binomial law says: at most a share alpha.

    False alarms: two quantiles at 1e-6 for alpha = 0.05, one for alpha = 0.001, 3e-6 in all.
    """
    repeats, samples, alpha = 2_000, 400, 0.05
    oracle = oracle_of("full", 2, radius=1.0)
    options = {"samples": samples, "selection_samples": 20, "alpha": alpha, "batch": samples}
    found = [certify(oracle.classifier, oracle.x, oracle.scale, index=index, **options) for index in range(repeats)]
    exact = miss_probability(oracle.probability, samples, alpha)
    misses = sum(certificate.radius > oracle.radius for certificate in found)
    assert 0.8 * alpha < exact <= alpha
    assert binom.ppf(1e-6, repeats, exact) <= misses <= binom.isf(1e-6, repeats, exact)
    strict = sum(clopper_pearson(certificate.counts[1], samples, 1e-3) > oracle.probability for certificate in found)
    assert strict <= binom.isf(1e-6, repeats, 1e-3)


def test_selection_and_certification_are_independent(oracle_of):
    """Correlation of the two counts over 400 inputs below 5 / sqrt(400): false alarms 6e-7."""
    oracle = oracle_of("isotropic", 3, radius=0.3)
    options = {"samples": 100, "selection_samples": 100, "batch": 100, "alpha": 0.05}
    found = [certify(oracle.classifier, oracle.x, oracle.scale, index=index, **options) for index in range(400)]
    pairs = torch.tensor([(one.selection_counts[1], one.counts[1]) for one in found], dtype=torch.float64)
    assert torch.corrcoef(pairs.mT)[0, 1].abs() < 5 / math.sqrt(400)


@pytest.mark.parametrize("alpha", [0.05, 1e-3])
@pytest.mark.parametrize("probability", [0.01, 0.3, 0.5, 0.77, 0.99, 0.9999])
def test_the_bound_misses_with_probability_alpha_at_most(probability, alpha):
    assert miss_probability(probability, 200, alpha) <= alpha


@pytest.mark.parametrize(("successes", "samples"), [(0, 50), (1, 50), (25, 50), (49, 50), (50, 50), (99_000, 100_000)])
def test_the_bound_is_that_of_scipy(successes, samples):
    low = binomtest(successes, samples).proportion_ci(1 - 2e-3, "exact").low
    assert clopper_pearson(successes, samples, 1e-3) == pytest.approx(low, rel=1e-9, abs=1e-12)


def test_the_largest_radius_is_reached_by_a_constant_classifier():
    assert Terms(100_000, alpha=1e-3).largest_radius == pytest.approx(3.8115, abs=1e-4)
    certificate = certify(constant, torch.zeros(2), Isotropic(0.5, 2), samples=2_000, alpha=0.01)
    assert certificate.prediction == 2
    assert certificate.radius == pytest.approx(Terms(2_000, alpha=0.01).largest_radius, rel=1e-12)
    assert certificate.counts == (0, 0, 2_000)


@pytest.mark.parametrize("kind", KINDS)
def test_the_radii_measure_the_ellipsoid(scale_of, kind):
    scale = scale_of(kind, 3)
    certificate = certify(constant, torch.zeros(3), scale, samples=1_000)
    axes = certificate.radius * torch.linalg.eigvalsh(scale.matrix.double())
    volume = 4 / 3 * math.pi * axes.prod().item()
    assert certificate.ball_radius == pytest.approx(axes.min().item(), rel=1e-6)
    assert certificate.proxy_radius == pytest.approx(axes.prod().item() ** (1 / 3), rel=1e-6)
    assert certificate.log_volume == pytest.approx(math.log(volume), rel=1e-6)
    assert 4 / 3 * math.pi * certificate.proxy_radius**3 == pytest.approx(volume, rel=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_the_region_holds_its_inner_ball_and_lies_in_its_outer_ball(scale_of, kind):
    scale = scale_of(kind, 6)
    certificate = certify(constant, torch.ones(6), scale, samples=1_000)
    directions = torch.linalg.eigh(scale.matrix.double()).eigenvectors.mT
    directions = torch.cat([directions, torch.randn(50, 6, generator=torch.Generator().manual_seed(0)).double()])
    directions /= directions.norm(dim=1, keepdim=True)
    outer = certificate.radius * scale.eigenvalues[-1].item()
    assert certificate.contains((1 + 0.9999 * certificate.ball_radius * directions).float()).all()
    assert not certificate.contains((1 + 1.0001 * outer * directions).float()).any()


def test_an_input_on_the_boundary_abstains(oracle_of):
    oracle = oracle_of("diagonal", 5, radius=0.0)
    certificate = certify(oracle.classifier, oracle.x, oracle.scale, samples=5_000)
    assert certificate.prediction == ABSTAIN and certificate.p_lower <= 0.5
    assert (certificate.radius, certificate.ball_radius, certificate.proxy_radius) == (0, 0, 0)
    assert certificate.log_volume == -math.inf
    assert not certificate.contains(oracle.x[None]).any()


def test_a_network_that_answers_nan_is_not_certified():
    certificate = certify(
        lambda inputs: inputs.new_full((len(inputs), 2), torch.nan), torch.zeros(2), Isotropic(1.0, 2)
    )
    assert certificate.prediction == ABSTAIN and certificate.counts == (0, 0)


def test_certificates_are_the_same_in_any_order_and_with_any_workers(oracle_of):
    oracle = oracle_of("full", 4, radius=0.5)

    def digest(index, workers=1):
        one = certify(oracle.classifier, oracle.x, oracle.scale, samples=700, batch=64, index=index, workers=workers)
        return one.counts, one.selection_counts, one.radius

    forwards = {index: digest(index) for index in (0, 1, 2)}
    assert {index: digest(index, workers=3) for index in (2, 0, 1)} == forwards


def test_images_keep_their_shape(linear):
    x = torch.rand(1, 3, 4, generator=torch.Generator().manual_seed(0))
    network = linear(torch.ones(12), -2.0)
    certificate = certify(network, x, Diagonal(torch.full((12,), 0.1)), samples=2_000)
    assert certificate.prediction == 1
    assert certificate.contains(torch.stack([x, x + 9])).tolist() == [True, False]


def test_too_few_samples_are_warned_about():
    with pytest.warns(UserWarning, match="5 samples can certify nothing"):
        assert certify(constant, torch.zeros(2), Isotropic(1.0, 2), samples=5).prediction == ABSTAIN


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha": 2.0}, "alpha"),
        ({"alpha": 0.0}, "alpha"),
        ({"alpha": math.nan}, "alpha"),
        ({"samples": 0}, "samples"),
        ({"selection_samples": 0}, "selection_samples"),
        ({"batch": 0}, "batch"),
        ({"workers": 0}, "workers"),
        ({"batch": 2.5}, "batch must be a whole number"),
        ({"workers": None}, "workers must be a whole number"),
        ({"scale": 0.5}, "scale=0.5: a scale is needed"),
        ({"x": torch.tensor([0.0, math.nan]), "index": 41}, "input 41"),
        ({"x": torch.tensor([0.0, math.inf])}, "NaN or infinite"),
        ({"x": torch.zeros(3)}, "3 entries.*dimension 2"),
    ],
)
def test_what_is_out_of_range_is_refused(options, message, shapes_unchecked):
    arguments = {"x": torch.zeros(2), "scale": Isotropic(1.0, 2)} | options
    with pytest.raises(ValueError, match=message):
        certify(constant, **arguments)


@pytest.mark.parametrize("kind", [Diagonal, Full])
def test_what_is_certified_is_the_scale_that_is_sampled(oracle_of, kind):
    """A float64 scale is rounded to the input's precision before it is sampled, and its radii are those."""
    oracle = oracle_of("full", 6, radius=1.0)
    matrix = oracle.scale.matrix.double() + 1e-9 * torch.eye(6, dtype=torch.float64)
    values = matrix if kind is Full else matrix.diagonal().clone()
    found = certify(oracle.classifier, oracle.x.float(), kind(values), samples=100).scale
    assert all(torch.equal(tensor, kind(values.float()).tensors()[name]) for name, tensor in found.tensors().items())
