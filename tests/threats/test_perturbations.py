"""Named perturbations, against closed forms of the severity that a certificate covers."""

import math

import numpy as np
import pytest
import torch

from rddrs.certification.certify import ABSTAIN, Certificate
from rddrs.certification.severities import FINER, STEPS, certified_severities, certified_severity
from rddrs.noise.full import Full
from rddrs.noise.isotropic import Isotropic
from rddrs.noise.scale import Scale
from rddrs.threats import PERTURBATIONS, Perturbation

NAMES = {it.name: it for it in PERTURBATIONS}


def image(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def certificate(x: torch.Tensor, scale: Scale, radius: float, prediction: int = 3) -> Certificate:
    return Certificate(x, scale, prediction, 0.9, radius, (1,), (1,), 1e-3, 0, 0, samples=1)


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


def closed_form(severity: float, limit: float) -> float:
    """The largest severity strictly below the exact one of those tested: of a grid, and of two finer ones in a gap."""
    grid = limit * (np.arange(STEPS + 1) / STEPS) ** 2
    for _ in range(3):
        low, high = grid[grid < severity].max(), grid[grid >= severity].min()
        grid = np.linspace(low, high, FINER + 1)
    return float(low)


@pytest.mark.parametrize("name", ["brightness", "checkerboard", "stripes"])
def test_patterns_of_constant_amplitude_have_a_closed_form(name):
    """|s pattern|_2 / sigma = s sqrt(d) / sigma < rho, rounded down to the grid."""
    x = image(1, 8, 8)
    found = certified_severity(certificate(x, Isotropic(0.5, 64), 1.7), NAMES[name])
    exact = 1.7 * 0.5 / math.sqrt(64)
    assert found == pytest.approx(closed_form(exact, NAMES[name].limit))
    assert (1 - 1e-3) * exact < found <= exact


def test_contrast_has_a_closed_form():
    x = image(5)
    exact = 1.7 * 0.1 / torch.linalg.vector_norm(x - x.mean()).item()
    found = certified_severity(certificate(x, Isotropic(0.1, 5), 1.7), NAMES["contrast"])
    assert found == pytest.approx(closed_form(exact, 1))


def test_a_larger_scale_along_a_pattern_certifies_more_of_it():
    x = image(1, 8, 8)
    pattern = torch.from_numpy(NAMES["checkerboard"].function(np.zeros((1, 8, 8)), 1.0)).flatten() / 8
    matrix = 0.5 * torch.eye(64) + 5 * torch.outer(pattern, pattern)
    wide = certified_severities(certificate(x, Full(matrix.float()), 1.5))
    ball = certified_severities(certificate(x, Isotropic(0.5, 64), 1.5))
    assert wide["checkerboard"] > 9 * ball["checkerboard"]
    assert wide["stripes"] == ball["stripes"]
    assert list(wide) == [name for name, it in NAMES.items() if it.applies((1, 8, 8))]


def test_every_severity_up_to_the_certified_one_is_inside():
    it = certificate(image(3, 8, 8), Isotropic(0.4, 192), 1.2)
    for perturbation in PERTURBATIONS:
        severity = certified_severity(it, perturbation)
        grid = perturbation.limit * (np.arange(1, STEPS + 1) / STEPS) ** 2
        points = [perturbation.function(it.x.double().numpy(), float(s)) for s in grid[grid <= severity]]
        assert not points or it.contains(torch.from_numpy(np.stack(points))).all()
        assert 0 <= severity < perturbation.limit


def test_a_perturbation_that_leaves_and_comes_back_counts_to_where_it_leaves():
    there_and_back = Perturbation("wave", lambda x, s: x + math.sin(s), 2 * math.pi, images=False)
    found = certified_severity(certificate(torch.zeros(1), Isotropic(1.0, 1), 0.5), there_and_back)
    assert found == pytest.approx(closed_form(math.asin(0.5), 2 * math.pi))


def test_the_limit_is_reached_and_an_abstention_certifies_nothing():
    x = torch.zeros(4)
    assert certified_severity(certificate(x, Isotropic(1.0, 4), 100.0), NAMES["brightness"]) == 2
    assert certified_severity(certificate(x, Isotropic(1.0, 4), 0.0, ABSTAIN), NAMES["brightness"]) == 0


def test_inputs_that_are_no_images_get_the_perturbations_that_make_sense():
    found = certified_severities(certificate(image(6), Isotropic(0.5, 6), 1.0))
    assert set(found) == {"brightness", "contrast", "gaussian_noise", "salt_and_pepper"}
    with pytest.raises(ValueError, match="rotation needs images"):
        certified_severity(certificate(image(6), Isotropic(0.5, 6), 1.0), NAMES["rotation"])


def test_a_user_adds_one_as_a_function():
    mine = Perturbation("fade", lambda x, severity: (1 - severity) * x, 1, "share", images=False)
    x = image(1, 8, 8)
    found = certified_severities(certificate(x, Isotropic(0.5, 64), 1.0), (mine,))
    assert found["fade"] == pytest.approx(closed_form(0.5 / torch.linalg.vector_norm(x).item(), 1))
    bad = Perturbation("crop", lambda x, severity: x[..., 1:], 1)
    with pytest.raises(ValueError, match="crop must keep the input's shape"):
        certified_severity(certificate(x, Isotropic(0.5, 64), 1.0), bad)


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
        found = certified_severity(certificate(x, Isotropic(0.5, 35), 1.7), NAMES[name])
        assert found == pytest.approx(closed_form(exact, NAMES[name].limit))
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
