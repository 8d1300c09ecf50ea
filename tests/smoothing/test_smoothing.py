"""Monte Carlo: keyed random numbers, hard counts and soft probabilities."""

import itertools
import threading
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.special import expit
from scipy.stats import norm

from rddrs import Isotropic
from rddrs.noise import Purpose, Stream, family_of
from rddrs.smoothing import SmoothedClassifier, hard_counts, speed, votes
from rddrs.smoothing.edge import logits_of
from rddrs.smoothing.probabilities import soft_probabilities
from rddrs.smoothing.speed import measure_batch

draw = family_of("l2").draw
SAMPLES, BATCH = 1_003, 64
PILOT = Stream(0, 0, Purpose.PILOT)


@pytest.fixture
def oracle(oracle_of):
    return oracle_of("full", 12, radius=0.4)


def counts(oracle, samples=SAMPLES, workers=1, first=0, **keys):
    stream = Stream(**{"seed": 0, "index": 0, "purpose": Purpose.CERTIFICATION} | keys)
    smoothed = SmoothedClassifier(oracle.classifier, oracle.scale)
    return hard_counts(smoothed, oracle.x, stream.draws(samples, BATCH, first), workers).tolist()


def test_every_draw_is_counted_once(oracle):
    for samples in (1, BATCH - 1, BATCH, BATCH + 1, SAMPLES):
        assert sum(counts(oracle, samples=samples)) == samples


@pytest.mark.parametrize("workers", [2, 3, 16, 40])
def test_counts_do_not_depend_on_the_workers(oracle, workers):
    assert counts(oracle, workers=workers) == counts(oracle)


def test_counts_are_keyed_by_seed_index_and_purpose(oracle):
    first = counts(oracle)
    torch.manual_seed(123)
    torch.randn(7)
    assert counts(oracle) == first
    others = [{"seed": 1}, {"index": 1}, {"purpose": Purpose.SELECTION}, {"path": (0,)}, {"first": 100}]
    assert all(counts(oracle, **other) != first for other in others)


def test_counts_do_not_depend_on_the_order_of_the_inputs(oracle):
    forwards = {index: counts(oracle, index=index) for index in range(8)}
    backwards = {index: counts(oracle, index=index) for index in reversed(range(8))}
    assert forwards == backwards
    assert len({tuple(found) for found in forwards.values()}) > 1


