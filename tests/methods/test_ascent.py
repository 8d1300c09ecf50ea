"""The geodesic ascent: laws of the flat, the gradient of its height, the linear oracle, the guard's two ends."""

from functools import partial

import pytest
import torch
from torch import nn

from rddrs import Full, Isotropic, Kronecker, Reference, fidelity
from rddrs.data import Stored
from rddrs.methods.ascent import climb, height, margin_radius, margins
from rddrs.methods.flats import FullFlat, KroneckerFlat, flat_at
from rddrs.methods.global_scale import GlobalScale
from rddrs.methods.moments import moment_of, slopes, spreads_of
from rddrs.methods.rddrs import RDDRS
from rddrs.methods.structures import structured
from rddrs.noise import FAMILIES, spd
from rddrs.noise.gaussian import Gaussian
from rddrs.threats import Threat
from rddrs.training.cotraining import grow, mean_radius, pilot


class Smooth(nn.Module):
    """Three classes, smooth, float64; `turn` is a rotation of its input space."""

    def __init__(self, dim, turn=None):
        super().__init__()
        source = torch.Generator().manual_seed(dim)
        self.first = torch.randn(dim, 6, generator=source, dtype=torch.float64) / dim**0.5
        self.second = torch.randn(6, 3, generator=source, dtype=torch.float64)
        self.turn = torch.eye(dim, dtype=torch.float64) if turn is None else turn
        self.eval()

    def forward(self, inputs):
        return torch.tanh(inputs @ self.turn @ self.first) @ self.second


class Fooled(nn.Module):
    """Tells two classes apart by the first coordinate, but answers class 0 wherever the input is large."""

    def __init__(self):
        super().__init__()
        self.eval()

    def forward(self, inputs):
        size = torch.relu(inputs.norm(dim=1) - 3)
        return torch.stack([6 * size, 4 * inputs[:, 0]], dim=1)


def normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def fooled_problem(dim=10):
    """An input of class 0 and 200 reference inputs, half of each class."""
    labels = torch.arange(200) % 2
    inputs = 0.2 * normal(200, dim, seed=1, dtype=torch.float32)
    inputs[:, 0] = 2.0 * labels - 1
    x = torch.zeros(dim)
    x[0] = -1
    return Fooled(), x, Reference(inputs, labels)


@pytest.fixture
def flat(spd_matrix):
    matrix = spd_matrix(6, seed=3)
    whitened = normal(40, 6) @ matrix
    return matrix, FullFlat(matrix, whitened.mT @ whitened / 40, Threat(), [])


def test_a_whitened_step_is_the_exponential_of_its_tangent(flat):
    """On the covariance: Sigma(a) = Exp_Sigma(C V diag(2a) V^T C), geomstats' affine-invariant Exp."""
    matrix, plane = flat
    a = normal(6, seed=5)
    vectors = torch.linalg.solve(matrix, plane.factor.mT)
    torch.testing.assert_close(vectors.mT @ vectors, torch.eye(6, dtype=torch.float64))
    tangent = spd.symmetric(matrix @ (vectors * 2 * a) @ vectors.mT @ matrix)
    torch.testing.assert_close(plane.scale(a, 1e-6).covariance, spd.exp(matrix @ matrix, tangent))
    torch.testing.assert_close(plane.scale(torch.zeros(6, dtype=torch.float64), 1e-6).matrix, matrix)


def test_the_log_determinant_grows_by_the_sum_of_a(flat):
    matrix, plane = flat
    a = normal(6, seed=6)
    assert plane.scale(a, 1e-9).log_det == pytest.approx(matrix.logdet().item() + a.sum().item())


def test_the_noise_has_the_covariance_of_the_scale(flat):
    _, plane = flat
    a = 0.3 * normal(6, seed=7)
    factor = plane.noise(a, torch.eye(6, dtype=torch.float64))
    torch.testing.assert_close(factor.mT @ factor, plane.scale(a, 1e-9).covariance)


def test_the_scale_respects_the_floor(flat):
    _, plane = flat
    assert plane.scale(torch.full((6,), -3.0, dtype=torch.float64), 0.4).eigenvalues[0] >= 0.4 - 1e-12


