"""The terms of a certificate: one place decides what counts prove, and what is added to it is audited."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from rddrs import audit, certify
from rddrs.certification import ABSTAIN, Terms


@dataclass(frozen=True)
class Batched(Terms):
    """Terms with one field more, which a certificate states."""

    batch: int = 256


def test_a_field_that_is_added_to_the_terms_is_audited(oracle_of):
    oracle = oracle_of("diagonal", 4, radius=1.5)
    certificate = certify(oracle.classifier, oracle.x, oracle.scale, samples=500, batch=64)
    asked: dict[str, Any] = {"samples": 500, "selection_samples": 100}
    assert certificate.differences(Terms(**asked)) == {}
    assert certificate.differences(Batched(**asked)) == {"batch": (64, 256)}
    assert "terms" in audit(oracle.classifier, certificate, oracle.x, terms=Batched(**asked), samples=500).flags
    assert not audit(oracle.classifier, certificate, oracle.x, terms=Batched(**asked, batch=64), samples=500).flags


@pytest.mark.parametrize("target_radius", [None, 0.05])
def test_a_certificate_is_what_its_terms_prove_whatever_it_states(oracle_of, target_radius):
    oracle = oracle_of("full", 4, radius=1.5)
    options: dict[str, Any] = {"samples": 500, "target_radius": target_radius}
    certificate = certify(oracle.classifier, oracle.x, oracle.scale, **options)
    lie = replace(certificate, radius=9.0, prediction=0, p_lower=1.0)
    again = lie.proven(Terms(**options))
    assert (again.prediction, again.radius, again.p_lower) == (1, certificate.radius, certificate.p_lower)
    nothing = replace(certificate, counts=tuple(reversed(certificate.counts))).proven(Terms(**options))
    assert (nothing.prediction, nothing.radius) == (ABSTAIN, 0.0)


def test_terms_out_of_range_are_one_message(shapes_unchecked):
    cases: list[tuple[dict[str, Any], str]] = [
        ({"alpha": 1.0}, "alpha=1.0: Input should be less than 1"),
        ({"samples": 0}, "samples=0: Input should be greater than 0"),
        ({"target_radius": -1.0}, "target_radius=-1.0: Input should be greater than 0"),
        ({"bound": "best"}, "bound=best: Input should be 'clopper_pearson', "),
        ({"samples": "5000"}, "samples='5000': Input should be a valid integer"),
        ({"samples": True}, "samples=True: Input should be a valid integer"),
        ({"alpha": "0.001"}, "alpha='0.001': Input should be a valid number"),
        ({"grid": True}, "grid=True: Input should be a valid number"),
        ({"norm": "linf"}, "norm='linf': it must be one of l2, l1"),
    ]
    for values, message in cases:
        with pytest.raises(ValueError, match=message):
            Terms(**values)
    numbers: dict[str, Any] = {"samples": np.int64(500), "alpha": np.float32(0.01), "clamp": [0, 1]}
    assert Terms(**numbers).samples == 500
