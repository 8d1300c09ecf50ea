"""What a user hands over: networks in train mode, answers that are no logits, odd inputs and odd callables."""

import functools
import gc
import weakref
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from rddrs import ANCER, RDDRS, RS, Diagonal, GlobalScale, Isotropic, Reference, attack, audit, certify, fidelity
from rddrs.noise import Purpose, Stream
from rddrs.smoothing import Known, SmoothedClassifier, check_evaluates, hard_counts, logits_of

X, SCALE = torch.tensor([1.0, 0.0]), Isotropic(0.2, 2)
REFERENCE = Reference(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]).repeat(8, 1), torch.tensor([0, 1]).repeat(8))


def classifier(inputs):
    return torch.stack([inputs[:, 0], -inputs[:, 0]], dim=1)


CERTIFICATE = certify(classifier, X, SCALE, samples=200)
USES = {
    "propose": lambda network: RS().propose(network, X, sigma=0.2),
    "certify": lambda network: certify(network, X, SCALE, samples=200),
    "fidelity": lambda network: fidelity(network, SCALE, REFERENCE, sigma=0.2),
    "attack": lambda network: attack(network, CERTIFICATE, samples=200),
    "audit": lambda network: audit(network, CERTIFICATE, X, samples=200),
}


def network():
    torch.manual_seed(0)
    blocks = nn.Sequential(nn.BatchNorm1d(4), nn.Dropout())
    return nn.Sequential(nn.Linear(2, 4), blocks, nn.Linear(4, 2)).eval()


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_a_network_in_train_mode_is_refused_and_its_first_such_module_named(use):
    trained = network()
    use(trained)
    statistics = trained.get_buffer("1.0.running_mean").clone()
    trained[1].train()
    with pytest.raises(ValueError, match=r"module 1 \(Sequential\) is in train mode: call \.eval\(\)"):
        use(trained)
    trained[1].training = False
    for given in (trained, trained.forward):
        with pytest.raises(ValueError, match=r"module 1\.0 \(BatchNorm1d\)"):
            use(given)
    trained.train()
    with pytest.raises(ValueError, match="classifier: Sequential is in train mode"):
        use(trained)
    assert torch.equal(trained.get_buffer("1.0.running_mean"), statistics)
    use(trained.eval())


class Holder:
    """Shows a network, and is itself no callable."""

    def __init__(self, shown):
        self.shown = shown

    def logits(self, inputs):
        return self.shown(inputs)


@pytest.mark.parametrize(
    "given",
    [
        lambda network: Holder(network).logits,
        lambda network: torch.no_grad()(lambda inputs: network(inputs)),
        lambda network: functools.partial(functools.partial(Holder(network).logits)),
        lambda network: functools.lru_cache(lambda inputs, network=network: network(inputs)),
        lambda network: lambda inputs: network.forward(inputs),
    ],
    ids=["a method of what is no callable", "decorated", "partial", "cached, a default", "a method in a closure"],
)
def test_a_network_in_train_mode_is_found_behind_what_uses_it(given):
    check_evaluates(given(network()))
    with pytest.raises(ValueError, match="is in train mode"):
        check_evaluates(given(network().train()))


def test_any_callable_can_be_looked_through():
    def unfinished(inputs):
        return later(inputs)

    def endless(inputs):
        return endless(inputs)

    odd: list[Any] = [unfinished, endless, torch.relu, np.sin, len, Holder, np.vectorize(abs)]
    for each in odd:
        check_evaluates(each)
    later = classifier
    check_evaluates(unfinished)


def test_what_is_no_network_has_no_mode():
    check_evaluates(classifier)
    check_evaluates(functools.partial(classifier))


class Changing:
    """Answers `first` classes in the first `calls` calls, then `then`."""

    def __init__(self, calls, first=2, then=3):
        self.calls, self.first, self.then = calls, first, then

    def __call__(self, inputs):
        self.calls -= 1
        return inputs.new_ones(len(inputs), self.first if self.calls >= 0 else self.then)