def test_the_gradient_of_the_height_against_finite_differences(flat):
    """With common random numbers, through the noise, the network, the margin radius and the soft accuracy."""
    _, plane = flat
    network, x, z = Smooth(6), normal(6, seed=2), normal(32, 6, seed=3)
    label = network(x[None]).argmax(dim=1)
    other = normal(16, 6, seed=4)
    labels = torch.cat([label.expand(16), network(other).argmax(dim=1)])

    def value(a):
        noisy = torch.cat([x.expand(16, -1), other]) + 0.3 * plane.noise(a, z)
        found = margins(network(noisy), labels, 2.0)
        return height(margin_radius(found[:16].view(2, 8)), plane.aim(a), a.min().exp(), found[16:], kappa=0.3, mu=2.0)

    a = (0.1 * normal(6, seed=8)).requires_grad_()
    assert margin_radius(margins(network(x + 0.3 * plane.noise(a, z[:16])), labels[:16])[None]).item() < 3.6
    assert torch.autograd.gradcheck(value, a)


def test_the_margin_radius_of_a_linear_network_is_exact(oracle_of):
    """Mean over deviation of 20,000 draws at radius 1.3: a standard error of 1 %; false alarms of 5 of them, 1e-6."""
    oracle = oracle_of("full", 8, radius=1.3)
    noise = oracle.scale.spread(normal(20_000, 8, dtype=torch.float32))
    found = margins(oracle.classifier(oracle.x + noise), torch.ones(20_000, dtype=torch.long))
    assert margin_radius(found[None]).item() == pytest.approx(oracle.radius, rel=0.05)


def test_slopes_and_pilots_of_l1_are_under_the_noise_that_is_certified(scale_of):
    """B z for z in the cube, whatever the basis of C: C z would leave it by half of the corners."""
    scale, x, seen = scale_of("kronecker", 12), torch.zeros(12), []

    def network(inputs):
        seen.append(inputs.detach().clone())
        return torch.stack([inputs.sum(dim=1), -inputs.sum(dim=1)], dim=1)

    zeros = torch.zeros(300, dtype=torch.long)
    list(slopes(network, x[None], zeros[:1], zeros, scale, torch.Generator(), "l1"))
    flat = flat_at(scale, torch.ones(12))
    for noise in (torch.cat(seen), flat.noise(torch.zeros(12), flat.aligned(pilot(scale, x, 0, "l1")))):
        assert 0.9 < scale.whiten(noise).abs().max().item() <= 1 + 1e-5


class Given(Gaussian):
    """Rows that are given in the place of random ones."""

    def __init__(self, rows):
        self._rows = rows

    def fill(self, rows, source):
        rows.copy_(self._rows)


def test_everything_turns_with_the_network(spd_matrix, monkeypatch):
    """Network, inputs and noise scale rotated together: the outer product and every scale of its flat rotate."""
    turn = torch.linalg.qr(normal(6, 6, seed=9)).Q
    matrix, inputs, z, a = spd_matrix(6, seed=3), normal(50, 6), normal(50, 6, seed=1), normal(6, seed=2)
    labels = Smooth(6)(inputs).argmax(dim=1)
    everything = torch.arange(50)
    monkeypatch.setitem(FAMILIES, "here", Given(z))
    monkeypatch.setitem(FAMILIES, "there", Given(z @ turn.mT))
    source = torch.Generator()
    here = moment_of(slopes(Smooth(6), inputs, labels, everything, Full(matrix), source, "here"), Full(matrix))
    turned = spd.symmetric(turn @ matrix @ turn.mT)
    found = slopes(Smooth(6, turn), inputs @ turn.mT, labels, everything, Full(turned), source, "there")
    there = moment_of(found, Full(turned))
    torch.testing.assert_close(there, turn @ here @ turn.mT)
    scale, other = flat_at(Full(matrix), here).scale(a, 0.3), flat_at(Full(turned), there).scale(a, 0.3)
    torch.testing.assert_close(other.matrix, turn @ scale.matrix @ turn.mT)


THREAT = Threat("brightness", "contrast", weights=(2, 1), volume=1)


@pytest.fixture
def spreads(spd_matrix):
    return [spd_matrix(6, seed=seed, low=0.01, high=3.0) for seed in (11, 12)]


