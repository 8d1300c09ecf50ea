"""Fidelity and contradictions against what they count."""

import numpy as np
import pytest
import torch

from rddrs import Fidelity, Isotropic, Reference, certify, contradictions, fidelity
from rddrs.noise import Purpose, Stream
from rddrs.smoothing import SmoothedClassifier
from rddrs.smoothing.fidelity import predict, shared_fidelity

CENTRES = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0]])
SHARES = (0.5, 0.3, 0.2)
SIGMA = 0.25


def nearest(inputs):
    """Answers the nearest of three centres, and class 0 further than 20 from the origin."""
    logits = -torch.cdist(inputs, CENTRES)
    far = inputs.norm(dim=1, keepdim=True) > 20
    return torch.where(far, torch.tensor([1.0, 0.0, 0.0]), logits)


@pytest.fixture
def reference() -> Reference:
    labels = torch.arange(3).repeat_interleave(torch.tensor([int(200 * share) for share in SHARES]))
    near = CENTRES[labels] + 0.1 * torch.randn(200, 2, generator=torch.Generator().manual_seed(0))
    return Reference(near, labels)


def test_the_fidelity_of_the_isotropic_noise_is_about_one(reference):
    """Every centre is 4 standard deviations from a boundary, and 20 votes decide: no false alarm in 10^6."""
    found = fidelity(nearest, Isotropic(SIGMA, 2), reference, sigma=SIGMA)
    assert found.value == pytest.approx(1.0, abs=0.02)
    assert found.accuracy > 0.97
    assert found.distribution == pytest.approx(SHARES, abs=0.02)


def test_the_fidelity_of_a_constant_classifier_is_the_share_of_its_class(reference):
    """Under noise of standard deviation 1,000 G_C answers class 0 everywhere (a vote misses in 2e-4 of the draws)."""
    found = fidelity(nearest, Isotropic(1_000.0, 2), reference, sigma=SIGMA)
    assert found.accuracy == SHARES[0]
    assert found.value == pytest.approx(SHARES[0], abs=0.02)
    assert found.distribution == (1.0, 0.0, 0.0)


@pytest.mark.parametrize("share", [1.0, 0.7])
def test_an_answer_of_nan_is_no_right_answer(share, reference):
    """Where most draws are answered by NaN, G_C answers nothing, whatever the others say; without noise it is right."""

    def failing(inputs):
        noisy = (inputs - CENTRES[torch.cdist(inputs, CENTRES).argmin(dim=1)]).norm(dim=1) > 0.8
        kept = torch.arange(len(inputs)) / len(inputs) >= share  # of the reference's inputs in order
        return torch.where((noisy & ~kept)[:, None], torch.nan, nearest(inputs))

    found = fidelity(failing, Isotropic(5.0, 2), reference, sigma=0.05)
    assert found.baseline == 1.0 and found.accuracy <= 1 - share
    assert sum(found.distribution) == pytest.approx(1 - share, abs=0.03)


def test_fidelity_is_relative_to_the_isotropic_accuracy(reference):
    wrong = Reference(reference.inputs, (reference.labels + (torch.arange(200) % 2)) % 3)
    found = fidelity(nearest, Isotropic(SIGMA, 2), wrong, sigma=SIGMA)
    assert found.accuracy == pytest.approx(0.5, abs=0.02)
    assert found.value == pytest.approx(1.0, abs=0.04)


def test_fidelity_is_relative_to_the_standard_where_there_is_one(reference):
    """A network that isotropic noise makes worse is not compared with itself."""

    def worse(inputs):
        return torch.where(inputs[:, :1] + inputs[:, 1:] > 1, torch.zeros(3), nearest(inputs))

    scale = Isotropic(SIGMA, 2)
    own = fidelity(worse, scale, reference, sigma=SIGMA)
    found = fidelity(worse, scale, Reference(reference.inputs, reference.labels, nearest), sigma=SIGMA)
    best = fidelity(nearest, scale, reference, sigma=SIGMA)
    assert own.value == pytest.approx(1, abs=0.02) and found.accuracy == own.accuracy < 0.6
    assert found.baseline == best.baseline and found.value == found.accuracy / best.baseline < 0.6
    halves = Reference(reference.inputs, reference.labels, nearest).halves
    assert all(fidelity(worse, scale, half, sigma=SIGMA).value < 0.6 for half in halves)


