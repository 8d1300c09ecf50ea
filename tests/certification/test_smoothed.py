"""The smoothed classifier certifies as `certify` does."""

from typing import Any

import torch

import rddrs


def test_it_certifies_one_input_or_many_as_certify_does(oracle_of):
    oracle = oracle_of("full", 6, 0.8)
    smoothed = rddrs.Smoothed(oracle.classifier, oracle.scale)
    options: dict[str, Any] = {"samples": 1000, "seed": 2}
    expected = rddrs.certify(oracle.classifier, oracle.x, oracle.scale, index=5, **options)
    one = smoothed.certify(oracle.x, index=5, **options)
    assert (one.counts, one.radius) == (expected.counts, expected.radius)
    batch = torch.stack([-oracle.x, oracle.x])
    for inputs in (batch, list(batch)):
        found = smoothed.certify(inputs, index=4, **options)
        assert [it.index for it in found] == [4, 5] and found[1].counts == expected.counts


def test_it_certifies_in_its_norm_and_on_its_grid(linear):
    smoothed = rddrs.Smoothed(linear(torch.ones(4), 0.0), rddrs.Isotropic(0.5, 4), norm="l1", grid=1 / 8)
    certificate = smoothed.certify(torch.full((4,), 0.5), samples=1000)
    assert (certificate.norm, certificate.grid, certificate.prediction) == ("l1", 1 / 8, 1)
