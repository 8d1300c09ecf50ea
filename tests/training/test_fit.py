"""Training stays on the device that it is given, and its steps have a length."""

from contextlib import nullcontext

import pytest
import torch
from torch import nn

from rddrs import Isotropic, Reference
from rddrs.data import Stored
from rddrs.files import Unreadable
from rddrs.training import fit
from rddrs.training.noisy import NoisyTraining
from rddrs.training.options import TrainingOptions
from tests.records.test_faults import full_disk


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


@pytest.mark.parametrize("schedule", ["constant", "linear", "step", "one_cycle"])
def test_a_fit_of_one_step_takes_it(schedule, tmp_path):
    """Fewer inputs than a batch for one epoch, as in a round of co-training; a step of Adam is as long as the rate."""
    network = nn.Linear(3, 2)
    before, inputs, labels = network.weight.detach().clone(), torch.rand(9, 3), torch.arange(9) % 2
    options = TrainingOptions(learning_rate=0.01, schedule=schedule)
    held = Reference(inputs[:2], labels[:2])
    module = NoisyTraining(network, Stored(inputs), labels, Isotropic(0.1, 3), held, options)
    fit.fit(module, epochs=1, folder=tmp_path)
    assert (network.weight - before).abs().max().item() == pytest.approx(0.01, rel=1e-2)


def test_a_checkpoint_is_written_beside_its_place_and_named_where_it_is_damaged(tmp_path):
    """Where temporary files lie may be another disk, from which it would be copied."""
    path, files = tmp_path / "epoch.ckpt", fit.Beside()
    files.save_checkpoint({"epoch": 3}, path)
    assert files.load_checkpoint(path) == {"epoch": 3}
    with pytest.raises(AttributeError):
        files.save_checkpoint({"epoch": lambda: None}, path)
    with full_disk(1000), pytest.raises(OSError, match="File too large"):
        files.save_checkpoint({"epoch": torch.zeros(1000)}, path)
    assert [it.name for it in tmp_path.iterdir()] == ["epoch.ckpt"] and files.load_checkpoint(path) == {"epoch": 3}
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(Unreadable, match=r"epoch\.ckpt is damaged, or no checkpoint: delete it and run again"):
        files.load_checkpoint(path)


def test_a_fit_goes_on_from_no_damaged_checkpoint(tmp_path):
    (tmp_path / "last.ckpt").write_bytes(b"cut")
    labels = torch.zeros(4, dtype=torch.long)
    held = Reference(torch.rand(2, 3), labels[:2])
    module = NoisyTraining(
        nn.Linear(3, 2), Stored(torch.rand(4, 3)), labels, Isotropic(0.1, 3), held, TrainingOptions()
    )
    with pytest.raises(Unreadable, match=r"last\.ckpt is damaged"):
        fit.fit(module, epochs=1, folder=tmp_path)
