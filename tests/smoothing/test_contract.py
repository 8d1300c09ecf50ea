"""Classifiers that break the contract: refused, or certified as what they are."""

import math
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
import torch
from scipy.stats import binom
from torch import Tensor, nn

from rddrs import RS, Full, Isotropic, Smoothed, audit, certify
from rddrs.models import Accelerated
from rddrs.noise import LAST_BLOCK, Purpose, Stream
from rddrs.smoothing import check_contract, on_threads, worker_threads

DIM, ALPHA = 8, 0.02
WEIGHT = torch.zeros(DIM, 2)
WEIGHT[0] = torch.tensor([1.0, -1.0])


class Honest(nn.Module):
    """Answers 0 where the first entry is positive, each row by itself: rho is that entry over sigma."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ WEIGHT.to(x.dtype)


class Static(Honest):
    """Answers in the same memory at every call."""

    def __init__(self) -> None:
        super().__init__()
        self.memory = torch.empty(4096, 2)

    def forward(self, x: Tensor) -> Tensor:
        found = super().forward(x).detach()
        self.memory[: len(x)] = found
        return self.memory[: len(x)]


class InPlace(Honest):
    """Writes over what it is handed."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.mul_(2).clamp_(-50, 50))


class Strided(Honest):
    """Answers every second column of a larger tensor."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([super().forward(x), torch.zeros(len(x), 2, dtype=x.dtype)], dim=-1)[..., 0]


class HalfInside(Honest):
    """Rounds its input."""

    def forward(self, x: Tensor) -> Tensor:
        return (x.bfloat16() @ WEIGHT.bfloat16()).to(x.dtype)


class MeanOfTheBatch(Honest):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.mean(dim=0, keepdim=True).expand(len(x), -1))


class StatisticsOfTheBatch(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.normalize = nn.BatchNorm1d(DIM, affine=False, track_running_stats=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.normalize(x) @ WEIGHT + torch.tensor([0.5, -0.5])


class Quantised(Honest):
    """Scales by the largest entry of the batch, as dynamic quantisation does."""

    def forward(self, x: Tensor) -> Tensor:
        step = x.abs().max() / 127
        return super().forward((x / step).round() * step)


class Placed(Honest):
    """Looks at a row's place."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + torch.arange(len(x))[:, None] * torch.tensor([1.0, 0.0])


class Lonely(Honest):
    """Answers one input alone otherwise."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * (-1 if len(x) == 1 else 1)


class Random(Honest):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(nn.functional.dropout(x, 0.5, training=True))


class Counting(Honest):
    """Answers otherwise at every second call."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return super().forward(x) * (-1) ** self.calls


