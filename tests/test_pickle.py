"""What the library hands out can be copied, pickled and sent to other processes, its numbers unchanged."""

import copy
import io
import pickle
from typing import Any

import joblib
import pytest
import torch
from torch import nn

import rddrs

KINDS = ("isotropic", "diagonal", "full", "kronecker")


def saved_by_torch(value):
    buffer = io.BytesIO()
    torch.save(value, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=False)


WAYS = {"pickle": lambda value: pickle.loads(pickle.dumps(value)), "deepcopy": copy.deepcopy, "torch": saved_by_torch}


def used(scale: rddrs.Scale) -> rddrs.Scale:
    """The scale with all that it keeps of what was computed."""
    scale.perturb(torch.zeros(scale.dim), torch.randn(8, scale.dim))
    scale.whiten(torch.randn(8, scale.dim))
    assert scale.digest and scale.cross_polytope and scale.log_det
    return scale


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", WAYS)
def test_a_scale_is_the_same(way, kind, scale_of):
    scale = used(scale_of(kind, 12))
    again = WAYS[way](scale)
    x, z = torch.randn(12), torch.randn(40, 12)
    assert again.digest == scale.digest and torch.equal(again.eigenvalues, scale.eigenvalues)
    assert torch.equal(again.perturb(x, z.clone()), scale.perturb(x, z.clone()))
    assert repr(again) == repr(scale) and type(scale).__name__ in repr(scale) and "0x" not in repr(scale)


@pytest.mark.parametrize("way", WAYS)
def test_what_was_found_is_the_same(way):
    classifier = nn.Sequential(nn.Flatten(), nn.Linear(4, 2)).eval()
    x = torch.ones(2, 2)
    found = rddrs.certify_input(classifier, x, sigma=0.5, method=rddrs.ANCER(iterations=2), samples=200)
    again = WAYS[way](found)
    assert again.record == found.record and repr(again.certificate) == repr(found.certificate)
    assert again.certificate.contains(x[None]).tolist() == found.certificate.contains(x[None]).tolist()
    assert again.proposal.scale.digest == found.proposal.scale.digest
    smoothed = rddrs.Smoothed(classifier, rddrs.Full(torch.eye(4)), grid=0.5)
    counts = smoothed.counts(x[None], seed=0)
    assert torch.equal(WAYS[way](smoothed).counts(x[None], seed=0), counts)


@pytest.mark.parametrize("kind", KINDS)
def test_joblib_certifies_in_processes(kind, scale_of):
    smoothed = rddrs.Smoothed(nn.Linear(12, 2).eval().requires_grad_(False), used(scale_of(kind, 12)))
    inputs = torch.randn(4, 12)
    jobs = (joblib.delayed(smoothed.certify)(x, index=index, samples=500) for index, x in enumerate(inputs))
    expected = smoothed.certify(inputs, samples=500)
    found: Any = joblib.Parallel(n_jobs=2)(jobs)
    assert [it.counts for it in found] == [it.counts for it in expected]


@pytest.mark.parametrize("kind", KINDS)
def test_scales_in_files_by_str_and_path(kind, scale_of, tmp_path):
    scale = scale_of(kind, 12)
    rddrs.save_scale(scale, str(tmp_path / "scale.safetensors"))
    rddrs.save_scale(scale, tmp_path / "again.safetensors")
    for path in (tmp_path / "scale.safetensors", str(tmp_path / "again.safetensors")):
        assert rddrs.load_scale(path).digest == scale.digest
    with pytest.raises(ValueError, match=r"nothing\.safetensors"):
        rddrs.load_scale(str(tmp_path / "nothing.safetensors"))
