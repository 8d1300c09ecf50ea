"""The smoothed classifier: PREDICT, its error rate, its keys."""

import numpy as np
import pytest
import torch
from scipy.stats import binom
from torch import nn

from rddrs.noise import Isotropic
from rddrs.smoothing import SmoothedClassifier

KINDS = ("isotropic", "diagonal", "full", "kronecker")


def near_half(linear, probability: float, dim: int = 4) -> tuple[SmoothedClassifier, torch.Tensor]:
    """A smoothed classifier that answers 1 at the origin with this probability."""
    weight = torch.zeros(dim)
    weight[0] = 1.0
    bias = float(torch.special.ndtri(torch.tensor(probability, dtype=torch.float64)))
    return SmoothedClassifier(linear(weight, bias), Isotropic(1.0, dim)), torch.zeros(dim)


def test_predict_errs_no_more_often_than_alpha(linear):
    """p = 0.52: 2,000 inputs at alpha = 0.05; a false alarm has probability 1e-6."""
    smoothed, x = near_half(linear, 0.52)
    found = smoothed.predict(x.expand(2000, -1), samples=100, alpha=0.05)
    assert (found == 0).sum() <= binom.isf(1e-6, 2000, 0.05)
    assert (found == -1).sum() > 1000 and (found == 1).any()


@pytest.mark.parametrize("kind", KINDS)
def test_frequencies_are_those_of_the_noise_of_the_scale(kind, oracle_of):
    """Against the linear oracle; a false alarm has probability 1e-6."""
    oracle = oracle_of(kind, 6, 0.7)
    shares = SmoothedClassifier(oracle.classifier, oracle.scale).frequencies(oracle.x.expand(20, -1), samples=1000)
    low, high = binom.interval(1 - 1e-6, 20_000, oracle.probability)
    assert low <= 1000 * shares[:, 1].sum() <= high
    torch.testing.assert_close(shares.sum(dim=1), torch.ones(20, dtype=torch.float64))


def test_with_a_seed_a_result_depends_on_its_own_input_alone(linear, scale_of):
    source = torch.Generator().manual_seed(0)
    smoothed = SmoothedClassifier(linear(torch.randn(12, generator=source), 0.1), scale_of("full", 12))
    inputs = torch.randn(30, 3, 4, generator=source)
    counts = smoothed.counts(inputs, samples=300, seed=3)
    order = torch.randperm(30, generator=source)
    assert torch.equal(smoothed.counts(inputs[order], samples=300, seed=3, batch=7), counts[order])
    assert torch.equal(smoothed.counts(inputs[4:5], samples=300, seed=3)[0], counts[4])
    assert not torch.equal(smoothed.counts(inputs, samples=300, seed=4), counts)


def test_without_a_seed_the_draws_are_fresh(linear):
    smoothed, x = near_half(linear, 0.5)
    first, second = (smoothed.counts(x.expand(20, -1), samples=200) for _ in range(2))
    assert not torch.equal(first, second) and len(first[:, 0].unique()) > 1


def test_threads_do_not_change_counts(linear, scale_of):
    smoothed = SmoothedClassifier(linear(torch.randn(12), 0.1), scale_of("kronecker", 12))
    inputs, threads = torch.randn(9, 12), torch.get_num_threads()
    alone = smoothed.counts(inputs, samples=300, seed=0, batch=64)
    torch.set_num_threads(3)
    try:
        assert torch.equal(smoothed.counts(inputs, samples=300, seed=0, batch=64), alone)
    finally:
        torch.set_num_threads(threads)


def test_no_class_may_be_first_or_second():
    def answers(inputs):
        logits = torch.zeros(len(inputs), 2)
        logits[:, 0] = inputs[:, 0]
        return torch.where(inputs[:, :1] > 0.3, torch.nan, logits)

    found = SmoothedClassifier(answers, Isotropic(0.1, 2)).predictions(torch.tensor([[2.0, 0.0], [0.3, 0.0]]), seed=0)
    assert found.classes.tolist() == [-1, -1]
    assert found.counts[0].sum() == 0 and 0 < found.counts[1].sum() < 1000


def test_on_a_grid_the_classifier_sees_its_multiples_alone():
    seen = []

    def answers(inputs):
        seen.append(inputs.clone())
        return torch.stack([inputs[:, 0], -inputs[:, 0]], dim=1)

    smoothed = SmoothedClassifier(answers, Isotropic(0.3, 2), norm="l1", grid=1 / 16)
    smoothed.predict(torch.tensor([[0.25, 0.5], [0.0, 1.0]]), samples=10)
    places = 16 * seen[-1]  # what came before was to try it
    assert torch.equal(places, places.round()) and places.min() >= -5 and places.max() <= 21
    with pytest.raises(ValueError, match="no multiple of grid"):
        smoothed.predict(torch.tensor([[0.2, 0.5]]))


def test_a_module_holds_a_module_and_takes_any_callable():
    network = nn.Sequential(nn.Linear(2, 3)).eval()
    smoothed = SmoothedClassifier(network, Isotropic(0.5, 2), grid=None)
    assert smoothed.classifier is network and not smoothed.training and "classifier.0.weight" in smoothed.state_dict()
    assert smoothed(torch.zeros(5, 2)).shape == (5, 3)
    plain = SmoothedClassifier(lambda inputs: inputs, Isotropic(0.5, 2))
    assert (plain.scale.dim, plain.norm, plain.grid) == (2, "l2", None)
    assert "Isotropic(sigma=0.5, dim=2)" in repr(plain)


def test_what_it_refuses(shapes_unchecked):
    with pytest.raises(ValueError, match="train mode"):
        SmoothedClassifier(nn.Linear(2, 2), Isotropic(0.5, 2))
    with pytest.raises(ValueError, match="norm='linf'"):
        SmoothedClassifier(nn.Linear(2, 2).eval(), Isotropic(0.5, 2), norm="linf")  # pyright: ignore
    smoothed = SmoothedClassifier(nn.Linear(2, 2).eval(), Isotropic(0.5, 2))
    for inputs, told in [
        (np.zeros((3, 2), np.float32), "not a torch.Tensor: torch.from_numpy"),
        (torch.zeros(3, 2, dtype=torch.long), "floating point"),
        (torch.full((1, 2), torch.nan), "NaN"),
        (torch.zeros(2), r"inputs\[None\]"),
        (torch.zeros(0, 2), "at least one"),
    ]:
        with pytest.raises(ValueError, match=told):
            smoothed.predict(inputs)  # pyright: ignore
    with pytest.raises(ValueError, match="samples"):
        smoothed.predict(torch.zeros(1, 2), samples=0)
    with pytest.raises(ValueError, match="alpha"):
        smoothed.predict(torch.zeros(1, 2), alpha=1.0)
