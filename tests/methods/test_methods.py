"""The contract of every method, on one small problem. A new method is one more entry of METHODS (a small budget)."""

import math
import re
from typing import Any

import pytest
import torch
from torch import nn

from rddrs import (
    ANCER,
    DDRS,
    RS,
    Diagonal,
    Given,
    Isotropic,
    Kronecker,
    Method,
    RDDRSPaper,
    Reference,
    certify,
    save_scale,
)
from rddrs.methods.global_scale import GlobalScale
from rddrs.methods.rddrs import RDDRS
from rddrs.threats import Threat

BUDGET: dict[str, Any] = {"samples": 32, "iterations": 4, "rounds": 1, "outer": 64}

METHODS: dict[str, Method] = {
    "rs": RS(),
    "ddrs": DDRS(),
    "ddrs gradient": DDRS(search="gradient", gamma=0.05, samples=50, iterations=20, checkpoint=5),
    "ancer": ANCER(samples=50, iterations=10),
    "ancer guarded": ANCER(samples=50, iterations=10, guard=0.97, check=5),
    "rddrs_paper": RDDRSPaper(samples=200, iterations=5),
    "rddrs_paper log_euclidean": RDDRSPaper(samples=200, iterations=5, metric="log_euclidean"),
    "rddrs_paper bures_wasserstein": RDDRSPaper(gamma=0.2, samples=200, iterations=5, metric="bures_wasserstein"),
    "rddrs_paper guarded": RDDRSPaper(samples=200, iterations=5, guard=0.97, check=2),
    "rddrs": RDDRS(**BUDGET, start="isotropic"),
    "rddrs unguarded": RDDRS(**BUDGET, start="isotropic", floor="sigma_x", guard=0.0),
    "rddrs_global": GlobalScale(**BUDGET),
    "rddrs kronecker": RDDRS(**BUDGET, structure="kronecker"),
    "rddrs dct": RDDRS(**BUDGET, structure="kronecker", basis="dct", start="isotropic"),
    "rddrs_global kronecker": GlobalScale(**BUDGET, structure="kronecker"),
    "given": Given(scale=Diagonal(torch.linspace(0.5, 0.8, 6))),
    "rddrs_global pixel": GlobalScale(**BUDGET, structure="kronecker", basis="pixel"),
}
DERAILED: dict[str, Method] = {
    "ddrs gradient": DDRS(search="gradient", gamma=1e30, samples=50, iterations=20),
    "ancer": ANCER(gamma=1e37, samples=50, iterations=10),
    "ancer guarded": ANCER(gamma=1e37, samples=50, iterations=10, guard=0.97, check=1),
    "rddrs_paper": RDDRSPaper(gamma=1e6, samples=200, iterations=5),
    "rddrs_paper log_euclidean": RDDRSPaper(gamma=1e6, samples=200, iterations=5, metric="log_euclidean"),
    "rddrs_paper bures_wasserstein": RDDRSPaper(gamma=1e9, samples=200, iterations=9, metric="bures_wasserstein"),
    "rddrs_paper guarded": RDDRSPaper(gamma=1e6, samples=200, iterations=5, guard=0.97, check=1),
    "rddrs": RDDRS(**BUDGET, gamma=1e30, start="isotropic", guard=0.0),
    "rddrs_global": GlobalScale(**BUDGET, gamma=1e30, guard=0.0),
    "rddrs kronecker": RDDRS(**BUDGET, gamma=1e30, start="isotropic", guard=0.0, structure="kronecker"),
}
"""Steps so long that they leave the manifold, or the numbers."""

SIGMA, SHAPE = 0.5, (1, 2, 3)
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]

every_method = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)


class Prototypes(nn.Module):
    """Answers the nearest of three prototypes; where `limit` is given, NaN beyond that distance from the origin."""

    def __init__(self, limit: float | None = None) -> None:
        super().__init__()
        source = torch.Generator().manual_seed(0)
        self.prototypes = nn.Parameter(torch.randn(3, math.prod(SHAPE), generator=source))
        self.limit = limit
        self.eval()

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        flat = inputs.flatten(1)
        logits = -3 * torch.cdist(flat, self.prototypes).square()
        if self.limit is None:
            return logits
        return torch.where(flat.norm(dim=1, keepdim=True) > self.limit, torch.nan, logits)