WRONG = {
    "a row too few": (lambda inputs: classifier(inputs)[1:], r"\[8, k\], not shape \[7, 2\]"),
    "rows twice": (lambda inputs: classifier(inputs).repeat(2, 1), r"\[8, k\], not shape \[16, 2\]"),
    "one answer": (lambda inputs: classifier(inputs).mean(dim=0, keepdim=True), r"not shape \[1, 2\]"),
    "rank 1": (lambda inputs: inputs[:, 0], r"not shape \[8\]"),
    "rank 3": (lambda inputs: classifier(inputs)[..., None], r"not shape \[8, 2, 1\]"),
    "no tensor": (lambda inputs: [classifier(inputs)], "not a list"),
    "one class": (lambda inputs: inputs[:, :1], "at least 2 classes"),
}


@pytest.mark.parametrize(("wrong", "message"), WRONG.values(), ids=WRONG)
def test_answers_that_are_no_logits_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        certify(wrong, X, SCALE, samples=200)
    for method in (ANCER(samples=20, iterations=2), GlobalScale(samples=4, iterations=2)):
        with pytest.raises(ValueError, match="classifier"):
            method.propose(wrong, X, sigma=0.2, reference=REFERENCE)
    with pytest.raises(ValueError, match="classifier"):
        fidelity(wrong, SCALE, REFERENCE, sigma=0.2)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (nn.Linear(2, 2, device="meta"), "torch.float32 inputs .* on cpu: .*meta"),
        (nn.Linear(2, 2).double(), "torch.float32 inputs .*dtype"),
        (nn.Linear(3, 2), r"inputs of shape \[\d+, 2\].*cannot be multiplied"),
    ],
    ids=["device", "precision", "shape"],
)
def test_a_network_that_cannot_take_the_inputs_is_refused(network, message):
    with pytest.raises(ValueError, match=message):
        certify(network.eval(), X, SCALE, samples=200)
    with pytest.raises(ValueError, match=message):
        RS().propose(network.eval(), X, sigma=0.2)


@pytest.mark.parametrize(("calls", "target_radius"), [(1, None), (2, None), (3, None), (1, 0.1)])
def test_the_number_of_classes_must_not_change_from_call_to_call(calls, target_radius):
    """After the selection samples, which take one call, and among those of the certification."""
    options = {"samples": 1_000, "batch": 100, "target_radius": target_radius}
    for then in (3, 4):
        with pytest.raises(ValueError, match=rf"{then} classes after 2|\[2, {then}\] classes in turn"):
            certify(Changing(calls, then=then), X, SCALE, **options)
    draws = Stream(0, 0, Purpose.PILOT).draws(1_000, 100)
    with pytest.raises(ValueError, match="must not change"):
        hard_counts(SmoothedClassifier(Changing(calls), SCALE), X, draws, workers=2)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.tensor([255, 0], dtype=torch.uint8), "input 7 holds torch.uint8.*units of sigma"),
        (torch.tensor([1, 0]), "input 7 holds torch.int64"),
        (torch.tensor([True, False]), "input 7 holds torch.bool"),
        (torch.tensor([1j, 0]), "input 7 holds torch.complex64"),
        (np.array([0.0, 1.0])[::-1], "input 7 is a ndarray.*ascontiguousarray"),
    ],
    ids=["uint8", "int64", "bool", "complex", "NumPy"],
)
def test_inputs_that_are_no_floating_point_tensors_are_refused(x, message, shapes_unchecked):
    with pytest.raises(ValueError, match=message):
        certify(classifier, x, SCALE, index=7)
    with pytest.raises(ValueError, match=message):
        RS().propose(classifier, x, sigma=0.2, index=7)


@pytest.mark.parametrize(
    ("inputs", "labels"),
    [(torch.ones(2, 2), [0, -1]), (torch.ones(2, 2, dtype=torch.uint8), [0, 1])],
    ids=["label", "uint8"],
)
def test_a_reference_of_no_classes_or_no_numbers_is_refused(inputs, labels, shapes_unchecked):
    with pytest.raises(ValueError, match=r"reference: the (smallest label is -1|inputs .torch.uint8)"):
        Reference(inputs, torch.tensor(labels))


