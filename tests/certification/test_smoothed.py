"""The smoothed classifier certifies as `certify` does."""

from typing import Any

import pytest
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


def test_inputs_in_other_units_than_the_card_has_them_in_are_warned_of(linear, recwarn):
    card = {"range": [0, 1]}
    smoothed = rddrs.Smoothed(linear(torch.ones(4), 0.0), rddrs.Isotropic(0.5, 4), card=card)
    x = torch.full((4,), 0.5)
    asked: list[Any] = [
        lambda it: smoothed.predict(it[None], samples=100),
        lambda it: smoothed.certify(it, samples=100),
        lambda it: smoothed.certify([it], samples=100),
        lambda it: smoothed.certify_path(it, "brightness", -0.1, 0.1, samples=100, clamp=None),
    ]
    for ask in asked:
        ask(x - 1)  # as an attack may leave the range
        assert not recwarn.list
        with pytest.warns(UserWarning, match="inputs from 127.5 to 127.5, the card has them from 0 to 1: are they in"):
            ask(255 * x)


def test_it_certifies_in_its_norm_and_on_its_grid(linear):
    smoothed = rddrs.Smoothed(linear(torch.ones(4), 0.0), rddrs.Isotropic(0.5, 4), norm="l1", grid=1 / 8)
    certificate = smoothed.certify(torch.full((4,), 0.5), samples=1000)
    assert (certificate.norm, certificate.grid, certificate.prediction) == ("l1", 1 / 8, 1)
