"""Training stays on the device that it is given."""

from contextlib import nullcontext

import torch

from rddrs.training import fit


def test_a_fit_takes_its_own_device_and_no_other_of_its_kind(monkeypatch):
    kept = []
    monkeypatch.setattr(torch.random, "fork_rng", lambda **options: kept.append(options) or nullcontext())
    assert [fit.placed(device) for device in ("cpu", "cuda", "cuda:1")] == [
        {"accelerator": "cpu", "devices": 1},
        {"accelerator": "cuda", "devices": [0]},
        {"accelerator": "cuda", "devices": [1]},
    ]
    for device in ("cpu", "cuda:1"):
        fit.random_numbers_kept(device)
    assert kept == [{"devices": []}, {"devices": [1], "device_type": "cuda"}]