def test_the_aim_is_what_the_certificate_is_worth(flat, spreads):
    """(1/d) log det C and the logarithms of tr(D Sigma^-1), of the dense matrices; at a = 0 its gradient sums to 1."""
    matrix, _ = flat
    plane = flat_at(Full(matrix), torch.eye(6, dtype=torch.float64), THREAT, spreads)

    def worth(a):
        scale = plane.scale(a, 1e-9)
        sizes = [(matrix @ it @ matrix @ torch.linalg.inv(scale.covariance)).trace() for it in spreads]
        return scale.log_det / 24 - (2 * sizes[0].log() + sizes[1].log()) / 8

    a, zero = 0.3 * normal(6, seed=7), torch.zeros(6, dtype=torch.float64)
    torch.testing.assert_close(plane.aim(a) - plane.aim(zero), worth(a) - worth(zero))
    gradient = torch.autograd.functional.jacobian(plane.aim, zero)
    torch.testing.assert_close(gradient, plane.aim.shares)
    assert gradient.sum() == pytest.approx(1)


@pytest.mark.parametrize("threat", [Threat(), THREAT, Threat("brightness", "contrast")])
def test_the_target_solves_the_equation_of_riccati(threat, spd_matrix, spreads):
    """Sigma M Sigma / tr M = (volume / d) Sigma + sum_k weights_k D_k / tr D_k, up to a factor where D = 0."""
    moment, parts = spd_matrix(6, seed=4, low=0.1), spreads[: len(threat.perturbations)]
    plane = FullFlat(torch.eye(6, dtype=torch.float64), moment, threat, parts)
    sigma = (plane.vectors * plane.target) @ plane.vectors.mT
    if not parts:
        sigma = sigma * moment.trace() / 6
    feared = sum(weight / it.trace() * it for weight, it in zip(threat.weights, parts, strict=True))
    torch.testing.assert_close(
        sigma @ moment @ sigma / moment.trace(), threat.volume / 6 * sigma + feared, rtol=1e-5, atol=1e-7
    )


def test_both_structures_aim_alike(spd_matrix):
    """Where M and D are diagonal in the basis."""
    base = Kronecker([torch.eye(2), torch.eye(3)], torch.linspace(0.5, 1, 6).view(2, 3))
    moment, *parts = torch.rand(3, 6, generator=torch.Generator().manual_seed(0)) + 0.1
    own = KroneckerFlat(base, moment, THREAT, parts)
    full = FullFlat(base.matrix, moment.diag(), THREAT, [part.diag() for part in parts])
    torch.testing.assert_close(own.target.sort().values, full.target.sort().values, rtol=1e-4, atol=0)
    order = full.vectors.abs().argmax(dim=0)
    torch.testing.assert_close(own.aim.shares[order], full.aim.shares, rtol=1e-4, atol=1e-6)


def test_a_learned_basis_holds_the_threat_and_its_displacements_are_measured_in_it():
    """Brightness and a cast lie on few axes; their whitened sizes are those that the certificate's norm has."""
    inputs = torch.rand(4, 3, 2, 5, generator=torch.Generator().manual_seed(0))
    threat = Threat("brightness", "red_cast")
    base = structured(Isotropic(0.5, 30), "kronecker", "learned", inputs, lambda: [normal(50, 30).float()], threat)
    assert isinstance(base, Kronecker)
    scale = Kronecker(base.factors, torch.linspace(0.5, 2, 30).view(3, 2, 5))
    for it, spread in zip(threat.perturbations, spreads_of(threat, inputs, scale), strict=True):
        (rows,) = threat.displacements(it, inputs)
        assert spread.sum() == pytest.approx(scale.whiten(rows).square().sum(dim=1).mean().item(), rel=1e-5)
        assert (spread > 1e-6 * spread.sum()).sum() <= 3


def test_the_method_turns_with_the_network():
    """End to end the random numbers do not turn: the shape is the same up to Monte-Carlo error (seeded: no alarms)."""
    turn = torch.linalg.qr(normal(6, 6, seed=9)).Q
    inputs = normal(100, 6, seed=4)
    labels = Smooth(6)(inputs).argmax(dim=1)
    method = RDDRS(start="isotropic", samples=512, outer=4_000, guard=0.0, mu=1.0)
    here = method.propose(Smooth(6), inputs[3], sigma=0.3, reference=(inputs, labels)).scale
    there = method.propose(Smooth(6, turn), inputs[3] @ turn.mT, sigma=0.3, reference=(inputs @ turn.mT, labels)).scale
    torch.testing.assert_close(there.matrix, turn @ here.matrix @ turn.mT, rtol=0.2, atol=0.1)


