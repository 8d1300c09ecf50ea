"""What a threat is made of, and what its displacements are."""

import importlib
import math
from functools import partial

import numpy as np
import pytest
import torch

from rddrs.threats import PERTURBATIONS, Perturbation, Threat, Way
from rddrs.threats.threat import CLAMPED_SHARES

NAMES = {it.name: it for it in PERTURBATIONS}
INPUTS = torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def displaced(threat: Threat, inputs: torch.Tensor = INPUTS) -> list[torch.Tensor]:
    return [torch.cat(list(threat.displacements(it, inputs))) for it in threat.perturbations]


def test_displacements_are_in_units_of_the_severity():
    """Of brightness, which is linear, exactly; of a rotation the two signs differ."""
    bright, turned = displaced(Threat("brightness", "rotation"))
    torch.testing.assert_close(bright, torch.ones(20, 64))
    assert turned.shape == (20, 64)
    assert not torch.allclose(turned[0], turned[1])
    (blurred,) = displaced(Threat("blur"))
    assert len(blurred) == 10, "no negative blur"


def test_displacements_of_a_clamped_threat_are_those_of_clamped_images_along_the_path():
    """Of every severity, far from 0 too: what is white already moves less the farther a brighter image goes."""
    threat = Threat("brightness", clamp=(0, 1))
    (it,) = threat.perturbations
    (found,) = displaced(threat)
    severities = [sign * share * it.limit for share in CLAMPED_SHARES for sign in (1, -1)]
    expected = [((x.double() + s).clamp(0, 1) - x.double()).flatten() / s for x in INPUTS for s in severities]
    torch.testing.assert_close(found.double(), torch.stack(expected), rtol=0, atol=1e-6)
    sizes = found.view(len(INPUTS), -1, 2, 64)[:, :, 0].norm(dim=-1)
    assert max(CLAMPED_SHARES) >= 0.2 and (sizes.diff(dim=1) < 0).all()


def test_of_a_part_that_is_on_a_path_displacements_are_steps_all_along_it():
    """A step of brightness is 1 everywhere, clipped 1 in part; one of rotation is the slope there, of all angles."""
    rotation, brightness = (it for it in PERTURBATIONS if it.name in ("rotation", "brightness"))
    x = torch.rand(9, 1, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    way = Way((rotation, brightness), (-40.0, -0.3), (40.0, 0.5))
    for clamp in (None, (0.0, 1.0)):
        threat = Threat("rotation", "brightness", "contrast", clamp=clamp, along=[way])
        (steps,) = threat.displacements(brightness, x)
        assert len(steps) == 72 and (steps <= 1 + 1e-9).all()
        assert (steps > 1 - 1e-9).all() == (clamp is None)
        (turned,) = threat.displacements(rotation, x)
        lengths, near = turned.norm(dim=1).view(9, 8), next(Threat("rotation").displacements(rotation, x)).norm(dim=1)
        assert 0.3 * near.mean() < lengths.mean() < 3 * near.mean() and (lengths.std(dim=1) > 0).all()
        assert "along=[rotation+brightness: [-40.0, -0.3] to [40.0, 0.5]]" in repr(threat)
        (plain,) = threat.displacements(threat.perturbations[2], x)
        assert torch.equal(plain, next(Threat("contrast", clamp=clamp).displacements(threat.perturbations[2], x)))
    assert repr(Threat("contrast", along=[way])) == repr(Threat("contrast"))


def test_parts_of_every_kind():
    def fade(x, severity):
        return (1 - severity) * x

    pattern = torch.arange(64.0).view(1, 8, 8)
    mine = Perturbation("mine", fade, 1)
    found = Threat("brightness", mine, fade, pattern, pattern.numpy() + 1)
    assert [it.name for it in found.perturbations[:3]] == ["brightness", "mine", "fade"]
    parts = displaced(found)
    torch.testing.assert_close(parts[1][0], -INPUTS[0].flatten())
    torch.testing.assert_close(parts[3], pattern.flatten().expand(20, 64))
    assert found.reported[: len(PERTURBATIONS)] == PERTURBATIONS
    assert len(found.reported) == len(PERTURBATIONS) + 4


def test_weights_sum_to_one_and_the_volume_is_a_part():
    assert Threat().volume == 1
    assert Threat("blur").volume == 0
    found = Threat("blur", "brightness", weights=(2, 1), volume=1)
    assert found.weights == (0.5, 0.25) and found.volume == 0.25
    assert repr(found) == "Threat({'blur': 0.5, 'brightness': 0.25}, volume=0.25)"


def test_another_pattern_is_another_threat():
    assert repr(Threat(torch.ones(4))) == repr(Threat(np.ones(4))) != repr(Threat(torch.zeros(4)))


def test_another_function_of_the_same_name_is_another_threat(tmp_path, monkeypatch):
    """Of another module, of edited code, or with another limit: keys are made of what is written here."""
    monkeypatch.syspath_prepend(tmp_path)
    found = []
    for name, share in (("hazy", 1), ("foggy", 1), ("hazier", 2)):
        (tmp_path / f"{name}.py").write_text(f"def fog(x, severity):\n    return x + {share} * severity\n")
        fog = importlib.import_module(name).fog
        found += [repr(Threat(fog)), repr(Threat(fog)), repr(Threat(Perturbation("fog", fog, 3)))]
    assert found[0] == found[1] and len(set(found)) == 6


@pytest.mark.parametrize("name", NAMES)
def test_every_perturbation_of_the_project_is_a_threat(name):
    Threat(name).require((3, 8, 8) if NAMES[name].channels == 3 else (1, 8, 8))


def grain(x, severity):
    return x + severity * np.random.default_rng().random(x.shape)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Threat("brightnes"), "there is no perturbation brightnes: rotation, shift"),
        (lambda: Threat("blur", weights=(1, 2)), "2 weights for 1 perturbations"),
        (lambda: Threat("blur", weights=(-1,)), "must be finite, not negative"),
        (lambda: Threat("blur", weights=(math.inf,)), "must be finite"),
        (lambda: Threat("blur", weights=(0,)), "not all 0"),
        (lambda: Threat("blur", clamp=(0, math.inf)), r"clamp=\(0, inf\): a lower and a larger value are needed"),
        (lambda: Threat("blur", "blur"), "every name once"),
        (lambda: Threat(Perturbation("blur", lambda x, s: x + s, 1)), "blur is a perturbation of the project: give"),
        (lambda: Threat(partial(np.add)), "has no name: give a Perturbation"),
        (lambda: Threat("red_cast").require((1, 8, 8)), r"red_cast needs images \[3, height, width\]"),
        (lambda: Threat(Perturbation("crop", lambda x, s: x[1:], 1, images=False)).require((4,)), "keep the input"),
        (lambda: Threat(Perturbation("none", lambda x, s: x, 1, images=False)).require((4,)), "moves an input .* no"),
        (lambda: Threat(grain).require((4,)), "threat: grain fails .* another image each time"),
        (lambda: Threat(torch.ones(5)).require((4,)), "fails on an input of shape"),
    ],
)
def test_what_is_no_threat_is_refused(make, message, shapes_unchecked):
    with pytest.raises(ValueError, match=message):
        make()