class Averaging(Honest):
    """Remembers a running mean of all that it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.mean = torch.zeros(DIM)

    def forward(self, x: Tensor) -> Tensor:
        self.mean = 0.9 * self.mean + 0.1 * x.detach().mean(dim=0)
        return super().forward(self.mean + x / 100)


CERTIFIED = (Honest, Static, InPlace, Strided, HalfInside)
REFUSED = (MeanOfTheBatch, StatisticsOfTheBatch, Quantised, Placed, Lonely, Random, Counting, Averaging)
WRAPPED = {
    "itself": lambda network: network,
    "method": lambda network: network.forward,
    "partial": partial,
    "lambda": lambda network: lambda x: network(x),
}


def test_2000_networks_that_misbehave_earn_no_more_false_certificates_than_alpha_allows():
    """False alarm: 1e-6 by the binomial tail."""
    source, false, certified, refused = random.Random(0), 0, 0, 0
    for case in range(2_000):
        kind = source.choice(CERTIFIED + REFUSED)
        sigma, rho = source.choice([0.25, 1.0]), source.uniform(0.05, 1.5)
        x = torch.zeros(DIM)
        x[0] = sigma * rho
        classifier = WRAPPED[source.choice(list(WRAPPED))](kind().eval())
        options = {"samples": 300, "selection_samples": 20, "alpha": ALPHA, "batch": source.choice([16, 64, 128])}
        if source.random() < 0.1:
            with pytest.raises(ValueError, match=r"biased.*inside the classifier"):
                certify(classifier, x.to(source.choice([torch.float16, torch.bfloat16])), Isotropic(sigma, DIM))
            continue
        try:
            found = certify(classifier, x, Isotropic(sigma, DIM), seed=case, **options)
        except ValueError as error:
            assert kind in REFUSED and str(error).startswith("classifier: it")
            refused += 1
            continue
        assert kind in CERTIFIED
        certified += 1
        false += found.prediction == 1 or found.radius > rho * (1.01 if kind is HalfInside else 1)
    assert certified > 500 and refused > 800
    assert false <= binom.isf(1e-6, certified, ALPHA)


@pytest.mark.parametrize("kind", REFUSED)
def test_a_method_and_an_audit_refuse_it_too(kind):
    x = torch.full((DIM,), 0.5)
    certificate = certify(Honest().eval(), x, Isotropic(0.5, DIM), samples=200)
    with pytest.raises(ValueError, match="classifier: it"):
        RS().propose(kind().eval(), x, sigma=0.5)
    with pytest.raises(ValueError, match="classifier: it"):
        audit(kind().eval(), certificate, x, samples=200)


@pytest.mark.parametrize("wrap", WRAPPED.values(), ids=WRAPPED)
def test_train_mode_is_found_behind_what_wraps_the_network_and_its_statistics_stay(wrap):
    network = nn.Sequential(nn.Linear(DIM, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)).train()
    before = network.get_buffer("1.running_mean").clone()
    with pytest.raises(ValueError, match="is in train mode"):
        certify(wrap(network), torch.zeros(DIM), Isotropic(0.5, DIM), samples=200)
    assert torch.equal(network.get_buffer("1.running_mean"), before)


class Sharing(Honest):
    """Keeps its activations on itself between two layers, as a session with one request does."""

    def __init__(self) -> None:
        super().__init__()
        self.turn = threading.Barrier(2, timeout=0.2)

    def forward(self, x: Tensor) -> Tensor:
        self.kept = x
        try:
            self.turn.wait()
        except threading.BrokenBarrierError:
            self.turn.reset()
        return super().forward(self.kept)


def test_a_network_that_answers_with_the_rows_of_another_thread_is_found_before_the_first_count():
    x = torch.full((DIM,), 0.5)
    check_contract(Sharing().eval(), x)
    with pytest.raises(ValueError, match="two threads that call it at once"):
        certify(Sharing().eval(), x, Isotropic(0.5, DIM), samples=200, workers=2)


@pytest.mark.parametrize(
    "change", ["data", "vector", "assign", "module", "parameter", "buffer", "setting", "attribute", "hook"]
)
def test_an_accelerated_network_never_answers_with_what_it_was(change):
    torch.manual_seed(0)

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.normalize, self.bend = nn.Linear(DIM, 4), nn.BatchNorm1d(4), nn.LeakyReLU(0.1)
            self.last, self.factor = nn.Linear(4, 2), 1.0

        def forward(self, x: Tensor) -> Tensor:
            return self.factor * self.last(self.bend(self.normalize(self.first(x))))

    network, other = (Network().eval().requires_grad_(False) for _ in range(2))
    x = torch.randn(DIM)
    fast = Accelerated(network, "bfloat16")
    scale = Isotropic(0.5, DIM)
    certify(fast, x, scale, samples=200)
    with torch.inference_mode():
        before = fast(x[None])
    if change == "data":
        network.last.weight.data.copy_(-network.last.weight)
    elif change == "vector":
        nn.utils.vector_to_parameters(-nn.utils.parameters_to_vector(network.parameters()), network.parameters())
    elif change == "assign":
        network.load_state_dict(other.state_dict(), assign=True)
    elif change == "module":
        network.last = other.last
    elif change == "parameter":
        network.last.weight = other.last.weight
    elif change == "buffer":
        network.normalize.get_buffer("running_mean").data.add_(2)
    elif change == "setting":
        network.bend.negative_slope = 5
    elif change == "hook":
        network.last.register_forward_hook(lambda module, given, answer: -answer)
    else:
        network.factor = -1.0
    network.requires_grad_(False)
    expected = Accelerated(network, "bfloat16")
    with torch.inference_mode():
        assert torch.equal(fast(x[None]), expected(x[None])) and not torch.equal(fast(x[None]), before)
    after = certify(fast, x, scale, samples=200)
    assert after.counts == certify(expected, x, scale, samples=200).counts


def test_no_block_of_samples_is_that_of_the_uniform_number():
    with pytest.raises(ValueError, match="enlarge it"):
        Stream(0, 0, Purpose.PILOT).draws(LAST_BLOCK + 1, batch=1)


@pytest.mark.parametrize("condition", [1e6, 1e10, 1e13, 1e15, 1e16])
@pytest.mark.parametrize("dim", [2, 6])
def test_of_an_ill_conditioned_scale_no_ball_and_no_length_is_overstated(condition, dim):
    mpmath = pytest.importorskip("mpmath")
    mpmath.mp.dps = 60
    torch.manual_seed(dim)
    axes, _ = torch.linalg.qr(torch.randn(dim, dim, dtype=torch.float64))
    matrix = (axes * torch.logspace(0, math.log10(condition), dim, dtype=torch.float64)) @ axes.mT
    matrix = (matrix + matrix.mT) / 2
    try:
        scale = Full(matrix)
    except ValueError:
        return
    exact = mpmath.mpf(1) * mpmath.matrix(matrix.tolist())
    values = mpmath.eigsy(exact, eigvals_only=True)
    assert scale.eigenvalues[0].item() <= min(values) and scale.norm >= max(values)
    for seed in range(5):
        delta = torch.randn(dim, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        true = mpmath.norm(exact**-1 * mpmath.matrix(delta.tolist()))
        assert scale.whiten(delta[None]).norm().item() * (1 + scale.rounding) >= true


class Masked(StatisticsOfTheBatch):
    """Has a third class, which it never answers."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.pad(super().forward(x), (0, 1), value=-1e9)


