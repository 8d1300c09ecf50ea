"""The laws of every perturbation: T_0 is the identity, no point of a cell is beyond its bound, bounds are not idle."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch.nn.functional import avg_pool2d

from rddrs.threats import PERTURBATIONS, SHIFT_DOWN, Perturbation, convolution
from rddrs.threats.interpolation import Rotation, Shift, Zoom, moved_bends, moved_boxes, moved_points

NAMES = {it.name: it for it in PERTURBATIONS}
CELLS, INSIDE, IMAGES = 84, 20, 6
"""10,080 severities of 504 cells for every perturbation."""


def images() -> list[torch.Tensor]:
    """Noise, blurred noise of all values and with a black ground, and values of both signs; even and odd sizes."""
    source = torch.Generator().manual_seed(0)
    found = []
    for place, size in zip(range(IMAGES), [(8, 8), (13, 10), (11, 16)] * 2, strict=True):
        x = torch.rand(3, *size, generator=source, dtype=torch.float64)
        smooth = avg_pool2d(x, 3, 1, 1)
        kinds = [x, (smooth - smooth.min()) / (smooth.max() - smooth.min()), (8 * smooth - 3.6).clamp(0, 1), 2 * x - 1]
        found.append(kinds[place % 4])
    return found


def cells(it: Perturbation, source: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Anywhere within the limits, of widths from a ten-thousandth to a third of it; some begin at 0, some end there."""
    at, wide, kind = torch.rand(3, CELLS, generator=source, dtype=torch.float64)
    least = -it.limit if it.two_sided else 0.0
    middle, half = least + (it.limit - least) * at, it.limit * 10 ** (-3.5 * wide - 0.8)
    low, high = (middle - half).clamp_min(least), (middle + half).clamp_max(it.limit)
    low = torch.where(kind < 0.1, 0.0, torch.where(kind > 0.95, it.limit * (1 - 1e-3), low))
    return low, torch.where(kind < 0.1, high.abs(), torch.where(kind > 0.95, it.limit, high))


@pytest.mark.parametrize("name", NAMES)
def test_no_severity_of_a_cell_is_beyond_its_bound(name):
    """Nor is a clamped image; and in l2 a bound is at most 4 times what was seen for nine cells in ten."""
    it, source = NAMES[name], torch.Generator().manual_seed(1)
    ratios = []
    for x in images():
        low, high = cells(it, source)
        middle, bounds = it.points(x, (low + high) / 2), it.variations(x, low, high)
        assert bounds.shape == (CELLS, *x.shape) and (bounds >= 0).all()
        shares = torch.rand(INSIDE, CELLS, generator=source, dtype=torch.float64)
        shares[:2] = torch.tensor([[0.0], [1.0]])
        points = it.points(x, torch.lerp(low, high, shares).flatten()).unflatten(0, (INSIDE, CELLS))
        for found, centre in ((points, middle), (points.clamp(0, 1), middle.clamp(0, 1))):
            assert ((found - centre).abs() <= bounds + 1e-13 * (1 + centre.abs())).all()
        seen = (points - middle).flatten(2).norm(dim=2).amax(dim=0)
        ratios.append((bounds.flatten(1).norm(dim=1) / seen)[seen > 1e-9])
    ratio = torch.cat(ratios)
    assert ratio.median() < 4
    assert (ratio < 4).double().mean() > 0.9


def known(attribute: str) -> list[str]:
    return [name for name, it in NAMES.items() if getattr(it.function, attribute)]


