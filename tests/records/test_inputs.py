"""The work on one input, as a user calls it on a callable of their own."""

import pytest
import torch

import rddrs
from rddrs.smoothing import fidelity


@pytest.fixture
def problem(oracle_of):
    oracle = oracle_of("isotropic", 6, radius=1.2)
    source = torch.Generator().manual_seed(1)
    inputs = oracle.x + 2 * torch.randn(40, 6, generator=source)
    return oracle, (inputs, oracle.classifier(inputs).argmax(dim=1))


def found(problem, **options):
    oracle, _ = problem
    options = {"sigma": 0.3, "method": rddrs.ANCER(iterations=5), "samples": 2_000} | options
    return rddrs.certify_input(oracle.classifier.eval(), oracle.x, index=7, **options)


def test_it_proposes_certifies_and_records(problem):
    it = found(problem, label=1)
    proposal = rddrs.ANCER(iterations=5).propose(problem[0].classifier, problem[0].x, sigma=0.3, index=7)
    assert torch.equal(it.certificate.scale.matrix, proposal.scale.matrix)
    expected = rddrs.certify(problem[0].classifier, problem[0].x, proposal.scale, samples=2_000, index=7)
    assert it.certificate.counts == expected.counts and it.record["radius"] == expected.radius
    assert it.record["correct"] and it.record["index"] == 7 and it.record["severity_brightness"] > 0
    assert it.fidelity is None and "fidelity" not in it.record, "nothing to measure it on"


def test_half_of_the_reference_measures_what_the_other_half_fitted(problem):
    it, (inputs, labels) = found(problem, reference=problem[1]), problem[1]
    measuring = rddrs.Reference(inputs[::2], labels[::2])
    expected = fidelity(problem[0].classifier, it.proposal.scale, measuring, sigma=0.3, index=7)
    assert it.fidelity == expected and it.record["fidelity"] == expected.value
    assert "correct" not in it.record, "no label was given"


def test_given_sets_are_used_as_they_are(problem):
    inputs, labels = problem[1]
    fitting, measuring = rddrs.Reference(inputs[:10], labels[:10]), rddrs.Reference(inputs[10:], labels[10:])
    it = found(problem, reference=fitting, measuring=measuring, method=rddrs.ANCER(iterations=5, guard=0.5))
    expected = fidelity(problem[0].classifier, it.proposal.scale, measuring, sigma=0.3, index=7)
    assert it.fidelity == expected


def test_a_guarded_method_asks_for_reference_inputs(problem):
    with pytest.raises(ValueError, match="give `reference`, or guard=0"):
        found(problem, method=None)