class Setting:
    """A classifier, an input of class 1 and a reference set, on a device and in a precision."""

    def __init__(self, device: str = "cpu", dtype: torch.dtype = torch.float32, limit: float | None = None) -> None:
        self.classifier = Prototypes(limit).to(device, dtype)
        prototypes = self.classifier.prototypes.detach()
        source = torch.Generator().manual_seed(1)
        labels = torch.arange(60) % 3
        near = prototypes.cpu()[labels] + 0.2 * torch.randn(60, math.prod(SHAPE), generator=source, dtype=dtype)
        self.x = (prototypes[1] + 0.1).view(SHAPE)
        self.reference = Reference(near.view(60, *SHAPE).to(device), labels.to(device))

    def propose(self, method: Method, **options):
        options = {"sigma": SIGMA, "reference": self.reference} | options
        return method.propose(options.pop("classifier", self.classifier), options.pop("x", self.x), **options)


def assert_sound(proposal, sigma_x_floor=None):
    """The proposal is a finite, positive definite scale above its floor, with a status."""
    values = proposal.scale.eigenvalues
    assert torch.isfinite(values).all()
    torch.linalg.cholesky(proposal.scale.matrix.double())
    floor = min(SIGMA, proposal.sigma_x) if sigma_x_floor is None else sigma_x_floor
    assert values[0].item() >= floor * (1 - 1e-5)
    assert re.fullmatch(r"done|stalled|refused|failed: .+", proposal.status, re.DOTALL)
    assert math.isfinite(proposal.sigma_x) and proposal.sigma_x > 0
    assert proposal.iterations >= 0


@every_method
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_a_proposal_is_a_scale_of_the_inputs_device_and_precision(method, device, dtype):
    setting = Setting(device, dtype)
    before = setting.x.clone()
    proposal = setting.propose(method)
    assert_sound(proposal)
    assert not proposal.status.startswith("failed")
    assert proposal.scale.dim == setting.x.numel()
    for name in proposal.scale.tensors().keys() & {"theta", "triangle"}:
        tensor = proposal.scale.tensors()[name]
        assert tensor.dtype == dtype and tensor.device == setting.x.device and not tensor.requires_grad
    assert torch.equal(setting.x, before)
    assert setting.classifier.prototypes.grad is None
    assert certify(setting.classifier, setting.x, proposal.scale, samples=1_000).prediction == 1


@every_method
def test_proposals_are_keyed_by_seed_and_index_alone(method):
    setting = Setting()
    proposals = {index: setting.propose(method, index=index) for index in (0, 1, 2)}
    torch.manual_seed(99)
    state = torch.get_rng_state()
    for index in (2, 0, 1):
        again = Setting().propose(method, index=index)
        assert torch.equal(again.scale.matrix, proposals[index].scale.matrix)
        assert (again.status, again.sigma_x) == (proposals[index].status, proposals[index].sigma_x)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("structure", ["full", "kronecker"])
@pytest.mark.parametrize("kind", [RDDRS, GlobalScale])
def test_an_aim_grows_the_feared_of_two_ignored_directions(kind, structure):
    setting = Setting()
    prototypes = setting.classifier.prototypes.detach()
    feared, other = torch.linalg.svd(prototypes[1:] - prototypes[0]).Vh[-2:]
    method = kind(**BUDGET | {"iterations": 20, "outer": 256}, structure=structure, threat=Threat(feared.view(SHAPE)))
    scale = setting.propose(method).scale
    noise = {it: (scale.matrix @ it).norm().item() for it in (feared, other)}
    assert noise[feared] > 1.5 * noise[other] >= 1.5 * SIGMA * (1 - 1e-5)


@every_method
def test_a_reference_may_be_a_pair_of_tensors(method):
    setting = Setting()
    pair = (setting.reference.inputs, setting.reference.labels)
    expected = setting.propose(method).scale.matrix
    assert torch.equal(setting.propose(method, reference=pair).scale.matrix, expected)


@every_method
def test_a_given_noise_level_is_the_floor(method):
    if not method.uses_sigma_x:
        pytest.skip("the method does not start from sigma_x")
    proposal = Setting().propose(method, sigma_x=0.6)
    assert proposal.sigma_x == 0.6
    assert_sound(proposal, sigma_x_floor=SIGMA if getattr(method, "guard", 0) else 0.6)