def inner(
    it: Perturbation, x: torch.Tensor, low: torch.Tensor, high: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Severities in every cell, and what becomes of x at them: [k, n] and [k, n, *shape]."""
    shares = torch.linspace(0, 1, INSIDE, dtype=torch.float64)[:, None]
    severities = torch.lerp(low, high, shares)
    return severities, it.points(x, severities.flatten()).unflatten(0, (INSIDE, CELLS))


@pytest.mark.parametrize("name", known("straight"))
def test_no_severity_of_a_cell_is_farther_from_the_chord_than_its_bend(name):
    """Every image is within it, entry by entry, of one place of the chord; it shrinks faster than the cell."""
    it, source = NAMES[name], torch.Generator().manual_seed(3)
    for x in images()[:3]:
        low, high = cells(it, source)
        bends, (_, points) = it.bends(x, low, high), inner(it, x, low, high)
        chord = points[-1] - points[0]
        way = torch.linspace(0, 1, 201, dtype=torch.float64)[:, None, None]
        for cell in range(0, CELLS, 7):
            places = points[0, cell].flatten() + way * chord[cell].flatten()
            away = (points[:, cell].flatten(1) - places).abs() - bends[cell].flatten()
            near = chord[cell].abs().max() / 200  # places are looked at in steps
            assert (away.amax(dim=-1).amin(dim=0) <= near + 1e-12).all()
        narrow = it.bends(x, high * 0.5, high * 0.5 * (1 + 1e-3)).flatten(1).norm(dim=1)
        moved = (it.points(x, high * 0.5 * (1 + 1e-3)) - it.points(x, high * 0.5)).flatten(1).norm(dim=1)
        assert ((narrow <= moved) | (moved < 1e-9)).double().mean() > 0.9


@pytest.mark.parametrize("name", known("monotone"))
def test_no_entry_of_a_monotone_change_turns_back(name):
    it, source = NAMES[name], torch.Generator().manual_seed(4)
    for x in images()[:3]:
        _, points = inner(it, x, *cells(it, source))
        steps = points.diff(dim=0)
        assert ((steps >= -1e-13).all(dim=0) | (steps <= 1e-13).all(dim=0)).all()


@pytest.mark.parametrize("name", known("in_balls"))
def test_no_severity_of_a_cell_is_outside_of_its_ball(name):
    """And for nine cells in ten the ball is at most 4 times as large as what is seen in it, about its centre."""
    it, source, ratios = NAMES[name], torch.Generator().manual_seed(5), []
    for x in images():
        low, high = cells(it, source)
        centres, radii = it.balls(x, low, high)
        _, points = inner(it, x, low, high)
        seen = (points - centres).flatten(2).norm(dim=2).amax(dim=0)
        assert (seen <= radii + 1e-12).all()
        ratios.append((radii / seen)[seen > 1e-9])
    assert (torch.cat(ratios) < 4).double().mean() > 0.9


def test_a_quotient_that_lies_between_two_numbers_may_be_rounded_to_both():
    """One coefficient of 64 is 1.5 steps at the severity 5, exactly, and large others leave an error in it."""
    signs = torch.tensor([1, -1, -1, 1, 1, -1, -1, 1], dtype=torch.float64)
    signs, step, source = torch.outer(signs, signs)[None], 5 * 9 / 8, torch.Generator().manual_seed(0)
    cell = torch.tensor([[5 - 5e-9], [5.0]], dtype=torch.float64)
    for _ in range(20):
        x = (1e6 * torch.rand(1, 8, 8, generator=source, dtype=torch.float64)).round()
        x[0, 0, 0] += 8 * 1.5 * step - (signs * x).sum()
        (image,), (centre,), (radius,) = NAMES["jpeg_blocks"].points(x, cell[1]), *NAMES["jpeg_blocks"].balls(x, *cell)
        lower, upper = NAMES["jpeg_blocks"].boxes(x, *cell)
        for number in (1, 2):
            other = image + (number * step - (signs * image).sum() / 8) * signs / 8
            assert (other - centre).norm() <= radius + 1e-3
            assert (lower - 1e-3 <= other).all() and (other <= upper + 1e-3).all()


@pytest.mark.parametrize("name", NAMES)
def test_many_inputs_and_one_at_a_time_give_the_same(name):
    it = NAMES[name]
    inputs = torch.rand(4, it.channels or 2, 9, 6, generator=torch.Generator().manual_seed(0))
    severities = torch.tensor([0.0, 0.1, 0.3, 0.6], dtype=torch.float64) * it.limit
    alone = [it.points(x, severities[place : place + 1])[0] for place, x in enumerate(inputs)]
    torch.testing.assert_close(it.each(inputs, severities), torch.stack(alone), rtol=0, atol=1e-12)
    torch.testing.assert_close(alone[0], inputs[0].double(), rtol=0, atol=1e-14)
    array = it.function(inputs[2].numpy(), 0.3 * it.limit)
    np.testing.assert_allclose(array, alone[2].numpy(), rtol=0, atol=1e-12)


def test_what_scipy_does():
    """A Gaussian that is cut at 4 standard deviations differs by what is beyond them."""
    x = torch.rand(3, 9, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    rows = x.numpy()
    for severity in (0.3, 2.6, 8.0):
        blurred = ndimage.gaussian_filter(rows, (0, severity, severity), truncate=9)
        moved = ndimage.shift(rows, (0, 0, severity), order=1, mode="grid-constant")
        turned = ndimage.rotate(rows, 5 * severity, axes=(-1, -2), reshape=False, order=1, mode="grid-constant")
        for name, asked, expected in (("blur", severity, blurred), ("shift", severity, moved)):
            np.testing.assert_allclose(NAMES[name].function(rows, asked), expected, atol=1e-12)
        np.testing.assert_allclose(NAMES["rotation"].function(rows, 5 * severity), turned, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_an_outer_perturbation_carries_the_variation_of_its_input(name):
    it, source = NAMES[name], torch.Generator().manual_seed(2)
    x = torch.rand(it.channels or 1, 9, 8, generator=source, dtype=torch.float64)
    bounds = 0.1 * torch.rand(CELLS, *x.shape, generator=source, dtype=torch.float64)
    low, high = cells(it, source)
    if name == "jpeg_blocks":
        with pytest.raises(ValueError, match="jpeg_blocks cannot be the outer one of two perturbations"):
            it.carried(bounds, x, low, high)
        return
    carried = it.carried(bounds, x, low, high)
    for _ in range(INSIDE):
        at = torch.lerp(low, high, torch.rand(CELLS, generator=source, dtype=torch.float64))
        signs = torch.rand(bounds.shape, generator=source, dtype=torch.float64).round() * 2 - 1
        moved = (it.each(x + signs * bounds, at) - it.points(x, at)).abs()
        assert (moved <= carried + 1e-13).all()


def test_down_is_to_the_right_of_an_image_on_its_side():
    x, right = images()[1], NAMES["shift"]
    low, high = torch.tensor([[-2.3, 0.0, 1.1], [-2.1, 0.4, 1.1]], dtype=torch.float64)
    found = (SHIFT_DOWN.points(x, low), *SHIFT_DOWN.boxes(x, low, high))
    expected = (right.points(x.mT, low), *right.boxes(x.mT, low, high))
    assert all(torch.equal(down, side.mT) for down, side in zip(found, expected, strict=True))


@pytest.mark.parametrize("it", [NAMES["shift"], SHIFT_DOWN])
def test_what_starts_straight_is_on_a_line_up_to_1(it):
    assert known("starts_straight") == ["shift"]
    severities = torch.linspace(-1, 1, 41, dtype=torch.float64)
    for x in images():
        ends = it.points(x, severities.sign())
        expected = torch.lerp(x.expand_as(ends), ends, severities.abs().view(-1, 1, 1, 1))
        torch.testing.assert_close(it.points(x, severities), expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("name", ["blur", "defocus", "motion_blur"])
def test_large_images_are_blurred_as_small_ones_are(name, monkeypatch):
    severities, expected = torch.tensor([0.0, 0.4, 2.6], dtype=torch.float64), []
    for least in (convolution.LARGE, 1):
        monkeypatch.setattr(convolution, "LARGE", least)
        expected.append(NAMES[name].points(images()[1], severities))
    torch.testing.assert_close(*expected, rtol=0, atol=1e-14)


def test_changes_that_are_looked_at_together_are_what_they_are_alone():
    """Points and bends are the same; boxes hold the points, and may be smaller together."""
    x, moves, source = images()[2][None], [Rotation(), Shift(), Zoom()], torch.Generator().manual_seed(6)
    low, high = torch.tensor([[-0.3, 0.0, 0.1], [-0.29, 0.02, 0.6]], dtype=torch.float64)
    cells = [(it, low, high) for it in moves]
    at = [(it, torch.lerp(low, high, torch.rand(3, generator=source, dtype=torch.float64))) for it in moves]
    points, bends, (lower, upper) = moved_points(x, at), moved_bends(x, cells), moved_boxes(x, cells)
    assert torch.equal(points, torch.cat([it.points(x, severities) for it, severities in at]))
    assert torch.equal(bends, torch.cat([it.bends(x, low, high) for it in moves]))
    least, most = (torch.cat(ends) for ends in zip(*(it.boxes(x, low, high) for it in moves), strict=True))
    assert (least <= lower).all() and (upper <= most).all()
    assert (lower - 1e-13 <= points).all() and (points <= upper + 1e-13).all()


def test_a_function_gets_copies_and_its_bound_is_checked():
    def darkened(x, severity):
        x *= 1 - severity
        return x

    x = torch.ones(4, dtype=torch.float64)
    mine = Perturbation("darkened", darkened, 1, images=False, variation=lambda x, low, high: (high - low) / 2 * x)
    cell = torch.tensor([0.2]), torch.tensor([0.4])
    assert mine.points(x, torch.tensor([0.5, 0.25])).tolist() == [[0.5] * 4, [0.75] * 4] and x.sum() == 4
    torch.testing.assert_close(mine.variations(x, *cell), torch.full((1, 4), 0.1, dtype=torch.float64))
    with pytest.raises(ValueError, match="plain has no bound of its variation"):
        Perturbation("plain", darkened, 1, images=False).variations(x, *cell)
    with pytest.raises(ValueError, match=r"wrong: variation\(x, low, high\) must give numbers >= 0"):
        Perturbation("wrong", darkened, 1, images=False, variation=lambda x, low, high: x - 2).variations(x, *cell)
    with pytest.raises(ValueError, match="crop must keep the input's shape"):
        Perturbation("crop", lambda x, severity: x[1:], 1, images=False).points(x, torch.tensor([0.5]))
    with pytest.raises(ValueError, match="plain cannot be the outer one"):
        Perturbation("plain", darkened, 1, images=False).carried(x[None], x, *cell)