class Equal:
    """An unhashable callable, equal to all of its kind."""

    def __init__(self, sign=1):
        self.sign = sign

    def __eq__(self, other):
        return True

    def __call__(self, inputs):
        return self.sign * classifier(inputs)

    def method(self, inputs):
        return self(inputs)


class Slotted:
    """A callable that cannot be referenced weakly."""

    __slots__ = ("calls",)

    def __call__(self, inputs):
        return classifier(inputs)


@pytest.mark.parametrize(
    "given",
    [Equal(), Equal().method, functools.partial(classifier), Slotted(), Slotted().__call__],
    ids=["unhashable", "bound method", "partial", "slots", "bound method of slots"],
)
def test_any_callable_is_a_classifier(given):
    method = GlobalScale(samples=4, iterations=2, outer=16, rounds=1, guard=0.5)
    proposal = method.propose(given, X, sigma=0.2, reference=REFERENCE)
    assert method.propose(given, X, sigma=0.2, reference=REFERENCE).scale is proposal.scale
    assert certify(given, X, proposal.scale, samples=200).prediction == 0
    assert fidelity(given, SCALE, REFERENCE, sigma=0.2).value == 1


def test_what_is_known_of_a_classifier_is_never_that_of_another():
    first, second = Equal(), Equal(-1)
    for one, other in ((first, second), (first.method, second.method)):
        reference = Reference(REFERENCE.inputs, REFERENCE.labels)
        assert reference.baseline(one, 0.2, 0) == 1
        assert reference.baseline(other, 0.2, 0) == 0
    method = GlobalScale()
    scales = [Diagonal(torch.ones(2)), Diagonal(torch.ones(2))]
    for one, scale in zip((first, second.method), scales, strict=True):
        method.adopt(one, scale, sigma=0.2)
    assert method.known(first, REFERENCE, 0.2, 0) is scales[0]
    assert method.known(second.method, REFERENCE, 0.2, 0) is scales[1]


def test_what_is_known_lasts_as_long_as_the_classifier():
    known, one = Known(), Equal()
    known.of(one)["a"] = known.of(one.method)["b"] = 1
    assert (known.of(one), known.of(one.method), known.of(one.__call__)) == ({"a": 1}, {"b": 1}, {})
    kept = [Slotted() for _ in range(20)]
    for number, each in enumerate(kept):
        known.of(each)["a"] = number
    assert [known.of(each)["a"] for each in kept] == list(range(20))
    gone = weakref.ref(one)
    del one
    gc.collect()
    assert gone() is None
    assert all(known.of(Equal()) == {} for _ in range(100))
    for _ in range(100):  # none of them takes the identity of one before
        known_before = known.of(Slotted())
        assert known_before == {}
        known_before["a"] = 1


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (lambda u: torch.from_numpy(u.numpy()), None),
        (lambda u: torch.from_numpy(np.from_dlpack(u)), None),
        (lambda u: torch.mul(u, 2, out=torch.empty_like(u)), None),
        (lambda u: u @ torch.zeros(5, 2), "mat1 and mat2"),
        (lambda u: u if not u.requires_grad else torch.zeros(1 << 60), "allocate memory.*certify.batch"),
    ],
    ids=["numpy", "dlpack", "out", "shape", "memory"],
)
def test_only_what_refuses_a_gradient_is_asked_again_without(given, reason):
    """What fails for another reason says so: with a gradient, too, a network may need more memory than there is."""
    inputs = torch.rand(3, 4).requires_grad_().clone()
    if reason is None:
        assert not logits_of(given, inputs).requires_grad
        with pytest.raises(ValueError, match="have no gradient, which RDDRS needs"):
            RDDRS().propose(given, torch.rand(4), sigma=0.2)
        return
    for ask in (partial(logits_of, given, inputs), lambda: RDDRS().require_gradient(given, torch.rand(4))):
        with pytest.raises(ValueError, match=f"it fails on .*{reason}"):
            ask()
