"""Random perturbations of training inputs: what they are, and that seed and row decide them."""

import pytest
import torch
from scipy.stats import chisquare, kstest

from rddrs import Perturbation
from rddrs.certification.paths import feared
from rddrs.data.inputs import Stored
from rddrs.noise import Purpose, Stream
from rddrs.threats import PERTURBATIONS
from rddrs.training.augmentation import Augmentation, Augmented, cropped

NAMED = {it.name: it for it in PERTURBATIONS}
IMAGES = torch.rand(40, 1, 6, 6, generator=torch.Generator().manual_seed(0))


def source(block=0):
    return Stream(3, 0, Purpose.TRAINING).child(block).generator()


def test_severities_are_uniform_of_both_signs_where_there_are_two():
    """Kolmogorov-Smirnov at 1e-6 over 2,000 inputs, twice: false alarms 2e-6."""
    inputs = torch.zeros(2000, 3)
    for two_sided, low in ((True, -0.4), (False, 0.0)):
        added = Perturbation("added", lambda x, s: x + s, 1, images=False, two_sided=two_sided)
        moved = Augmentation({added: 0.4}, None)(inputs, source())
        assert (moved == moved[:, :1]).all()
        assert kstest(moved[:, 0].numpy(), "uniform", (low, 0.4 - low)).pvalue > 1e-6


def test_every_input_is_what_the_perturbations_make_of_it_one_by_one_clamped_once():
    limits = {NAMED["rotation"]: 30.0, NAMED["brightness"]: 0.5, NAMED["blur"]: 1.5}
    augmentation = Augmentation(limits)
    moved, shares = augmentation(IMAGES, source()), torch.rand(40, 3, generator=source()).double()
    for x, found, (turn, light, width) in zip(IMAGES, moved, shares.tolist(), strict=True):
        expected = x
        for name, severity in {"rotation": 60 * turn - 30, "brightness": light - 0.5, "blur": 1.5 * width}.items():
            expected = NAMED[name].points(expected, torch.tensor([severity], dtype=torch.float64))[0]
        assert torch.allclose(found, expected.clamp(0, 1).float(), atol=1e-6)
    assert moved.dtype == IMAGES.dtype and moved.min() == 0 and moved.max() == 1
    assert Augmentation(limits, None)(IMAGES, source()).max() > 1


def test_seed_and_row_decide_a_perturbed_input():
    inputs = Augmented(Stored(IMAGES), Augmentation({NAMED["shift"]: 2.0}), seed=5)
    assert torch.equal(inputs[[7, 3]], torch.stack([inputs[7], inputs[3]])) and inputs.shape == IMAGES.shape
    assert torch.equal(inputs[:], inputs[list(range(40))]) and not torch.equal(inputs[:], IMAGES)
    other = Augmented(Stored(IMAGES), Augmentation({NAMED["shift"]: 2.0}), seed=6)
    assert not torch.equal(inputs[:], other[:]) and inputs.digest != other.digest


def test_a_user_s_perturbation_is_applied_to_each_input():
    turned = Perturbation("turned", lambda x, s: x[:, ::-1] if s > 0 else x, 1)
    moved = Augmentation({turned: 1.0})(IMAGES, source())
    same = (moved == IMAGES).flatten(1).all(dim=1)
    assert 5 < same.sum() < 35 and torch.equal(moved[~same], IMAGES[~same].flip(2))


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match="rotation needs images"):
        Augmentation({NAMED["rotation"]: 5.0}).require((4,))
    broken = Perturbation("broken", lambda x, s: x * (float("nan") if s else 1), 1, images=False)
    with pytest.raises(ValueError, match="broken gives NaN"):
        Augmentation({broken: 1.0}).require((4,))
    assert feared("rotation+brightness") == (NAMED["rotation"], NAMED["brightness"])


def test_crops_are_shifts_by_whole_pixels_all_of_them_equally_often():
    """5^2 shifts, 2,500 images: chi-square with 24 degrees of freedom; false alarms 1e-4."""
    image = torch.rand(2, 5, 6, generator=source()) + 0.1
    found = cropped(image.expand(2500, -1, -1, -1), 2, source())
    shifts = {}
    for down in range(-2, 3):
        for right in range(-2, 3):
            moved = torch.zeros_like(image)
            moved[:, max(down, 0) : 5 + min(down, 0), max(right, 0) : 6 + min(right, 0)] = image[
                :, max(-down, 0) : 5 + min(-down, 0), max(-right, 0) : 6 + min(-right, 0)
            ]
            shifts[down, right] = int((found == moved).flatten(1).all(dim=1).sum())
    assert sum(shifts.values()) == 2500
    assert chisquare([*shifts.values()]).pvalue > 1e-4
