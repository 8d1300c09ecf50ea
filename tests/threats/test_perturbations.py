"""Named perturbations, against closed forms of the severity that a certificate covers."""

import math
from typing import Any

import numpy as np
import pytest
import torch

from rddrs import Smoothed, certify_path
from rddrs.certification import ABSTAIN, Certificate
from rddrs.certification.regions import Region
from rddrs.certification.severities import Severity, certified_severities, certified_severity, inside
from rddrs.noise import Diagonal, Kronecker, Norm
from rddrs.noise.full import Full
from rddrs.noise.isotropic import Isotropic
from rddrs.noise.scale import Scale
from rddrs.threats import PERTURBATIONS, Perturbation
from rddrs.threats.change import column
from rddrs.threats.monotone import Monotone

NAMES = {it.name: it for it in PERTURBATIONS}
ONE_SIDED = {"blur", "salt_and_pepper", "occlusion", "gamma", "defocus", "motion_blur", "jpeg_blocks"}


def image(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def certificate(x: torch.Tensor, scale: Scale, radius: float, prediction: int = 3, norm: Norm = "l2") -> Certificate:
    return Certificate(x, scale, prediction, 0.9, radius, (1,), (1,), 1e-3, 0, 0, samples=1, norm=norm)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 9, 6)])
def test_severity_zero_is_the_identity_and_shapes_are_kept(name, shape):
    if not NAMES[name].applies(shape):
        with pytest.raises(ValueError, match=f"{name} needs images .3, height, width., not inputs of shape"):
            certified_severity(certificate(image(*shape), Isotropic(0.5, image(*shape).numel()), 1.0), NAMES[name])
        return
    x = image(*shape).double().numpy()
    before = x.copy()
    assert np.allclose(NAMES[name].function(x, 0.0), x, atol=1e-12)
    changed = NAMES[name].function(x, 0.5 * NAMES[name].limit)
    assert changed.shape == x.shape and np.isfinite(changed).all()
    assert not np.allclose(changed, x)
    assert np.array_equal(x, before)


@pytest.mark.parametrize("name", NAMES)
def test_a_small_severity_is_a_small_change(name):
    x = image(NAMES[name].channels or 1, 12, 12).double().numpy()
    changes = [np.linalg.norm(NAMES[name].function(x, s * NAMES[name].limit) - x) for s in (1e-4, 1e-2, 0.1)]
    assert changes[0] <= changes[1] <= changes[2]
    assert changes[0] < 0.05 * np.linalg.norm(x)


def close(found: Severity, exact: float, low: float | None = None) -> bool:
    """Whether the ends are the exact ones, rounded down by a thousandth at most, and proven."""
    ends = {found.high: exact, -found.low: exact if low is None else low}
    return found.proven and all((1 - 1e-3) * right <= end < right or end == right == 0 for end, right in ends.items())


@pytest.mark.parametrize("name", ["brightness", "checkerboard", "stripes"])
def test_patterns_of_constant_amplitude_have_a_closed_form(name):
    """|s pattern|_2 / sigma = s sqrt(d) / sigma < rho, of both signs."""
    found = certified_severity(certificate(image(1, 8, 8), Isotropic(0.5, 64), 1.7), NAMES[name])
    assert close(found, 1.7 * 0.5 / math.sqrt(64))
    assert found.size == min(-found.low, found.high)


def test_contrast_has_a_closed_form():
    x = image(5)
    exact = 1.7 * 0.1 / torch.linalg.vector_norm(x - x.mean()).item()
    assert close(certified_severity(certificate(x, Isotropic(0.1, 5), 1.7), NAMES["contrast"]), exact)


def test_clamped_brightness_has_a_closed_form():
    """Strokes at 1 stay while the ground at 1/4 rises to 1; darker, the ground stays at 0 from a severity of 1/4 on."""
    x = torch.full((1, 4, 4), 0.25)
    x[0, :2] = 1.0

    def found(radius: float) -> Severity:
        region = certificate(x, Isotropic(0.5, 16), 2 * radius)
        return certified_severity(region, NAMES["brightness"], clamp=(0, 1))

    assert close(found(0.8), 0.8 / math.sqrt(8), 0.8 / math.sqrt(16))
    assert close(found(1.5), 1.5 / math.sqrt(8), math.sqrt((1.5**2 - 8 / 16) / 8))
    assert found(2.2).high == NAMES["brightness"].limit, "white is as bright as it gets"