@every_method
@pytest.mark.parametrize("limit", [0.0, 2.5], ids=["everywhere", "far away"])
def test_a_network_that_answers_nan_is_no_exception(method, limit):
    proposal = Setting(limit=limit).propose(method)
    assert_sound(proposal)
    if limit == 0:
        isotropic = torch.equal(proposal.scale.matrix, proposal.scale.matrix[0, 0] * torch.eye(math.prod(SHAPE)))
        assert proposal.status.startswith("failed") or isotropic or isinstance(method, Given)


@pytest.mark.parametrize("method", DERAILED.values(), ids=DERAILED)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_a_derailed_ascent_ends_in_a_status(method, dtype):
    proposal = Setting(dtype=dtype).propose(method)
    assert_sound(proposal)
    if dtype == torch.float32:
        assert proposal.status.startswith("failed: ")


@every_method
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sigma": -0.5}, "sigma"),
        ({"sigma": 0.0}, "sigma"),
        ({"sigma": math.nan}, "sigma"),
        ({"sigma": math.inf}, "sigma"),
        ({"sigma_x": -0.5}, "sigma_x"),
        ({"batch": 0}, "batch"),
        ({"x": torch.full(SHAPE, math.nan), "index": 41}, "input 41"),
        ({"x": torch.full(SHAPE, math.inf)}, "NaN or infinite"),
        ({"reference": (torch.zeros(2, *SHAPE), torch.zeros(3, dtype=torch.long))}, "reference"),
        ({"reference": (torch.full((1, *SHAPE), math.nan), torch.zeros(1, dtype=torch.long))}, "reference"),
    ],
)
def test_bad_input_is_refused_by_name(method, options, message, shapes_unchecked):
    with pytest.raises(ValueError, match=message):
        Setting().propose(method, **options)


@every_method
def test_bad_hyper_parameters_are_refused_by_name(method):
    kind = type(method)
    for name in kind.model_fields:
        for value in (-1, "nonsense", math.nan, None):
            with pytest.raises(ValueError, match=name):
                kind(**{name: value})
    with pytest.raises(ValueError, match="gama"):
        kind(gama=1)


@pytest.mark.parametrize("method", [method for method in METHODS.values() if getattr(method, "guard", 0)], ids=str)
def test_a_guard_needs_a_reference(method):
    with pytest.raises(ValueError, match="reference"):
        Setting().propose(method, reference=None)


def test_hyper_parameters_do_not_change():
    with pytest.raises(ValueError, match="frozen"):
        METHODS["ancer"].gamma = 1.0  # pyright: ignore[reportAttributeAccessIssue]


def test_a_paper_ascent_of_many_hours_is_refused_with_the_reason():
    """Before any work: the network, which does not take such inputs, is never called."""
    with pytest.raises(ValueError, match=r"d = 3072.* 0\.8 hours .*at most d = 1500"):
        RDDRSPaper().propose(Prototypes().eval(), torch.zeros(3, 32, 32), sigma=0.5)
    RDDRSPaper().require((1_500,))


def test_a_given_scale_fits_the_inputs_and_the_norm_or_is_refused(tmp_path):
    path, eye = tmp_path / "scale.safetensors", torch.eye
    save_scale(Isotropic(0.75, 6), path, norm="l2")
    x, setting = torch.zeros(SHAPE), Setting()
    method = Given(scale=path)  # pyright: ignore[reportArgumentType]
    proposal = setting.propose(method, reference=None)
    assert proposal.scale.digest == Isotropic(0.75, 6).digest and method.contents == {"scale": proposal.scale.digest}
    (tmp_path / "damaged.safetensors").write_bytes(path.read_bytes()[:40])
    wrong = [
        (lambda: Given(scale=path, norm="l1"), "made for norm=l2, not for l1"),
        (lambda: Given(scale=tmp_path / "none.safetensors"), "there is no such file"),
        (lambda: Given(scale=tmp_path / "damaged.safetensors"), r"is no scale that rddrs.save_scale wrote: \w+"),
        (lambda: Given(scale=Isotropic(0.75, 5)).propose(setting.classifier, x, sigma=0.5), "dimension 5, inputs of"),
        (
            lambda: Given(scale=Kronecker([eye(3), eye(2)], torch.ones(3, 2))).require(SHAPE),
            r"axes of sizes \(3, 2\), inputs have the shape \(1, 2, 3\)",
        ),
    ]
    for make, told in wrong:
        with pytest.raises(ValueError, match=told):
            make()
    for sizes in [(1, 2, 3), (2, 3), (6,)]:
        Given(scale=Kronecker([eye(size) for size in sizes], torch.ones(sizes))).require(SHAPE)