def test_the_optimum_of_a_linear_network(linear):
    """Growing along w costs radius, growing elsewhere does not: w keeps the floor, all other axes grow."""
    weight = torch.tensor([3.0, -1.0, 2.0, 0.0, 1.0])
    network, x = linear(weight, 0.0), weight / weight.norm()
    scale = RDDRS(start="isotropic", guard=0.0, samples=256, iterations=40).propose(network, x, sigma=0.5).scale
    values, vectors = torch.linalg.eigh(scale.matrix.double())
    assert values[0] == pytest.approx(0.5, rel=1e-5)
    assert abs(vectors[:, 0] @ (weight / weight.norm()).double()) > 0.999
    assert values[1] > 1.5
    assert network.radius(x, scale) == pytest.approx(network.radius(x, Isotropic(0.5, 5)), rel=0.01)


@pytest.mark.parametrize("floor", [0.3, 0.7])
def test_a_floor_by_number(linear, floor):
    weight = torch.tensor([1.0, 1.0, 0.0])
    scale = RDDRS(start="isotropic", guard=0.0, floor=floor).propose(linear(weight, 0.0), weight, sigma=0.5).scale
    assert scale.eigenvalues[0] >= floor - 1e-6


@pytest.mark.parametrize(
    "start", [Full(torch.tensor([0.5, *[0.6] * 9]).diag()), Kronecker([torch.eye(10)], torch.tensor([0.5, *[0.6] * 9]))]
)
def test_a_floor_above_sigma_is_one_where_the_start_alone_is_kept(start):
    """The global scale has the floor sigma; an ascent of absurd steps ends with nothing else."""
    network, x, reference = fooled_problem()
    method = RDDRS(floor=0.55, gamma=50.0, guard=0.9)
    assert method.shared_scale is not None
    method.shared_scale.adopt(network, start, sigma=0.5)
    scale = method.propose(network, x, sigma=0.5, reference=reference).scale
    assert scale.eigenvalues[0].item() == pytest.approx(0.55, rel=1e-6)


def test_a_network_that_can_be_fooled():
    """Unguarded, the noise grows until G_C answers class 0 everywhere; guarded, it does not."""
    network, x, reference = fooled_problem()
    kind = {"start": "isotropic", "iterations": 40, "rounds": 3}
    free = RDDRS(guard=0.0, mu=0.0, **kind).propose(network, x, sigma=0.5, reference=reference)
    kept = RDDRS(**kind).propose(network, x, sigma=0.5, reference=reference)
    vacuous = fidelity(network, free.scale, reference, sigma=0.5)
    assert vacuous.value < 0.6
    assert vacuous.distribution[0] > 0.9
    assert fidelity(network, kept.scale, reference, sigma=0.5).value >= 0.95
    assert kept.scale.geometric_mean >= 0.5 - 1e-6


def test_a_guard_of_one_loses_nothing():
    network, x, reference = fooled_problem()
    proposal = RDDRS(start="isotropic", guard=1.0, rounds=3).propose(network, x, sigma=0.5, reference=reference)
    assert proposal.status in {"done", "stalled", "refused"}
    assert fidelity(network, proposal.scale, reference, sigma=0.5).value >= 0.98


def test_a_guard_needs_a_reference_set(linear):
    network = linear(torch.ones(2), 0.0)
    with pytest.raises(ValueError, match="reference"):
        RDDRS(start="isotropic").propose(network, torch.ones(2), sigma=0.5)
    with pytest.raises(ValueError, match="reference"):
        GlobalScale().propose(network, torch.ones(2), sigma=0.5)


def test_one_scale_serves_all_inputs():
    network, x, reference = fooled_problem()
    method = GlobalScale(iterations=20, outer=1_000)
    first = method.propose(network, x, sigma=0.5, reference=reference, index=1).scale
    assert method.propose(network, -x, sigma=0.5, reference=reference, index=2).scale is first
    assert fidelity(network, first, reference, sigma=0.5).value >= 0.95
    assert first.geometric_mean > 0.5
    known = Full(torch.eye(len(x)))
    method.adopt(network, known, sigma=0.5)
    assert method.propose(network, x, sigma=0.5, reference=reference).scale is known