def test_threads_that_count_at_the_same_time_do_not_disturb_each_other(oracle):
    found = {}
    threads = [
        threading.Thread(target=lambda index=index: found.update({index: counts(oracle, index=index)}))
        for index in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {index: counts(oracle, index=index) for index in range(4)}


def test_blocks_can_be_counted_in_two_parts(oracle):
    whole = torch.tensor(counts(oracle, samples=4 * BATCH))
    parts = [torch.tensor(counts(oracle, samples=2 * BATCH, first=first)) for first in (0, 2)]
    assert torch.equal(whole, parts[0] + parts[1])


def test_the_global_random_state_and_the_input_are_left_alone(oracle):
    state, x = torch.get_rng_state(), oracle.x.clone()
    counts(oracle)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(oracle.x, x)


@pytest.mark.parametrize(("seed", "index"), [(0, 0), (0, 7), (123456789, 9999)])
def test_streams_of_one_input_never_coincide(seed, index):
    """The widest blocks of every purpose included."""
    blocks = [0, 1, 2, 391, 1 << 23, (1 << 24) - 2, (1 << 24) - 1]
    paths = [*((block,) for block in blocks), *itertools.product(blocks, blocks[:3])]
    streams = [Stream(seed, index, purpose, path) for purpose, path in itertools.product(Purpose, paths)]
    assert len({stream.generator().initial_seed() for stream in streams}) == len(streams)
    assert len({tuple(torch.rand(4, generator=stream.generator()).tolist()) for stream in streams}) == len(streams)
    assert max(Purpose) < 1 << 8


def test_streams_of_different_seeds_and_inputs_differ():
    keys = itertools.product(range(3), range(50))
    assert len({Stream(seed, index, Purpose.PILOT).generator().initial_seed() for seed, index in keys}) == 150


@pytest.mark.parametrize("block", [-1, 1 << 24])
def test_a_child_out_of_range_is_refused(block):
    with pytest.raises(ValueError, match="path must be of numbers"):
        Stream(0, 0, Purpose.PILOT).child(block)


def test_neighbouring_streams_are_uncorrelated():
    """Largest of 300 correlations of 10,000 draws below 5.2 / 100: false alarms 300 * 2e-7 = 6e-5."""
    streams = [PILOT.child(block) for block in range(25)]
    rows = torch.cat([draw(1, torch.zeros(10_000), stream.generator()) for stream in streams])
    off_diagonal = torch.corrcoef(rows) - torch.eye(25)
    assert off_diagonal.abs().max() < 0.052


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_draws_follow_the_input(dtype):
    x = torch.zeros(2, 3, dtype=dtype)
    z = draw(5, x, PILOT.generator())
    assert z.shape == (5, 6) and z.dtype == dtype and z.device == x.device


def test_draws_where_the_network_answers_nan_count_for_no_class(oracle):
    def fails_on_one_side(inputs):
        logits = oracle.classifier(inputs)
        return logits.masked_fill(logits[:, 1:] <= 0, torch.nan)

    draws = Stream(0, 0, Purpose.CERTIFICATION).draws(SAMPLES, BATCH)
    found = hard_counts(SmoothedClassifier(fails_on_one_side, oracle.scale), oracle.x, draws).tolist()
    assert found == [0, counts(oracle)[1]]
    nan = float("nan")
    assert votes(torch.tensor([[0.0, 2.0, 1.0], [nan, 9.0, 9.0], [5.0, nan, 0.0]])).tolist() == [1, 3, 3]


def test_soft_probabilities_against_quadrature(linear):
    """E sigmoid(m + s z) by Gauss-Hermite quadrature; 40,000 samples, five standard errors: false alarms 6e-7."""
    steepness, sigma, count = 3.0, 0.8, 40_000
    weight, x = torch.tensor([0.6, -0.8], dtype=torch.float64), torch.tensor([0.5, 0.1], dtype=torch.float64)
    network = linear(weight, 0.2, steepness)
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    values = expit(steepness * ((weight @ x).item() + 0.2 + sigma * nodes))
    mean, square = (np.sum(weights * power) / np.sqrt(2 * np.pi) for power in (values, values**2))
    z = draw(count, x, Stream(3, 0, Purpose.ASCENT).generator())
    found = soft_probabilities(network, x, sigma * z)
    assert found.sum().item() == pytest.approx(1.0)
    assert abs(found[1].item() - mean) < norm.isf(3e-7) * np.sqrt((square - mean**2) / count)


def test_soft_probabilities_keep_the_gradient(linear):
    network, x = linear(torch.tensor([1.0, -2.0], dtype=torch.float64), 0.0), torch.zeros(2, dtype=torch.float64)
    z = draw(6, x, Stream(0, 0, Purpose.ASCENT).generator()).requires_grad_()
    assert torch.autograd.gradcheck(lambda noise: soft_probabilities(network, x, noise), z)


def test_the_measured_micro_batch_is_a_candidate(linear):
    assert measure_batch(linear(torch.ones(3), 0.0), torch.zeros(3), (2, 8)) in (2, 8)


class Timed:
    """A classifier that takes so many seconds a call, and a row, of its own clock; it has memory for so many rows."""

    now = 0.0

    def __init__(self, call=0.0, row=0.0, memory=1 << 20, error="CUDA out of memory"):
        self.call, self.row, self.memory, self.error, self.tried = call, row, memory, error, []

    def __call__(self, inputs):
        self.tried.append(len(inputs))
        if len(inputs) > self.memory:
            raise RuntimeError(self.error)
        Timed.now += self.call + self.row * len(inputs)
        return inputs.new_zeros(len(inputs), 2)


def test_the_micro_batch_grows_while_the_rate_does_and_the_memory_lasts(monkeypatch):
    monkeypatch.setattr(speed, "time", SimpleNamespace(perf_counter=lambda: Timed.now))
    x = torch.zeros(3)
    grows = Timed(call=0.001)
    assert measure_batch(grows, x) == max(grows.tried) == 65_536
    assert measure_batch(Timed(call=0.001, memory=5_000), x) == 4_096
    assert measure_batch(Timed(call=0.001, memory=13), x) == 8  # the first does not fit: half of it, and so on
    steady = Timed(row=2.0**-14)
    assert measure_batch(steady, x) == max(steady.tried) == 256  # all are as good: the largest
    slow = Timed(call=1.01)
    assert measure_batch(slow, x, (2, 4, 8)) == 2 and slow.tried == [2, 2]


class OnGPU(torch.Tensor):
    is_cuda = True


@pytest.mark.parametrize(("kind", "found"), [(torch.Tensor, 128), (OnGPU, 65_536)])
def test_a_gpu_that_others_slow_down_meanwhile_gets_its_micro_batch_all_the_same(monkeypatch, kind, found):
    monkeypatch.setattr(speed, "_seconds", lambda classifier, x, batch: 0.4 if batch in (256, 512) else 0.1)
    assert speed._fastest(Timed(), torch.zeros(3).as_subclass(kind), speed.BATCHES) == found


def test_what_fails_for_another_reason_or_on_one_row_is_not_hidden():
    for broken in (Timed(memory=0, error="no such layer"), Timed(memory=0)):
        with pytest.raises(RuntimeError, match=broken.error):
            measure_batch(broken, torch.zeros(3), (4, 8))
    with pytest.raises(ValueError, match="out of memory; give a smaller batch"):
        logits_of(Timed(memory=1), torch.zeros(2, 3))


def test_isotropic_counts_are_those_of_the_plain_sum(linear):
    network, x = linear(torch.tensor([1.0, 0.5]), 0.1), torch.tensor([0.2, -0.1])
    stream = Stream(4, 2, Purpose.PILOT)
    found = hard_counts(SmoothedClassifier(network, Isotropic(0.5, 2)), x, stream.draws(32, 32))
    noisy = x + 0.5 * draw(32, x, stream.generator())
    assert found.tolist() == torch.bincount(network(noisy).argmax(dim=1), minlength=2).tolist()
