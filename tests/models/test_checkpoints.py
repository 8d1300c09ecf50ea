"""Checkpoints in the layouts that training programs write: the right weights, what had to be done, or one sentence."""

import argparse
import re
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from safetensors.torch import save_file
from torch import Tensor, nn

from rddrs.models import Perceptron, ResNet, load_weights, matching, save_weights

State = dict[str, Tensor]


def network(seed: int = 0, classes: int = 10) -> Perceptron:
    torch.manual_seed(seed)
    return Perceptron((1, 8, 8), classes, width=8)


TRUE: State = network().state_dict()
LATER = {name: value + 1 for name, value in TRUE.items()}


def under(prefix: str, state: State = TRUE) -> State:
    return {prefix + name: value for name, value in state.items()}


class Config(dict):
    """A configuration of a program's own, which is a mapping."""


NESTS = ["model_state_dict", "net", "weights", "ema", "anything"]
PREFIXES = ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.", "model._orig_mod.", "net.", "a.b.c."]
CODE = {"lr": 0.1, "widths": [1, 2]}
OTHERS = [
    np.float64(0.93),
    np.ones(3),
    OmegaConf.create(CODE),
    argparse.Namespace(lr=0.1),
    Path("data"),
    defaultdict(list, {1: [2]}),
    Config(CODE),
    {1, 2},
    torch.float16,
    torch.Size([3]),
]


@pytest.mark.parametrize(
    ("content", "notes"),
    [
        (TRUE, []),
        (OrderedDict(TRUE), []),
        *(({"epoch": 3, nest: TRUE, "loss": 0.3}, [f"its key '{nest}'"]) for nest in NESTS),
        ({"state": {"model": TRUE}}, ["its key 'state.model'"]),
        (
            {"state_dict": TRUE, "state_dict_ema": LATER},
            [r"others that fit are state_dict_ema \(classifier.state=state"],
        ),
        ({"ema": LATER, "model": TRUE}, ["its key 'model'.*ema"]),
        ({"generator": {"x.weight": torch.ones(2)}, "classifier": TRUE}, ["its key 'classifier' is read$"]),
        ({"model": TRUE, "optimizer": {"state": {"0": {"exp_avg": torch.ones(2)}}}}, ["its key 'model' is read$"]),
        *((under(prefix), [f"the prefix '{prefix}'"]) for prefix in PREFIXES),
        (
            {"state_dict": under("model.") | {"criterion.weight": torch.ones(10)}},
            ["'state_dict'", "'model.'", "criterion.weight belong to no part"],
        ),
        ({"n_averaged": torch.tensor(3), **under("module.")}, ["'module.'", "n_averaged belong to no part"]),
        (under("1."), ["'1.'", "did a first part, 0, normalise"]),
        (under("1.") | {"0.mean": torch.ones(1), "0.std": torch.ones(1)}, ["'1.'", "0.mean, 0.std belong to no part"]),
        (under("model.") | under("ema_model.", LATER), ["'model.'", "belong to no part"]),
        ({name.replace("layers.", "layers._orig_mod."): value for name, value in TRUE.items()}, ["prefix"]),
        ({name: value.half().float().half() for name, value in TRUE.items()}, ["torch.float16"]),
        *(({"state_dict": TRUE, "hyper_parameters": other}, ["'state_dict'"]) for other in OTHERS),
    ],
)
def test_the_right_weights_are_found_and_what_was_done_is_said(tmp_path, content, notes):
    torch.save(content, tmp_path / "file.pt")
    net = network(1)
    told = load_weights(net, tmp_path / "file.pt")
    for name, value in net.state_dict().items():
        torch.testing.assert_close(value, TRUE[name], rtol=1e-3, atol=1e-4)
    assert len(told) == len(notes) and all(re.search(it, note) for it, note in zip(notes, told, strict=True)), told


@pytest.mark.parametrize("content", [{"state_dict": TRUE, "ema": LATER}, under("model.") | under("ema.", LATER)])
def test_averaged_weights_are_read_where_they_are_named(tmp_path, content):
    torch.save(content, tmp_path / "file.pt")
    net = network(1)
    load_weights(net, tmp_path / "file.pt", state="ema")
    assert torch.equal(net.state_dict()["layers.1.bias"], LATER["layers.1.bias"])
    with pytest.raises(ValueError, match=r"classifier\.state=swa: "):
        load_weights(net, tmp_path / "file.pt", state="swa")


def test_several_sets_of_weights_are_not_guessed_between(tmp_path):
    torch.save(under("one.") | under("two.", LATER), tmp_path / "file.pt")
    with pytest.raises(ValueError, match=r"several sets of weights that fit: classifier.state is one of .'one.', 'two"):
        load_weights(network(1), tmp_path / "file.pt")


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_safetensors_are_known_by_their_content(tmp_path, suffix):
    save_file(under("model."), tmp_path / f"file.{suffix}")
    net = network(1)
    (note,) = load_weights(net, tmp_path / f"file.{suffix}")
    assert "'model.'" in note and torch.equal(net.state_dict()["layers.1.bias"], TRUE["layers.1.bias"])


