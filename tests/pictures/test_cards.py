"""What certificates and proposals show of themselves."""

import base64
import io
import re

import pytest
import torch
from PIL import Image

from rddrs import ANCER, RS, Diagonal, Isotropic, certify
from rddrs.pictures import portrait

X = torch.full((1, 4, 4), 0.5)


def classifier(inputs):
    return torch.stack([inputs.flatten(1).sum(dim=1), 0.1 * inputs[:, 0, 0, 0]], dim=1)


def picture_in(text: str) -> Image.Image:
    (encoded,) = re.findall(r"data:image/png;base64,([^\"]+)", text)
    return Image.open(io.BytesIO(base64.b64decode(encoded)))


def test_a_certificate_shows_its_three_radii_rounded_down_and_its_picture():
    certificate = certify(classifier, X, Isotropic(0.2, 16), samples=1000, index=7)
    assert certificate.radius == pytest.approx(2.4633, abs=1e-4)
    radii = "radius 2.463, ball 0.492, proxy 0.492"
    assert repr(certificate) == f"Certificate(input 7: class 0, {radii}, n = 1000, alpha = 0.001)"
    assert "<td>2.463</td>" in certificate._repr_html_() and picture_in(certificate._repr_html_()).width > 160


def test_an_abstention_is_called_one():
    certificate = certify(lambda inputs: inputs[:, 0, 0, :2], X, Isotropic(0.5, 16), samples=1000)
    assert "abstention, radius 0.000, ball 0.000, proxy 0.000" in repr(certificate)


def test_a_proposal_shows_what_a_radius_is_multiplied_with():
    proposal = RS().propose(classifier, X, sigma=0.25)
    factors = "ball / radius 0.25, proxy / radius 0.25, longest axis / radius 0.25"
    assert repr(proposal) == f"Proposal(Isotropic, done, {factors})"
    proposal = ANCER(iterations=5, samples=50).propose(classifier, X, sigma=0.25)
    assert proposal.x is not None and torch.equal(proposal.x, X)
    assert picture_in(proposal._repr_html_()).height > 160


def test_noise_has_one_scale_of_colours_in_all_portraits():
    """Of more noise it is darker, whatever else is in the picture; the same noise has the same colour everywhere."""

    def shade(*noise: float, x: torch.Tensor = X) -> list[int]:
        plane = portrait(x, Diagonal(torch.tensor(noise).repeat(16 // len(noise)))).convert("L")
        return [plane.getpixel((169 + 40 * column + 20, 100)) for column in range(len(noise))]  # type: ignore[misc]

    isotropic, (least, *_, most) = shade(0.25, 0.25)[0], shade(0.25, 0.5, 1.0, 3.3)
    assert isotropic == least > most
    assert shade(2.5, 2.5, x=10 * X)[0] == isotropic, "of inputs of ten times the range the bar has ten times the noise"
    assert shade(0.001, 1000.0) == shade(0.01, 100.0), "beyond the bar"
