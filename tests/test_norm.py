"""A norm from outside: one class, one entry of `FAMILIES`, and what is done in l2 and l1 is done in it, too."""

import ast
import math
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
import torch

from rddrs import ANCER, RDDRS, RS, Isotropic, Memory, Reference, Smoothed, audit, certify, certify_path, fidelity
from rddrs.certification import Terms, certified_severities
from rddrs.certification.severities import inside
from rddrs.noise import FAMILIES, Ellipsoid
from rddrs.noise.ellipsoids import rounding, size
from rddrs.noise.gaussian import Gaussian
from rddrs.smoothing import SmoothedClassifier
from rddrs.threats import PERTURBATIONS

ROOT = Path(__file__).parents[1]
BRIGHTNESS = [it for it in PERTURBATIONS if it.name == "brightness"]
KINDS = ["isotropic", "diagonal", "full", "kronecker"]


class Box(Ellipsoid):
    """{ center + delta : sqrt(d) max |B^-1 delta| < radius }, inside of the ellipsoid of the same numbers."""

    def contains(self, point):
        length = Largest().length((point.double() - self.center.double())[None], self.scale)
        return length.item() * (1 + self.scale.rounding) < self.radius

    def reach(self, normal):
        root = math.sqrt(self.scale.dim)
        return self.scale.extent(normal).abs().sum() / root + root * rounding(self.scale.dim) * size(self.scale)

    def touching(self, first, delta):
        return None if first.contains(self.center) else delta.sign() * (delta.abs() == delta.abs().max())


class Largest(Gaussian):
    """Gaussian noise and the norm sqrt(d) max |u|, which is at least |u|_2, so that rho = Phi^-1(p) certifies in it."""

    def norm(self, rows):
        return math.sqrt(rows.shape[1]) * rows.abs().amax(dim=1)

    def ball(self, scale):
        columns = scale.whiten(torch.eye(scale.dim, dtype=torch.float64))
        return (1 - 1e-12 * scale.dim) / columns.abs().sum(dim=0).max().item()

    def euclidean_ball(self, scale):
        return None

    def log_unit_ball(self, dim):
        return dim * math.log(2 / math.sqrt(dim))

    def steepest(self, slopes):
        return slopes.sign() / math.sqrt(slopes.shape[1])

    def projected(self, rows, radius):
        bound = radius / math.sqrt(rows.shape[1])
        return rows.clamp(-bound, bound)

    def region(self, center, scale, radius):
        return Box(center, scale, radius)


@pytest.fixture(autouse=True)
def known(monkeypatch):
    monkeypatch.setitem(FAMILIES, "largest", Largest())


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_certified_and_attacked(oracle_of, kind):
    """The region ends at its corners, G_C, known exactly, answers 1 on all of it, and the ball lies inside of it."""
    oracle = oracle_of(kind, 4, radius=0.8)
    found = certify(oracle.classifier, oracle.x, oracle.scale, samples=4_000, norm="largest")
    assert found.prediction == 1 and 0.7 < found.radius < 0.8
    corners = torch.tensor([*product((-0.5, 0.5), repeat=4)], dtype=torch.float64)
    edge = found.scale.spread(found.radius * corners).float()
    assert found.contains(oracle.x + 0.999 * edge).all() and not found.contains(oracle.x + 1.001 * edge).any()
    assert all(oracle.classifier.radius(oracle.x + delta, oracle.scale) > 0 for delta in edge)
    assert found.contains(oracle.x + 0.999 * found.ball_radius * corners.float()).all()
    done = audit(oracle.classifier, found, oracle.x, samples=2_000)
    assert done.flags == () and done.inside is not None
    assert done.inside.distance == pytest.approx(found.radius, rel=1e-3)  # the attack went to the end


@pytest.mark.parametrize("structure", ["full", "kronecker"])
def test_scales_are_proposed_severities_and_paths_proven_and_classes_predicted(oracle_of, structure):
    oracle = oracle_of("isotropic", 16, radius=1.5)
    x, network = oracle.x.view(1, 4, 4), oracle.classifier
    inputs = x + torch.randn(40, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    reference = Reference(inputs, network(inputs).argmax(dim=1))
    short = {"iterations": 2, "outer": 64, "start": "isotropic", "structure": structure}
    for method in (RS(norm="largest"), ANCER(norm="largest", iterations=2), RDDRS(norm="largest", **short)):
        scale = method.propose(network, x, sigma=0.3, reference=reference).scale
        found = certify(network, x, scale, samples=1_000, norm="largest")
        assert found.norm == "largest" and found.prediction == 1 and found.ball_radius > 0
        assert fidelity(network, scale, reference, sigma=0.3, norm="largest").value > 0.8
        smoothed = Smoothed(network, scale, "largest")
        assert smoothed.predict(x[None], samples=200).tolist() == [1]
        reached = certified_severities(found, BRIGHTNESS)["brightness"]
        ends = torch.tensor([reached.low, reached.high])
        assert reached.proven and reached.size > 0 and inside(found, BRIGHTNESS[0], ends).all()
        path = certify_path(smoothed, x, "brightness", -0.01, 0.01, clamp=None, samples=2_000)
        assert path.complete and path.prediction == 1


def test_the_memory_keeps_its_regions_apart(oracle_of):
    """Boxes of one isotropic scale are disjoint where their centres are as far apart, in the norm, as their radii."""
    oracle = oracle_of("isotropic", 4, radius=1.0)
    first = certify(oracle.classifier, oracle.x, oracle.scale, samples=1_000, norm="largest")
    near = first.x + oracle.scale.sigma * torch.tensor([0.7, -0.3, 0.2, 0.1])
    memory, second = Memory(), replace(first, x=near, prediction=0, index=1)
    left = [memory.admit(each).certificate for each in (first, second)]
    apart = first.family.length((second.x - first.x)[None].double(), first.scale).item()
    assert 0 < left[1].radius < second.radius
    assert apart - 1e-6 < left[0].radius + left[1].radius <= apart


def test_a_norm_that_there_is_not_is_refused_by_name(shapes_unchecked):
    for refused in (
        lambda: RS(norm="l3"),
        lambda: Terms(norm="l3"),
        lambda: SmoothedClassifier(lambda u: u, Isotropic(1.0, 2), "l3"),
        lambda: certify(lambda u: u, torch.zeros(2), Isotropic(1.0, 2), norm="l3"),
    ):
        with pytest.raises(ValueError, match="norm='l3': it must be one of l2, l1, largest"):
            refused()


def test_a_norm_of_the_library_is_in_three_files():
    """Of code: its class, its name, and the geometry of its regions."""
    told = {"l1", "Uniform", "CrossPolytope"}
    files = [path for room in ("rddrs", "pipelines", "benchmarks") for path in sorted((ROOT / room).rglob("*.py"))]
    texts = {path.name: text for path in files if any(word in (text := path.read_text()) for word in told)}
    nodes = {name: ast.walk(ast.parse(text)) for name, text in texts.items()}
    found = [name for name, each in nodes.items() if any(told & {*map(str, vars(node).values())} for node in each)]
    assert found == ["families.py", "polytopes.py", "uniform.py"]