def test_what_a_file_rounds_to_is_inside_too():
    """Steps of 1/8: up to 1/16 nothing changes in the file, from there on all entries do by 1/8, which is outside."""
    x = torch.zeros(1, 2, 2)
    region = certificate(x, Isotropic(1.0, 4), 0.2)
    assert close(certified_severity(region, NAMES["brightness"]), 0.1)
    assert close(certified_severity(region, NAMES["brightness"], rounding=1 / 8), 1 / 16)
    assert not inside(region, NAMES["brightness"], torch.tensor([0.07]), rounding=1 / 8).any()
    assert inside(region, NAMES["brightness"], torch.tensor([0.07, 0.06])).all()


def test_a_larger_scale_along_a_pattern_certifies_more_of_it():
    x = image(1, 8, 8)
    pattern = torch.from_numpy(NAMES["checkerboard"].function(np.zeros((1, 8, 8)), 1.0)).flatten() / 8
    matrix = 0.5 * torch.eye(64) + 5 * torch.outer(pattern, pattern)
    wide = certified_severities(certificate(x, Full(matrix.float()), 1.5))
    ball = certified_severities(certificate(x, Isotropic(0.5, 64), 1.5))
    assert wide["checkerboard"].size > 9 * ball["checkerboard"].size
    assert wide["stripes"].size == pytest.approx(ball["stripes"].size, rel=1e-3)
    assert list(wide) == [name for name, it in NAMES.items() if it.applies((1, 8, 8))]


def scale_of(kind: str, dim: int) -> Scale:
    source = torch.Generator().manual_seed(1)
    values = 0.3 + torch.rand(dim, generator=source) ** 4 * 2
    if kind == "isotropic":
        return Isotropic(0.4, dim)
    if kind == "diagonal":
        return Diagonal(values)
    if kind == "kronecker":
        factors = [torch.linalg.qr(torch.randn(size, size, generator=source))[0] for size in (3, 8, 8)]
        return Kronecker(factors, values.view(3, 8, 8))
    axes = torch.linalg.qr(torch.randn(dim, dim, generator=source))[0]
    matrix = (axes * values) @ axes.T
    return Full((matrix + matrix.T) / 2)


@pytest.mark.parametrize("norm", ["l2", "l1"])
@pytest.mark.parametrize("kind", ["isotropic", "diagonal", "full", "kronecker"])
def test_no_severity_of_a_certified_interval_is_outside(kind, norm):
    """200 severities of every interval and its ends, as they are, clamped, and clamped and rounded."""
    x = (image(3, 8, 8) * 255).round() / 255
    it = certificate(x, scale_of(kind, 192), 1.2 if norm == "l2" else 30.0, norm=norm)
    ways: list[dict[str, Any]] = [{}, {"clamp": (0.0, 1.0)}, {"clamp": (0.0, 1.0), "rounding": 1 / 255}]
    for stored in ways if norm == "l2" else ways[2:]:
        for name, found in certified_severities(it, **stored).items():
            assert found.proven and found.low <= 0 <= found.high <= NAMES[name].limit
            assert found.two_sided == (name not in ONE_SIDED) and (found.two_sided or found.low == 0)
            assert found.high > 0 and (found.low < 0 or not found.two_sided), name
            severities = torch.linspace(found.low, found.high, 200, dtype=torch.float64)
            assert inside(it, NAMES[name], severities, **stored).all(), name


