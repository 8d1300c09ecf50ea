"""The contract of every objective, and each loss against its formula, written again in NumPy."""

import math

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, softmax
from scipy.stats import norm
from torch import nn

from rddrs.training.objectives import Consistency, Gaussian, Macer, Objective, SmoothAdv

OBJECTIVES: dict[str, Objective] = {
    "gaussian": Gaussian(),
    "consistency": Consistency(copies=3),
    "smoothadv": SmoothAdv(copies=3, steps=4, epsilon=0.5, warm_up=2),
    "macer": Macer(copies=5, sharpness=2.0),
}
every_objective = pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES)
SIGMA, INPUTS, SHAPE, CLASSES = 0.4, 6, (2, 3), 4


@pytest.fixture
def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(6, CLASSES)).double()


@pytest.fixture
def batch():
    source = torch.Generator().manual_seed(1)
    inputs = torch.randn(INPUTS, *SHAPE, generator=source, dtype=torch.float64)
    return inputs, torch.arange(INPUTS) % CLASSES


def noise(count):
    drawn = torch.randn(count, INPUTS, *SHAPE, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    return SIGMA * drawn


def evaluate(objective, network, batch, epoch=9):
    return objective.loss(network, *batch, noise, sigma=SIGMA, epoch=epoch)


@every_objective
def test_the_loss_has_a_gradient_and_the_logits_are_those_of_every_copy(objective, network, batch):
    loss, logits = evaluate(objective, network, batch)
    assert loss.ndim == 0 and torch.isfinite(loss)
    assert logits.shape == (getattr(objective, "copies", 1), INPUTS, CLASSES)
    loss.backward()
    assert all(torch.isfinite(each.grad).all() and each.grad.abs().max() > 0 for each in network.parameters())


@every_objective
def test_a_small_step_lowers_the_loss(objective, network, batch):
    """A small one: the hinge of macer jumps where a step makes one more input right."""
    optimizer = torch.optim.SGD(network.parameters(), 1e-4)
    before = evaluate(objective, network, batch)[0]
    before.backward()
    optimizer.step()
    assert evaluate(objective, network, batch)[0].item() < before.item()


def noisy_logits(network, inputs, count):
    with torch.no_grad():
        return np.stack([network(inputs + part).numpy() for part in noise(count)])


def test_gaussian(network, batch):
    inputs, labels = batch
    logs = log_softmax(noisy_logits(network, inputs, 1)[0], axis=1)
    assert evaluate(Gaussian(), network, batch)[0].item() == pytest.approx(-logs[range(INPUTS), labels].mean())


def test_consistency(network, batch):
    inputs, labels = batch
    logits = noisy_logits(network, inputs, 3)
    each, mean = softmax(logits, axis=2), softmax(logits, axis=2).mean(axis=0)
    cross_entropy = -np.log(each[:, range(INPUTS), labels]).mean()
    divergence = (mean * np.log(mean / each)).sum(axis=2).mean()
    entropy = -(mean * np.log(mean)).sum(axis=1).mean()
    expected = cross_entropy + 7 * divergence + 0.3 * entropy
    found = evaluate(Consistency(copies=3, weight=7.0, entropy=0.3), network, batch)[0].item()
    assert found == pytest.approx(expected)


def test_macer(network, batch):
    inputs, labels = batch
    logits = noisy_logits(network, inputs, 5)
    expected = 0.0
    for place, label in enumerate(labels.tolist()):
        expected -= math.log(softmax(logits[:, place], axis=1).mean(axis=0)[label]) / INPUTS
        sharp = softmax(2 * logits[:, place], axis=1).mean(axis=0)
        second, first = np.sort(sharp)[-2:]
        if sharp.argmax() == label and norm.ppf(first) - norm.ppf(second) <= 1.5:
            expected += 3 * SIGMA / 2 * (1.5 - norm.ppf(first) + norm.ppf(second)) / INPUTS
    objective = Macer(copies=5, weight=3.0, margin=1.5, sharpness=2.0)
    assert evaluate(objective, network, batch)[0].item() == pytest.approx(expected)


def test_macer_is_finite_where_all_copies_are_certain(batch):
    class Certain(nn.Module):
        def forward(self, inputs):
            return 1e4 * nn.functional.one_hot(torch.arange(len(inputs)) % CLASSES, CLASSES).double()

    assert torch.isfinite(evaluate(Macer(copies=2), Certain(), batch)[0])


def test_the_attack_of_smoothadv_stays_in_its_ball_and_hurts(network, batch):
    inputs, labels = batch
    objective = OBJECTIVES["smoothadv"]
    assert isinstance(objective, SmoothAdv)
    drawn = noise(3)
    delta = objective._attack(network, inputs, labels, drawn, 0.5)
    assert delta.flatten(1).norm(dim=1) == pytest.approx(0.5), "a linear network is attacked up to the edge"

    def likelihood(points):
        return torch.softmax(network((points + drawn).flatten(0, 1)).view(3, INPUTS, CLASSES), dim=2).mean(dim=0)

    own = (range(INPUTS), labels)
    assert (likelihood(inputs + delta)[own] < likelihood(inputs)[own]).all()


def test_smoothadv_warms_up(network, batch):
    first, second, third = (evaluate(OBJECTIVES["smoothadv"], network, batch, epoch)[0].item() for epoch in (0, 1, 2))
    assert first < second == third
