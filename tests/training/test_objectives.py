"""The contract of every objective, and each loss against its formula, written again in NumPy."""

import math

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, softmax
from scipy.stats import binom, norm
from torch import nn

from rddrs.training.objectives import CatRS, Consistency, Gaussian, Macer, Objective, SmoothAdv

OBJECTIVES: dict[str, Objective] = {
    "gaussian": Gaussian(),
    "consistency": Consistency(copies=3),
    "smoothadv": SmoothAdv(copies=3, steps=4, epsilon=0.5, warm_up=2),
    "macer": Macer(copies=5, sharpness=2.0),
    "cat_rs": CatRS(copies=3, epsilon=0.3),
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
    torch.manual_seed(3)
    return objective.loss(network, *batch, noise, sigma=SIGMA, epoch=epoch)


@every_objective
def test_the_loss_has_a_gradient_and_the_logits_are_those_of_every_copy(objective, network, batch):
    loss, logits = evaluate(objective, network, batch)
    assert loss.ndim == 0 and torch.isfinite(loss)
    assert logits.shape == (getattr(objective, "copies", 1), INPUTS, CLASSES)
    loss.backward()
    assert all(torch.isfinite(each.grad).all() and each.grad.abs().max() > 0 for each in network.parameters())


@every_objective
def test_every_layer_stays_in_its_mode(objective, batch):
    """A frozen layer is in eval mode in training: attacks put it back into train mode, and its statistics moved."""
    statistics, last = nn.BatchNorm1d(6).double(), nn.Linear(6, CLASSES).double()
    with torch.no_grad():  # all copies of class 1 are right: those that cat_rs attacks
        last.weight.zero_()
        last.bias.copy_(torch.tensor([0.0, 9.0, 0.0, 0.0]))
    network = nn.Sequential(nn.Flatten(), statistics, nn.Dropout(0.1), last).train()
    statistics.eval()
    evaluate(objective, network, (batch[0], torch.ones_like(batch[1])))
    assert [module.training for module in network] == [True, False, True, True]
    assert statistics.get_buffer("num_batches_tracked") == 0


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


def divergence(target, logits):
    return float((target * (np.log(target) - log_softmax(logits))).sum())


@pytest.mark.parametrize("steps", [1, 5])
def test_cat_rs(network, batch, steps):
    """The attack again without autograd: of a linear network the gradient of KL(t | F) is W'(F - t)."""
    inputs, labels = batch
    labels[:4] = network(inputs[:4]).argmax(dim=1)
    copies, weight, epsilon = 4, 0.7, 0.3
    logits, drawn = noisy_logits(network, inputs, copies), noise(copies).flatten(2).numpy()
    slopes, offset = network[1].weight.detach().numpy(), network[1].bias.detach().numpy()
    torch.manual_seed(3)
    uniform = torch.rand(copies, INPUTS).numpy()
    expected, attacked = 0.0, 0
    for place, (x, label) in enumerate(zip(inputs.flatten(1).numpy(), labels.tolist(), strict=True)):
        own = logits[:, place]
        fitted = int((uniform[:, place] < (own.argmax(axis=1) == label).mean()).sum())
        expected += np.sort(-log_softmax(own, axis=1)[:, label])[: max(fitted, 1)].sum() / copies / INPUTS
        if fitted < copies:
            continue
        attacked, found, target = attacked + 1, [], softmax(own, axis=1).mean(axis=0)
        for start in drawn[:, place]:
            delta = np.zeros_like(start)
            for _ in range(steps):
                gradient = slopes.T @ (softmax(slopes @ (x + start + delta) + offset) - target)
                delta = delta + 2 * epsilon / steps * gradient / np.linalg.norm(gradient)
                delta *= min(1.0, epsilon / np.linalg.norm(delta))
            found.append(divergence(target, slopes @ (x + start + delta) + offset))
        expected += weight * max(found) / INPUTS
    assert 0 < attacked < INPUTS
    objective = CatRS(copies=copies, weight=weight, steps=steps, epsilon=epsilon)
    assert evaluate(objective, network, (inputs, labels))[0].item() == pytest.approx(expected)


def test_cat_rs_fits_as_many_copies_as_a_binomial_of_the_share_that_is_right(batch):
    """Two of four copies are right: 4,200 draws of K, and the loss counts max(K, 1); false alarm below 1e-6."""

    class Half(nn.Module):
        def forward(self, inputs):
            return torch.tensor([[4.0, 0.0]] * 2 * INPUTS + [[0.0, 4.0]] * 2 * INPUTS)

    inputs, labels = batch[0], torch.zeros(INPUTS, dtype=torch.long)
    small, large = math.log1p(math.exp(-4.0)), math.log1p(math.exp(4.0))
    losses = [0.0, small, 2 * small, 2 * small + large, 2 * small + 2 * large]
    shares = binom.pmf(range(5), 4, 0.5)
    mean = sum(share * losses[max(k, 1)] for k, share in enumerate(shares)) / 4
    deviation = math.sqrt(sum(share * (losses[max(k, 1)] / 4 - mean) ** 2 for k, share in enumerate(shares)))
    torch.manual_seed(0)
    objective = CatRS(weight=0.0)
    draws = [objective.loss(Half(), inputs, labels, noise, sigma=1, epoch=0)[0].item() for _ in range(700)]
    assert np.mean(draws) == pytest.approx(mean, abs=5 * deviation / math.sqrt(700 * INPUTS))


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