@pytest.mark.parametrize("kind", ["isotropic", "diagonal", "full"])
def test_nor_where_the_input_is_neither_in_the_range_nor_on_the_grid(kind):
    x = 1.2 * image(3, 8, 8) - 0.1
    x[:, 0] = (x[:, 0] * 16).round() / 16 + 1 / 32  # rounded to either side
    it, stored = certificate(x, scale_of(kind, 192), 3.0), {"clamp": (0.0, 1.0), "rounding": 1 / 16}
    found = certified_severities(it, **stored)
    assert sum(each.size > 0 for each in found.values()) > 12
    for name, each in found.items():
        severities = torch.linspace(each.low, each.high, 100, dtype=torch.float64)
        assert each.size == 0 or inside(it, NAMES[name], severities, **stored).all(), name


@pytest.mark.parametrize("scale", [Isotropic(1.0, 1), Full(torch.eye(1))])
def test_of_a_clamped_value_half_way_between_two_steps_both_are_spoken_of(scale):
    """0.5 is 2.5 steps, and a file may hold 3 of them, 0.6, which is outside: all is certified up to there alone."""
    it = certificate(torch.tensor([0.4]), scale, 0.15)
    bound = lambda x, low, high: np.full_like(x, (high - low) / 2)  # noqa: E731
    lifted = Perturbation("lifted", lambda x, s: x + s, 1, images=False, two_sided=False, variation=bound)
    for each in (lifted, NAMES["brightness"]):
        assert 0.09 < certified_severity(it, each, clamp=(0.0, 0.5), rounding=0.2).high < 0.1


def test_what_is_certified_of_blocks_where_rounding_may_leave_the_region_is_nothing():
    """A ball that holds every rounded image is larger than the region, which holds none of a cell then."""
    it, blocks = certificate(image(1, 8, 8), Isotropic(0.5, 64), 0.06), NAMES["jpeg_blocks"]
    assert certified_severity(it, blocks, rounding=1 / 128) == Severity(0, 0, two_sided=False)
    assert certified_severity(it, blocks).high > 0


def test_an_interval_that_leaves_between_two_tested_severities_is_not_proven():
    """A spike between two of the severities that a search tests: what has a bound stops before it."""

    def spike(x, severity):
        return x + 0.3 * severity + 5 * max(0.0, 1 - 4e4 * abs(severity - 0.0509))

    def bound(x, low, high):
        near = low - 2.5e-5 < 0.0509 < high + 2.5e-5
        return np.full(x.shape, 0.3 * (high - low) / 2 + 5 * near)

    region = certificate(torch.zeros(4), Isotropic(1.0, 4), 0.2)
    tested = certified_severity(region, Perturbation("spike", spike, 1, images=False, two_sided=False))
    proven = certified_severity(region, Perturbation("spike", spike, 1, images=False, two_sided=False, variation=bound))
    assert not tested.proven and tested.high == pytest.approx(1 / 3, rel=1e-2)
    assert proven.proven and 0.0505 < proven.high < 0.0509


def test_what_starts_straight_may_go_faster_beyond_1():
    """A user's change, ten times as fast from there on: 2 (1 + 10 (s - 1)) < 4 up to s = 1.1."""

    class Faster(Monotone):
        starts_straight = True

        def points(self, x, severities):
            sizes = severities.abs()
            return x + column(severities.sign() * torch.maximum(sizes, 10 * sizes - 9), x)

    faster = Perturbation("faster", Faster(), 8, images=False)
    assert close(certified_severity(certificate(image(4), Isotropic(1.0, 4), 4.0), faster), 1.1)


def test_what_is_tested_is_tested_of_both_signs():
    there_and_back = Perturbation("wave", lambda x, s: x + math.sin(s) * (2 if s < 0 else 1), 2 * math.pi, images=False)
    found = certified_severity(certificate(torch.zeros(1), Isotropic(1.0, 1), 0.5), there_and_back)
    assert not found.proven
    assert found.high == pytest.approx(math.asin(0.5), rel=1e-3) and found.low == pytest.approx(
        -math.asin(0.25), rel=1e-3
    )
    assert found.size == -found.low


def test_what_is_tested_is_tested_at_0_too():
    jump = Perturbation("jump", lambda x, s: x + (s == 0), 1, images=False)
    assert certified_severity(certificate(torch.zeros(1), Isotropic(1.0, 1), 0.5), jump) == Severity(0, 0, proven=False)


