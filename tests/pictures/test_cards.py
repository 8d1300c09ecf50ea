"""What certificates and proposals show of themselves."""

import base64
import io
import re

import pytest
import torch
from PIL import Image

from rddrs import ANCER, RS, Isotropic, certify

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
