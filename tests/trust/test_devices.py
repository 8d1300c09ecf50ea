"""The walk with the input on another device and everything else on the CPU: no operation sees tensors of both."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from rddrs import ANCER, RDDRS, RS, Diagonal, Full, Isotropic, Memory, Reference, attack, audit, certify, fidelity, load
from rddrs.certification import Smoothed, Terms, certified_severities, certify_together
from rddrs.data.inputs import Stored
from rddrs.models import Accelerated, Precision
from rddrs.noise import Kronecker, Purpose, Stream, load_scale, precision, save_scale, streams
from rddrs.smoothing import Chunk, Question, SmoothedClassifier, count
from rddrs.training import cotraining
from rddrs.trust import contradictions, overlaps
from tests.device import DEVICE, OneDevice

METHODS = [
    RS(),
    ANCER(samples=20, iterations=2, guard=0.9, check=1),
    RDDRS(samples=16, iterations=2, outer=32, start="isotropic"),
]
SCALES = {"isotropic": Isotropic(0.1, 4), "diagonal": Diagonal(torch.full((4,), 0.1)), "full": Full(0.1 * torch.eye(4))}

KRONECKER = Kronecker([torch.linalg.qr(torch.arange(4.0).view(2, 2) + torch.eye(2)).Q, torch.eye(2)], torch.ones(2, 2))


@pytest.fixture
def device(monkeypatch):
    """The device, and a generator for it, which is the CPU's."""
    of_cpu = SimpleNamespace(Generator=lambda device: torch.Generator(), randn=torch.randn, from_numpy=torch.from_numpy)
    monkeypatch.setattr(streams, "torch", of_cpu)
    torch.__future__.set_overwrite_module_params_on_conversion(True)  # no new numbers can be put into its tensors
    with OneDevice():
        yield DEVICE
    torch.__future__.set_overwrite_module_params_on_conversion(False)


@pytest.fixture
def reference():
    inputs = torch.randn(40, 4, generator=torch.Generator().manual_seed(0))
    return Reference(inputs, (inputs[:, 0] < 0).long())


def classifier(inputs):
    return torch.stack([inputs[:, 0], -inputs[:, 0]], dim=1)


class Placed(nn.Module):
    """Has its weights on a device, so that inputs of another are an error."""

    def __init__(self, device):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([1.0, -1.0]).to(device), requires_grad=False)
        self.eval()

    def forward(self, inputs):
        return inputs[:, :1] * self.weight


def test_an_operation_on_two_devices_is_an_error(device):
    with pytest.raises(RuntimeError, match="two devices"):
        torch.add(torch.ones(2).to(device), torch.ones(2))
    assert (torch.ones(2).to(device) + 1).cpu().tolist() == [2, 2]


def test_a_network_on_a_device_is_compared_with_its_file(device, tmp_path):
    smoothed, path = Smoothed(Placed(device), Isotropic(0.1, 4)), tmp_path / "model.rddrs"
    smoothed.save(path, shape=(4,), target={"_target_": f"{__name__}.Placed", "device": "cpu"})
    assert load(path).classifier(torch.ones(1, 4)).tolist() == [[1, -1]]


@pytest.mark.parametrize("method", METHODS, ids=lambda method: type(method).__name__)
def test_a_proposal_with_a_reference_of_the_cpu(device, reference, method):
    x = torch.tensor([1.0, 0.0, 0.0, 0.0])
    expected = method.propose(classifier, x, sigma=0.5, reference=reference)
    found = method.propose(classifier, x.to(device), sigma=0.5, reference=reference)
    assert found.status == expected.status and not found.status.startswith("failed")
    torch.testing.assert_close(found.scale.matrix.cpu(), expected.scale.matrix)


@pytest.mark.parametrize("scale", SCALES.values(), ids=SCALES)
def test_a_certificate_is_made_audited_and_remembered_on_either_device(device, reference, scale):
    x = torch.tensor([1.0, 0.0, 0.0, 0.0])
    certificate = certify(classifier, x.to(device), scale, samples=500)
    assert certificate.x.device == device
    assert certificate.counts == certify(classifier, x, scale, samples=500).counts
    there = Placed(device)
    for one in (certificate, certificate.to("cpu")):
        found = audit(there, one, x.to(device), reference=reference, samples=300)
        assert found.flags == ()
        assert found.contradictions == contradictions(one, reference) == 0
        assert not attack(classifier, one, reference=reference, samples=300).broken
        assert one.contains(torch.stack([x, -x])).tolist() == [True, False]
        assert certified_severities(one)["brightness"].size > 0
        memory = Memory()
        memory.admit(one)
        assert memory.find(x) is memory.find(x.to(device)) is not None
        assert overlaps([one]) == []
    assert fidelity(classifier, scale, reference.to(device), sigma=0.5).value > 0.5


@pytest.mark.parametrize("float64", [False, True], ids=["slow float64", "fast float64"])
@pytest.mark.parametrize("scale", [SCALES["full"], KRONECKER], ids=["full", "kronecker"])
def test_a_scale_of_the_cpu_makes_noise_on_a_device(device, scale, float64, monkeypatch):
    """In float64 or in products of parts, as a GPU's float32 products are made."""
    monkeypatch.setattr(precision, "fast_float64", lambda device: float64)
    z = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    for made in (scale.spread, scale.extent):
        torch.testing.assert_close(made(z.to(device)).cpu(), made(z))
    x = torch.zeros(4)
    torch.testing.assert_close(scale.perturb(x.to(device), z.to(device)).cpu(), scale.perturb(x, z.clone()))