@pytest.mark.parametrize("seed", range(4))
def test_a_guard_compares_scales_not_draws(linear, seed):
    """Half of the axes are ignored: noise along them loses nothing, whatever the draws of two seeds made of it."""
    source = torch.Generator().manual_seed(0)
    inputs = torch.randn(200, 6, generator=source)
    network, reference = linear(torch.eye(6)[0], 0.0, 8.0), Reference(inputs, (inputs[:, 0] > 0).long())
    method = GlobalScale(iterations=10, outer=200, rounds=1)
    proposal = method.propose(network, inputs[0], sigma=0.5, reference=reference, seed=seed)
    assert proposal.status == "done" and proposal.scale.geometric_mean > 0.7
    options = {"sigma": 0.5, "seed": 99, "draws": 200}
    kept, best = (fidelity(network, it, reference, **options) for it in (proposal.scale, Isotropic(0.5, 6)))
    assert kept.accuracy >= 0.985 * best.accuracy


@pytest.mark.parametrize("options", [{"gamma": 12.0}, {"gamma": 1e-9}], ids=["too far", "nowhere"])
def test_one_c_that_is_sigma_i_says_so(options):
    """An ascent that goes so far that the noise leaves a ball at every share of its step, and one that goes nowhere."""
    inputs = 0.1 * torch.randn(100, 3, generator=torch.Generator().manual_seed(0))

    def ball(points):
        return torch.stack([points.norm(dim=1) - 1, 1 - points.norm(dim=1)], dim=1) * 8

    method = GlobalScale(iterations=3, outer=200, **options)
    reference = Reference(inputs, torch.ones(100, dtype=torch.long))
    proposal = method.propose(ball, inputs[0], sigma=0.1, reference=reference)
    torch.testing.assert_close(proposal.scale.matrix.float(), 0.1 * torch.eye(3))
    assert proposal.status == "refused"


def test_the_warm_start_is_the_global_scale():
    """With no iteration's worth of learning rate the ascent proposes its start."""
    network, x, reference = fooled_problem()
    method = RDDRS(start="global", gamma=1e-9, guard=0.0, iterations=1)
    known = Full(torch.diag(torch.linspace(0.5, 0.9, len(x))))
    assert method.shared_scale is not None
    method.shared_scale.adopt(network, known, sigma=0.5)
    found = method.propose(network, x, sigma=0.5, reference=reference).scale
    torch.testing.assert_close(found.matrix, known.matrix, rtol=1e-4, atol=1e-5)


def test_an_ascent_that_is_not_finite_says_so():
    with pytest.raises(FloatingPointError, match="iteration 0"):
        climb(lambda a, step: (a * torch.nan).sum(), torch.zeros(3), 5, 0.1)


def test_growth_in_closed_form_keeps_the_radius(linear):
    weight = torch.tensor([2.0, 0.0, 0.0, 0.0])
    network, inputs = linear(weight, 0.0), torch.tensor([[1.0, 0.0, 0.0, 0.0]]).repeat(128, 1)
    labels = torch.ones(128, dtype=torch.long)
    start = Isotropic(0.5, 4)
    pilots = Reference(inputs, labels)
    least = 0.95 * mean_radius(network, pilots, start.spread(pilot(start, inputs, 0)))
    scale = grow(network, Stored(inputs), labels, pilots, start, floor=0.5, least_radius=least, growth=3.0)
    assert scale.eigenvalues.tolist() == pytest.approx([0.5 / 0.95, 1.5, 1.5, 1.5], rel=0.05)


def test_growth_is_along_the_threat_alone(linear):
    """Brightness is not seen by a network that compares two entries: its axis grows, the others stay at the floor."""
    network, inputs = linear(torch.tensor([2.0, -2.0]), 0.0), torch.tensor([[1.0, 0.0]]).repeat(128, 1)
    pilots, start = Reference(inputs, torch.ones(128, dtype=torch.long)), Isotropic(0.5, 2)
    least = 0.95 * mean_radius(network, pilots, start.spread(pilot(start, inputs, 0)))
    growing = partial(grow, network, Stored(inputs), pilots.labels, pilots, start, floor=0.5, least_radius=least)
    scale = growing(growth=3.0, threat=Threat("brightness"))
    torch.testing.assert_close(scale.matrix, torch.tensor([[1.0, 0.5], [0.5, 1.0]]), rtol=1e-3, atol=1e-3)