def test_a_logit_that_decides_nothing_hides_no_dependence_on_the_batch():
    with pytest.raises(ValueError, match="with the other rows of the batch"):
        check_contract(Masked().eval(), torch.full((DIM,), 0.5))
    check_contract(lambda u: nn.functional.pad(u @ WEIGHT, (0, 1), value=-1e9), torch.full((DIM,), 0.5))


def test_a_setting_of_one_thread_alone_is_certified_in_it_and_refused_in_several():
    setting = threading.local()
    setting.sign = -1

    def classifier(u: Tensor) -> Tensor:
        return getattr(setting, "sign", 1) * (u @ WEIGHT)

    x, scale = torch.full((DIM,), 0.5), Isotropic(0.1, DIM)
    with on_threads(2):
        assert certify(classifier, x, scale, samples=200).prediction == classifier(x[None]).argmax()
        with pytest.raises(ValueError, match="a setting of one thread"):
            certify(classifier, x, scale, samples=200, workers=2)


@pytest.mark.parametrize("pool", [ThreadPoolExecutor, worker_threads])
def test_threads_of_a_users_own_are_tried_at_once_before_they_count(pool):
    x, network = torch.full((DIM,), 0.5), Sharing().eval()
    network.turn = threading.Barrier(2, timeout=0.02)
    with pool(1) as threads:
        asked = threads.submit(check_contract, network, x)
        if pool is worker_threads:  # the only one
            asked.result()
        else:
            with pytest.raises(ValueError, match="two threads that call it at once"):
                asked.result()


def test_a_classifier_may_ask_a_smoothed_one():
    inner = Smoothed(Honest().eval(), Isotropic(0.1, DIM))
    found = []

    def ask() -> None:
        found.append(
            certify(lambda u: inner.counts(u, 2, seed=0).double(), torch.full((DIM,), 0.5), inner.scale, samples=20)
        )

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(20)
    assert found and found[0].prediction == 0