def test_the_interval_covers_the_ratio_of_two_accuracies():
    """Missed with probability at most 0.05 each: more than 40 of 400 are seen with probability 1e-5."""
    source, missed = np.random.default_rng(0), 0
    for _ in range(400):
        inputs, (accuracy, baseline) = int(source.integers(20, 400)), source.uniform(0.3, 1, 2)
        right, best = (int(source.binomial(inputs, share)) for share in (accuracy, baseline))
        found = Fidelity(right / inputs, best / inputs, inputs, ())
        assert found.low <= found.value <= found.high
        missed += not found.low <= accuracy / baseline <= found.high
    assert missed <= 40
    assert Fidelity(0.5, 0.0, 10, ()).high >= Fidelity(0.5, 0.0, 10, ()).value == 5
    small, large = (Fidelity(0.9, 0.9, inputs, ()) for inputs in (50, 5_000))
    assert small.low < large.low < 1 < large.high < small.high


def test_what_is_remembered_is_of_the_weights_that_the_network_has(reference):
    """Weights that are changed in place, as training does, are another network: fidelity and its baseline are anew."""
    network = torch.nn.Linear(2, 2).eval().requires_grad_(False)
    network.weight.copy_(torch.tensor([[-1.0, 0.0], [1.0, 0.0]]))
    network.bias.zero_()

    def measured():
        return shared_fidelity(network, Isotropic(0.5, 2), reference, sigma=0.25)

    first = measured()
    assert measured() is first
    network.weight.neg_()
    second = measured()
    assert (second.accuracy, second.baseline) != (first.accuracy, first.baseline)
    assert second == fidelity(network, Isotropic(0.5, 2), Reference(reference.inputs, reference.labels), sigma=0.25)


def test_fidelity_is_keyed_and_leaves_the_global_random_state_alone(reference):
    options = {"scale": Isotropic(1.0, 2), "reference": reference, "sigma": SIGMA}
    state = torch.get_rng_state()
    first = fidelity(nearest, index=3, **options)
    assert torch.equal(torch.get_rng_state(), state)
    assert fidelity(nearest, index=3, **options) == first
    others = [fidelity(nearest, index=index, **options).accuracy for index in range(4, 12)]
    assert len({first.accuracy, *others}) > 1
    guarded = [fidelity(nearest, index=index, purpose=Purpose.GUARD, **options).accuracy for index in range(3, 12)]
    assert guarded != [first.accuracy, *others]


def test_predictions_are_majorities_of_single_draws(reference):
    smoothed = SmoothedClassifier(nearest, Isotropic(1.0, 2))
    single = [predict(smoothed, reference.inputs, Stream(0, index, Purpose.FIDELITY), 1) for index in range(301)]
    majority = torch.stack(single).mode(dim=0).values
    many = predict(smoothed, reference.inputs, Stream(0, 0, Purpose.FIDELITY), 301)
    assert (many == majority).float().mean() > 0.9
    assert (single[0] == majority).float().mean() < 0.9


@pytest.mark.parametrize("kind", ["isotropic", "diagonal", "full"])
def test_contradictions_against_brute_force(oracle_of, kind):
    oracle = oracle_of(kind, 5, radius=1.5)
    certificate = certify(oracle.classifier, oracle.x, oracle.scale, samples=5_000)
    source = torch.Generator().manual_seed(1)
    points = oracle.x + 0.5 * torch.randn(300, 5, generator=source)
    labels = torch.randint(3, (300,), generator=source)
    matrix, x = oracle.scale.matrix.double().numpy(), oracle.x.double().numpy()
    expected = sum(
        label != 1 and np.linalg.norm(np.linalg.solve(matrix, point - x)) < certificate.radius
        for point, label in zip(points.double().numpy(), labels.tolist(), strict=True)
    )
    assert 0 < expected < 200
    assert contradictions(certificate, Reference(points, labels)) == expected


def test_an_abstention_contradicts_nothing(oracle_of):
    oracle = oracle_of("full", 3, radius=0.0)
    certificate = certify(oracle.classifier, oracle.x, oracle.scale, samples=1_000)
    assert certificate.prediction == -1
    assert contradictions(certificate, Reference(oracle.x[None], torch.zeros(1, dtype=torch.long))) == 0


@pytest.mark.parametrize(
    ("inputs", "labels"),
    [
        (torch.zeros(3, 2), torch.zeros(2, dtype=torch.long)),
        (torch.zeros(0, 2), torch.zeros(0, dtype=torch.long)),
        (torch.full((1, 2), torch.nan), torch.zeros(1, dtype=torch.long)),
    ],
    ids=["counts", "empty", "NaN"],
)
def test_a_reference_set_that_does_not_fit_is_refused(inputs, labels, shapes_unchecked):
    with pytest.raises(ValueError, match="reference"):
        Reference(inputs, labels)
