"""What floating point does to a certificate, and that the grid stops it (METHOD section 11)."""

import math

import pytest
import torch

from rddrs import Diagonal, Full, Isotropic, Kronecker, Reference, audit, certify
from rddrs.noise import Grid, Purpose, Stream, whole
from rddrs.smoothing import SmoothedClassifier, hard_counts

DIM, STEP, SAMPLES = 256, 1 / 16, 3_000
SWAPPED = -torch.eye(16).flip(0)
SCALES = {
    "isotropic": Isotropic(1.0, DIM),
    "diagonal": Diagonal(torch.ones(DIM)),
    "full": Full(torch.eye(DIM)),
    "kronecker": Kronecker([SWAPPED, SWAPPED], torch.ones(16, 16)),
}
X, OTHER = torch.zeros(DIM), torch.full((DIM,), STEP)
"""Two inputs at the distance 1: X + C z has last bits that OTHER + C z, which is rounded, has not."""


@pytest.fixture(params=SCALES)
def scale(request):
    return SCALES[request.param]


def last_bits(inputs):
    """The planted network (after Voracek & Hein, ICLR 2023): 1 where an entry is no multiple of 2^-28, else 0."""
    steps = inputs.double() * 2**28
    return torch.nn.functional.one_hot((steps != steps.round()).any(dim=1).long(), 2).double()


def certified(scale, x=X, **options):
    return certify(last_bits, x, scale, samples=SAMPLES, **options)


def test_without_a_grid_the_planted_network_earns_a_false_radius_and_is_caught(scale):
    found = certified(scale)
    assert found.prediction == 1 and found.contains(OTHER[None]).all()
    counts = hard_counts(found.smoothed(last_bits), OTHER, Stream(0, 0, Purpose.VERDICT).draws(SAMPLES, 256))
    assert counts.tolist() == [SAMPLES, 0]
    reference = Reference(torch.stack([OTHER, X]), torch.tensor([0, 1]))
    assert audit(last_bits, found, X, reference=reference, samples=1_000).flags == ("attack",)


@pytest.mark.parametrize("step", [STEP, 1 / 255])
def test_with_the_grid_it_cannot(scale, step):
    """Whatever the network reads, it reads the same at both inputs: h times whole numbers, moved by whole numbers."""
    seen = []

    def recording(inputs):
        seen.append(inputs.clone())
        return last_bits(inputs)

    for x in (X, (OTHER / step).round() * step):
        smoothed = SmoothedClassifier(recording, scale, grid=step)
        hard_counts(smoothed, x, Stream(0, 0, Purpose.CERTIFICATION).draws(300, 256))
    first, second = torch.cat(seen).chunk(2)
    places = (first.double() / step).round()
    moved = whole((OTHER / step).round() * step, step).double()
    assert torch.equal(first, places.float() * step)
    assert torch.equal(second, (places + moved).float() * step)


def test_with_the_grid_its_certificate_is_true_and_passes_the_audit(scale):
    found = certified(scale, grid=STEP)
    assert found.prediction == 0 and found.grid == STEP and found.contains(OTHER[None]).all()
    assert certified(scale, OTHER, grid=STEP).counts == found.counts
    reference = Reference(torch.stack([OTHER, X]), torch.tensor([1, 0]))
    assert audit(last_bits, found, X, reference=reference, samples=1_000).flags == ()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_noise_on_the_grid_is_the_rounded_noise(scale_of, dtype):
    """h round(C z / h), so that its law is that of C z but for half a step."""
    x = torch.arange(12).to(dtype) / 255
    for kind in ("isotropic", "diagonal", "full", "kronecker"):
        scale = scale_of(kind, 12, dtype=dtype)
        noise = scale.perturb(torch.zeros_like(x), torch.randn(50, 12, dtype=dtype))
        placed = Grid(x, scale, 1 / 255)(noise.clone())
        away = (placed - x - noise).abs().max().item()
        assert 0.4 / 255 < away <= 0.5 / 255 * (1 + 1e-3)


@pytest.mark.parametrize("step", [1 / 16, 1 / 255, 0.37])
def test_every_multiple_is_on_the_grid_however_it_was_computed(step):
    numbers = torch.arange(-300.0, 300.0)
    for x in (numbers * step, numbers / (1 / step), (numbers.double() * step).float(), numbers.double() * step):
        assert torch.equal(whole(x, step), numbers.to(x))


@pytest.mark.parametrize(
    ("x", "options", "message"),
    [
        (X + 0.01, {"grid": STEP}, "0.00999999978 is no multiple of grid=0.0625: give the data's own step"),
        (X, {"grid": 0.0}, "grid=0.0: Input should be greater than 0"),
        (X, {"grid": math.nan}, "grid=nan: Input should be a finite number"),
        (X, {"grid": 1e-6}, "noise may reach .*, torch.float32 holds sums of whole numbers up to 8.4e\\+06"),
        (X + 2**21, {"grid": STEP}, "noise may reach"),
    ],
)
def test_what_is_not_on_the_grid_is_refused(x, options, message):
    with pytest.raises(ValueError, match=message):
        certified(SCALES["isotropic"], x, **options)


def test_a_finer_grid_than_the_precision_is_exact_in_float64():
    assert certified(SCALES["isotropic"], X.double(), grid=1e-6).grid == 1e-6


def test_the_radius_of_a_linear_classifier_stays(oracle_of):
    """On a grid of 1/255 the radius is that of the exact classifier up to Monte-Carlo error and half a step of bias."""
    oracle = oracle_of("full", 12, radius=1.3)
    x = (255 * oracle.x).round() / 255
    found = certify(oracle.classifier, x, oracle.scale, samples=20_000, grid=1 / 255)
    assert found.radius == pytest.approx(oracle.classifier.radius(x, oracle.scale), abs=0.08)


@pytest.mark.parametrize("kind", ["diagonal", "full", "kronecker"])
def test_noise_that_could_be_too_long_for_an_exact_sum_ends_alike_for_every_input(scale_of, kind):
    """C z of 9 sqrt(d) standard deviations would not be exact, 9 are: the sums are, and what is never drawn is cut."""
    half, step, scale = 2**23, 1 / 256, scale_of(kind, 12)
    scale = scale.scaled(3_000 / scale.deviations().max().item())
    x, other = torch.zeros(12), torch.full((12,), 7 / 256)
    noise = scale.perturb(torch.zeros_like(x), torch.randn(2_000, 12, generator=torch.Generator().manual_seed(0)))
    noise[0, 0] = 1e9
    places = (noise.double() / step).round().clamp(-half, half)
    for each, moved in ((x, 0), (other, 7)):
        assert torch.equal(Grid(each, scale, step)(noise.clone()).double() / step, places + moved)
    with pytest.raises(ValueError, match="noise may reach"):
        Grid(x, scale.scaled(2), step)