def test_a_scale_is_read_to_a_device(device, tmp_path):
    save_scale(KRONECKER, tmp_path / "scale.safetensors")
    found = load_scale(tmp_path / "scale.safetensors", device=device)
    assert found.matrix.device == device and torch.equal(found.matrix.cpu(), KRONECKER.matrix)


class Network(nn.Module):
    """Its weight does nothing: what training makes of it is not of interest here."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1), requires_grad=False)

    def forward(self, inputs):
        return classifier(inputs)


class View(nn.Module):
    def forward(self, inputs):
        return inputs.view(len(inputs), -1)


def test_co_training_on_a_device_goes_through_its_rounds(device, reference, tmp_path, monkeypatch):
    monkeypatch.setattr(cotraining, "OUTER", 60)
    tuned = []

    def fine_tune(scale, turn, folder):
        tuned.append(scale.matrix.device)

    options = cotraining.CotrainingOptions(rounds=2, growth=1.5)
    found = cotraining.cotrain(
        Network(),
        Stored(reference.inputs),
        reference.labels.to(device),
        reference.halves[0].halves[0].to(device),
        fine_tune,
        tmp_path,
        options,
        sigma=0.3,
    )
    assert tuned == [device, device] and found.matrix.device == device


def test_counts_of_many_inputs_and_questions_are_those_of_the_cpu(device, reference):
    inputs = reference.inputs[:5]
    for scale in SCALES.values():
        smoothed = SmoothedClassifier(classifier, scale)
        found = smoothed.counts(inputs.to(device), 300, seed=1, batch=200)
        assert found.device.type == "cpu" and torch.equal(found, smoothed.counts(inputs, 300, seed=1, batch=200))
        chunks = [Chunk(place, 0, 30 + place) for place in range(5)]

        def asked(points, smoothed=smoothed, chunks=chunks):
            moved = SmoothedClassifier(classifier, smoothed.scale.to(points.device))
            questions = [
                Question(Stream(0, place, Purpose.PATH), point, 0.5, 1e-3) for place, point in enumerate(points)
            ]
            return count(moved, questions, chunks, batch=64)

        assert torch.equal(asked(inputs.to(device)), asked(inputs))


@pytest.mark.parametrize("grid", [None, 1 / 8], ids=["no grid", "a grid"])
def test_several_inputs_share_calls_of_one_size_and_each_keeps_the_counts_that_it_has_alone(device, reference, grid):
    inputs, sizes = (8 * reference.inputs[:4]).round() / 8, []
    scales, indices = [*SCALES.values(), KRONECKER], [3, 1, 8, 0]
    alone = [
        certify(classifier, x, scale, samples=150, selection_samples=20, grid=grid, index=index, batch=64)
        for x, scale, index in zip(inputs, scales, indices, strict=True)
    ]

    def counted(inputs):
        sizes.append(len(inputs))
        return classifier(inputs)

    def together(chosen):
        its = [[each[place] for place in chosen] for each in (inputs.to(device), scales, indices)]
        terms = Terms(samples=150, selection_samples=20, grid=grid)
        return certify_together(counted, its[0], its[1], terms, its[2], batch=64)

    together([0])  # with the checks of the classifier
    sizes.clear()
    for chosen in ([0, 1, 2, 3], [2, 0], [3]):
        for place, found in zip(chosen, together(chosen), strict=True):
            it = alone[place]
            assert (found.counts, found.selection_counts, found.index) == (it.counts, it.selection_counts, it.index)
            assert (found.prediction, found.radius) == (it.prediction, it.radius)
    assert sizes == [64] * (11 + 6 + 3)


def test_a_reference_that_moves_keeps_what_it_knows(device, reference):
    calls = []

    def counted(inputs):
        calls.append(len(inputs))
        return classifier(inputs)

    known = reference.baseline(counted, 0.5, 0)
    first = len(calls)
    assert reference.to(device).baseline(counted, 0.5, 0) == known and len(calls) == first
    assert reference.to("cpu") is reference


@pytest.mark.parametrize("views", [False, True], ids=["any layout", "views"])
def test_a_network_of_half_precision_has_its_channels_last_on_a_device_unless_it_views_them_otherwise(device, views):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(2, 4, 3), View() if views else nn.Flatten(), nn.Linear(16, 3))
    inputs = torch.rand(5, 2, 4, 4)
    expectations: list[tuple[Precision, bool]] = [("bfloat16", not views), ("float32", False)]
    for dtype, last in expectations:
        with torch.inference_mode():
            expected = Accelerated(network.cpu().eval().requires_grad_(False), dtype)(inputs)
            fast = Accelerated(network.to(device), dtype)
            found = fast(inputs.to(device)).cpu()
        copies = fast._copies
        assert copies is not None
        assert next(copies.plain.parameters()).is_contiguous(memory_format=torch.channels_last) == last
        torch.testing.assert_close(found, expected, rtol=0.02, atol=0.02)