@pytest.mark.parametrize("names", [("mean", "std"), ("means", "sds")])
def test_a_normalisation_that_is_kept_beside_is_found(tmp_path, names):
    mean, std = torch.tensor([0.4, 0.5, 0.6]), torch.tensor([0.2, 0.3, 0.25])
    layer = {f"0.{names[0]}": mean.view(3, 1, 1), f"0.{names[1]}": std.view(3, 1, 1)}
    torch.save({"state_dict": under("1.module.") | layer}, tmp_path / "file.pt")
    found = matching(network(1), tmp_path / "file.pt").normalization
    assert found == (mean.tolist(), std.tolist())


def wrapped(net: nn.Module) -> nn.Module:
    return nn.ModuleDict({"net": net})


def test_a_network_that_has_one_name_before_all_others(tmp_path):
    torch.save(TRUE, tmp_path / "file.pt")
    net = wrapped(network(1))
    load_weights(net, tmp_path / "file.pt")
    assert torch.equal(net.state_dict()["net.layers.1.bias"], TRUE["layers.1.bias"])


def whole(path: Path) -> None:
    torch.save(network(), path)


def traced(path: Path) -> None:
    torch.jit.script(nn.Linear(2, 2)).save(str(path))


def exported(path: Path) -> None:
    torch.export.save(torch.export.export(network().eval(), (torch.rand(2, 1, 8, 8),)), path)


def cut(path: Path) -> None:
    torch.save(TRUE, path)
    path.write_bytes(path.read_bytes()[:3000])


def saved(content: object) -> Callable[[Path], None]:
    return partial(torch.save, content)


def text(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


@pytest.mark.filterwarnings("ignore:.torch.jit")
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (text(b""), "is an empty file"),
        (text(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n"), "is a Git LFS pointer"),
        (text(b"\n<!DOCTYPE html><html>"), "is a page of a web site"),
        (text(b'{"weight_map": {}}'), "is a text and not the file"),
        (text(b"\x89HDF\r\n\x1a\n" + b"\0" * 99), "is an HDF5 file"),
        (text(bytes(range(256))), "damaged, cut off, or no file of weights"),
        (cut, "ends early"),
        (whole, "a whole pickled network is code, and is not run"),
        (traced, "is a TorchScript program, a network itself: classifier=own classifier._target_=torch.jit.load"),
        (exported, "is an exported program, a network itself: classifier=exported classifier.file="),
        (saved({}), "no state dict, which maps names to tensors: it is empty"),
        (saved({"epoch": 3, "model": "resnet"}), r"no state dict.*it holds epoch \(int\), model \(str\)"),
        (saved({"model": network()}), r"it holds model \(rddrs.models.perceptron.Perceptron\)"),
        (saved([TRUE]), "no state dict.*it is a list"),
        (saved(torch.ones(3)), "no state dict.*it is a tensor"),
        (saved(under("model.", {"other.weight": torch.ones(2)})), "does not fit Perceptron: Missing key"),
        (saved(network(0, 7).state_dict()), r"size mismatch: layers.\d.weight \(7, 8\) where the network has"),
    ],
)
def test_every_other_file_is_one_sentence_of_our_own(tmp_path, make, message):
    path = tmp_path / "file.pt"
    make(path)
    with pytest.raises(ValueError, match=f"(?s)train.start={path}.*{message}") as caught:
        load_weights(network(1), path, "train.start")
    assert not re.search("weights_only|trust|add_safe_globals|miniz", str(caught.value))


def test_the_weights_of_a_deeper_network_are_not_taken_for_those_of_this_one(tmp_path):
    """Its first blocks fit, and so does its last layer."""
    torch.save(ResNet((3, 8, 8), 10, 14).state_dict(), tmp_path / "file.pt")
    with pytest.raises(ValueError, match=r"does not fit ResNet: keys that the network does not have: layer1.1"):
        load_weights(ResNet((3, 8, 8), 10, 8), tmp_path / "file.pt")
    deeper = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4))
    torch.save(deeper.state_dict(), tmp_path / "file.pt")
    with pytest.raises(ValueError, match="does not fit Sequential"):
        load_weights(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)), tmp_path / "file.pt")


def test_a_last_layer_of_another_number_of_classes_is_made_anew_where_weights_are_a_start(tmp_path):
    torch.save(TRUE, tmp_path / "file.pt")
    net, before = network(1, 7), network(1, 7).state_dict()
    (note,) = load_weights(net, tmp_path / "file.pt", "train.start", new_head=True)
    after = net.state_dict()
    assert "layers.5.weight, layers.5.bias are of another number of classes" in note
    assert torch.equal(after["layers.1.weight"], TRUE["layers.1.weight"])
    assert torch.equal(after["layers.5.weight"], before["layers.5.weight"])


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)
        self.b.weight = self.a.weight


def test_shared_weights_are_written_read_and_stay_one(tmp_path):
    torch.manual_seed(0)
    net, other = Tied(), Tied()
    save_weights(net, tmp_path / "file.safetensors")
    assert load_weights(other, tmp_path / "file.safetensors") == []
    assert torch.equal(other.b.weight, net.a.weight) and other.b.weight is other.a.weight
    once = {name: value.clone() for name, value in net.state_dict().items() if name != "b.weight"}
    save_file(once, tmp_path / "once.safetensors")
    load_weights(other, tmp_path / "once.safetensors")
    save_file({**once, "b.weight": torch.zeros(4, 4)}, tmp_path / "two.safetensors")
    with pytest.raises(ValueError, match=r"a\.weight and b\.weight are one weight in the network, and differ"):
        load_weights(other, tmp_path / "two.safetensors")