def test_a_function_may_answer_in_the_same_memory():
    """A hundred times as far above 0 as below, which is asked last."""
    memory, region = np.zeros(4), certificate(torch.zeros(4), Isotropic(0.5, 4), 1.0)
    further = lambda x, s: x + s * (1 if s > 0 else 0.01)  # noqa: E731
    bound = lambda x, low, high: np.full_like(x, (high - low) / 2)  # noqa: E731
    own = further, lambda x, s: np.copyto(memory, further(x, s)) or memory
    alone, shared = (Perturbation("own", it, 1, images=False, variation=bound) for it in own)
    assert certified_severity(region, shared) == certified_severity(region, alone)


class Kept(Monotone):
    """Answers in its own memory."""

    memory = torch.zeros(1, 4, dtype=torch.float64)

    def points(self, x, severities):
        if len(severities) > 1:
            return x + column(severities, x)
        return torch.add(x, column(severities, x), out=self.memory)


class Written(Monotone):
    def points(self, x, severities):
        return x.mul_(1 + severities.min()) * torch.ones(len(severities), 1)


class Single(Monotone):
    def points(self, x, severities):
        return (x + column(severities, x)).float()


class Lifted(Monotone):
    def points(self, x, severities):
        return x + 1 + column(severities, x)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x, s: x + s * np.random.default_rng().random(4), "own gives another image each time"),
        (Kept(), r"own: its points must give float64 images \[1, 4\] in memory of their own"),
        (Written(), "and leave x as it is"),
        (Single(), "must give float64"),
        (Lifted(), "must give x at the severity 0"),
    ],
)
def test_a_perturbation_of_which_nothing_follows_is_refused(function, message, linear):
    bound = lambda x, low, high: np.full_like(x, high - low)  # noqa: E731
    own, x = Perturbation("own", function, 1, images=False, variation=bound), torch.ones(4, dtype=torch.float64)
    smoothed = Smoothed(linear(torch.ones(4, dtype=torch.float64), 9.0), Isotropic(0.5, 4))
    for call in (
        lambda: certified_severity(certificate(x, Isotropic(0.5, 4), 1.0), own),
        lambda: certify_path(smoothed, x, own, 0, 0.1),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    assert (x == 1).all()


def test_the_limit_is_reached_and_an_abstention_certifies_nothing():
    x = torch.zeros(4)
    assert certified_severity(certificate(x, Isotropic(1.0, 4), 100.0), NAMES["brightness"]) == Severity(-2, 2)
    assert certified_severity(certificate(x, Isotropic(1.0, 4), 0.0, ABSTAIN), NAMES["brightness"]).size == 0


def test_inputs_that_are_no_images_get_the_perturbations_that_make_sense():
    found = certified_severities(certificate(image(6), Isotropic(0.5, 6), 1.0))
    assert set(found) == {"brightness", "contrast", "gaussian_noise", "salt_and_pepper"}
    with pytest.raises(ValueError, match="rotation needs images"):
        certified_severity(certificate(image(6), Isotropic(0.5, 6), 1.0), NAMES["rotation"])


def test_a_user_adds_one_as_a_function_which_gets_copies():
    def fade(x, severity):
        x *= 1 - severity
        return x

    x = image(1, 8, 8)
    for dtype in (torch.float32, torch.float64):
        region = certificate(x.to(dtype), Isotropic(0.5, 64), 1.0)
        found = certified_severities(region, (Perturbation("fade", fade, 1, "share", images=False),))
        assert found["fade"].high == pytest.approx(0.5 / torch.linalg.vector_norm(x).item(), rel=1e-3)
        assert torch.equal(region.x, x.to(dtype))
    bad = Perturbation("crop", lambda x, severity: x[..., 1:], 1)
    with pytest.raises(ValueError, match="crop must keep the input's shape"):
        certified_severity(certificate(x, Isotropic(0.5, 64), 1.0), bad)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"clamp": (1, 0)}, r"clamp=\(1, 0\): a lower and a larger value are needed"),
        ({"clamp": (0, math.nan)}, "a lower and a larger value"),
        ({"rounding": 0}, "rounding=0: a positive step is needed"),
    ],
)
def test_what_is_no_range_and_no_step_is_refused(options, message, shapes_unchecked):
    with pytest.raises(ValueError, match=message):
        certified_severity(certificate(torch.zeros(4), Isotropic(1.0, 4), 1.0), NAMES["brightness"], **options)


