"""The work on one input, as a user calls it on a callable of their own."""

import inspect

import pytest
import torch

import rddrs
from rddrs.certification import certified_severity
from rddrs.smoothing import fidelity
from rddrs.threats import PERTURBATIONS


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


def test_an_abstention_is_never_the_right_class(problem):
    with pytest.raises(ValueError, match="label=-1: labels count from 0"):
        found(problem, label=-1, method=rddrs.RS(), samples=2)


def test_a_record_has_both_ends_of_a_severity_and_says_what_was_only_tested(problem):
    mine = rddrs.Perturbation("mine", lambda x, severity: x + severity, 1, images=False)
    named = [it for it in PERTURBATIONS if it.name == "brightness"]
    stored = {"clamp": (-3.0, 3.0), "rounding": 1 / 64}
    it = found(problem, perturbations=(*named, mine), **stored)
    expected = certified_severity(it.certificate, named[0], **stored)
    assert it.record["severity_brightness_low"] == expected.low
    assert it.record["severity_brightness_high"] == expected.high
    assert it.record["severity_brightness"] == min(-expected.low, expected.high) > 0
    assert it.record["severity_mine_tested"] and "severity_brightness_tested" not in it.record
    assert it.record["severity_mine_low"] == pytest.approx(expected.low, rel=1e-2)


def test_half_of_the_reference_measures_what_the_other_half_fitted(problem):
    it, (inputs, labels) = found(problem, reference=problem[1]), problem[1]
    measuring = rddrs.Reference(inputs[::2], labels[::2])
    expected = fidelity(problem[0].classifier, it.proposal.scale, measuring, sigma=0.3, index=7)
    assert it.fidelity == expected and it.record["fidelity"] == expected.value
    assert "correct" not in it.record, "no label was given"


@pytest.mark.parametrize("method", [rddrs.RS(), rddrs.Given(scale=rddrs.Isotropic(0.4, 6))], ids=["rs", "given"])
def test_one_c_for_all_inputs_is_measured_once(problem, method):
    (oracle, (inputs, labels)), rows = problem, []

    def classifier(batch):
        rows.append(len(batch))
        return oracle.classifier(batch)

    measuring = rddrs.Reference(inputs, labels)
    options = {"sigma": 0.3, "method": method, "measuring": measuring, "samples": 100, "batch": 100}
    certified = [rddrs.certify_input(classifier, x, index=7 + place, **options) for place, x in enumerate(inputs[:4])]
    assert rows.count(len(inputs)) == 20 * 2, "the set, under C and under sigma I, 20 draws each"
    scale = certified[0].proposal.scale
    assert {it.fidelity for it in certified} == {fidelity(oracle.classifier, scale, measuring, sigma=0.3, index=0)}


def test_given_sets_are_used_as_they_are(problem):
    inputs, labels = problem[1]
    fitting, measuring = rddrs.Reference(inputs[:10], labels[:10]), rddrs.Reference(inputs[10:], labels[10:])
    it = found(problem, reference=fitting, measuring=measuring, method=rddrs.ANCER(iterations=5, guard=0.5))
    expected = fidelity(problem[0].classifier, it.proposal.scale, measuring, sigma=0.3, index=7)
    assert it.fidelity == expected


def test_a_guarded_method_asks_for_reference_inputs(problem):
    with pytest.raises(ValueError, match="give `reference`, or guard=0"):
        found(problem, method=None)


def test_help_says_what_every_argument_means():
    signature, told = inspect.signature(rddrs.certify_input), inspect.getdoc(rddrs.certify_input) or ""
    meanings = [line.partition(":")[0] for line in told.splitlines() if line.startswith("* ")]
    assert {name for line in meanings for name in line[2:].replace("`", "").split(", ")} == set(signature.parameters)
    defaults = [parameter.default for parameter in signature.parameters.values()]
    assert all(default is inspect.Parameter.empty or len(repr(default)) < 20 for default in defaults)