def test_the_channels_of_casts():
    x = image(3, 4, 4).double().numpy()
    moved = {name: (NAMES[name].function(x, 0.5) - x)[:, 0, 0].round(12).tolist() for name in NAMES if "cast" in name}
    assert moved == {"red_cast": [0.5, 0, 0], "green_cast": [0, 0.5, 0], "blue_cast": [0, 0, 0.5]}
    assert np.allclose(NAMES["warmth"].function(NAMES["coldness"].function(x, 0.3), 0.3), x)


def test_ramps_and_vignetting_have_closed_forms():
    x = image(1, 5, 7)
    for name, size in {"horizontal_ramp": 7, "vertical_ramp": 5}.items():
        ramp = np.linspace(-1, 1, size)
        exact = 1.7 * 0.5 / math.sqrt(35 / size * np.sum(ramp**2))
        assert close(certified_severity(certificate(x, Isotropic(0.5, 35), 1.7), NAMES[name]), exact)
    darkened = NAMES["vignetting"].function(np.ones((1, 5, 7)), 0.4)[0]
    assert darkened[[0, 0, -1, -1], [0, -1, 0, -1]] == pytest.approx(0.6) and darkened[2, 3] == 1


@pytest.mark.parametrize("name", ["defocus", "motion_blur", "blur"])
def test_blurs_keep_constants_and_the_mean_and_lower_the_contrast(name):
    assert np.allclose(NAMES[name].function(np.full((3, 9, 9), 0.3), 2.5), 0.3)
    point = np.zeros((1, 15, 15))
    point[0, 7, 7] = 1
    blurred = NAMES[name].function(point, 2.5)
    assert blurred.sum() == pytest.approx(1) and blurred.max() < 0.5
    if name == "motion_blur":
        assert np.count_nonzero(blurred.sum(axis=2)) == 1


def test_jpeg_rounds_to_less_and_less_and_keeps_what_lies_on_its_steps():
    x = image(1, 12, 12).double().numpy()
    changes = [np.linalg.norm(NAMES["jpeg_blocks"].function(x, severity) - x) for severity in (1e-6, 1.0, 100.0)]
    assert 0 < changes[0] < 1e-5 < changes[1] < changes[2] == pytest.approx(np.linalg.norm(x))
    once = NAMES["jpeg_blocks"].function(x, 0.3)
    assert np.allclose(NAMES["jpeg_blocks"].function(once, 0.3), once)


@pytest.mark.parametrize("kind", ["full", "kronecker"])
def test_no_corner_of_a_box_is_farther_than_its_bound(kind):
    """Least of all that which the gradient of the length points to; of small boxes at the radius it is not idle."""
    source, scale = torch.Generator().manual_seed(2), scale_of(kind, 192)
    region = Region(certificate(image(3, 8, 8), scale, 1.0), None, None)
    centres, half = torch.randn(2, 50, 3, 8, 8, generator=source, dtype=torch.float64)
    half = half.abs() * torch.logspace(-6, 0, 50, dtype=torch.float64).view(-1, 1, 1, 1)
    near = centres * ((1 - 1e-9) / region.length(centres)).view(-1, 1, 1, 1)
    for centre in (0.1 * centres, centres, near):
        bound, length = region.around(centre, half)
        slopes = scale.slopes(scale.whiten(centre.flatten(1))).view_as(centre)
        for signs in (slopes.sign(), *torch.randn(20, 3, 8, 8, generator=source, dtype=torch.float64).sign()):
            assert (region.length(centre + half * signs) <= bound * region.up).all()
        assert (bound <= length + region.spread(half)).all()
    worst = region.length(near + half * slopes.sign())
    assert ((bound - length)[:20] <= 1.1 * (worst - length)[:20]).all()
