"""Networks of every kind that people bring: certified as they are, trained, or one error before any training."""

from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from pipelines.certify import certify
from pipelines.errors import SettingsError
from pipelines.prepare import Prepared
from pipelines.train import train
from pipelines.trial import try_training
from rddrs.data import digits
from rddrs.models import Perceptron
from rddrs.noise import Isotropic
from rddrs.training.fit import fit
from rddrs.training.noisy import NoisyTraining
from tests.pipelines.test_own import SMALL, brought


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(64, 2)

    def forward(self, inputs: Tensor) -> Any:
        return self.a(inputs.flatten(1))


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.head = nn.Linear(64, 64), nn.Linear(64, 64), nn.Linear(64, 2)
        self.b.weight = self.a.weight

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.b(self.a(inputs.flatten(1)).relu()).relu())


def lazy() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(8), nn.ReLU(), nn.LazyLinear(2))


def in_place() -> nn.Module:
    return nn.Sequential(nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(64, 2))


def normed() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))


def half_frozen() -> nn.Module:
    found = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
    found[1].requires_grad_(False)
    found[2].requires_grad_(False)
    return found


def frozen() -> nn.Module:
    return Net().requires_grad_(False)


class NoWeights(nn.Module):
    def forward(self, inputs: Tensor) -> Tensor:
        return inputs.flatten(1)[:, :2]


class Black(nn.Module):
    """A box whose answers have no gradient, with a weight that nothing depends on."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.from_numpy(inputs.detach().numpy().reshape(len(inputs), -1)[:, :2].copy())


def scripted() -> nn.Module:
    return torch.jit.script(nn.Sequential(nn.Flatten(), nn.Linear(64, 2)))


def exported() -> Any:
    net, rows = nn.Sequential(nn.Flatten(), nn.Linear(64, 2)), torch.export.Dim("n", min=1, max=100_000)
    return torch.export.export(net, (torch.rand(2, 1, 8, 8),), dynamic_shapes=({0: rows},)).module()


class Auxiliary(Net):
    """Another kind of answer in training, as networks of auxiliary classifiers have it."""

    def forward(self, inputs: Tensor) -> Any:
        answers = super().forward(inputs)
        return namedtuple("Outputs", "logits aux")(answers, answers) if self.training else answers


class Strict(Net):
    def forward(self, inputs: Tensor) -> Any:
        if inputs.min() < -1.5:
            raise KeyError("pixels must lie in [-1, 2]")
        return super().forward(inputs)


class StrictInTraining(Net):
    def forward(self, inputs: Tensor) -> Any:
        if self.training:
            raise LookupError("no such mode")
        return super().forward(inputs)


class Stateful(Net):
    def get_extra_state(self) -> Any:
        return {"seen": 3}

    def set_extra_state(self, state: Any) -> None:
        pass


class Pretrained(Net):
    """Comes with its weights, whatever the seed."""

    def __init__(self) -> None:
        super().__init__()
        with torch.no_grad():
            self.a.weight.copy_(torch.linspace(-1, 1, 128).view(2, 64))


class Softmax(Net):
    def forward(self, inputs: Tensor) -> Any:
        return super().forward(inputs).softmax(1)


def given(folder: Path, kind: str, *overrides: str) -> Prepared:
    own = ["classifier=own", f"classifier._target_={__name__}.{kind}", *SMALL, "train.epochs=1", *overrides]
    return brought(folder, {}, *own)


@pytest.mark.filterwarnings("ignore:.torch.jit")
@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("NoWeights", "has no weights: it is certified as it is"),
        ("frozen", "has all its weights frozen: it is certified as it is"),
        ("scripted", "is a program that was exported or scripted: it is certified as it is"),
        ("exported", "is a program that was exported or scripted: it is certified as it is"),
    ],
)
def test_what_cannot_be_trained_is_certified_as_it_is(tmp_path: Path, kind: str, reason: str) -> None:
    prepared = given(tmp_path, kind)
    assert reason in prepared.notes[0] and prepared.settings.classifier.weights == "own"
    before = {name: it.clone() for name, it in prepared.network.state_dict().items()}
    train(prepared)
    assert all(torch.equal(it, before[name]) for name, it in prepared.network.state_dict().items())
    assert not (prepared.classifier_folder / "weights.safetensors").exists()


def test_a_program_is_certified_from_end_to_end(tmp_path: Path) -> None:
    prepared = given(tmp_path, "exported", "data.subset=2")
    certify(prepared)
    assert len(list((prepared.run_folder / "regions").glob("*.safetensors"))) == 2


@pytest.mark.parametrize("kind", ["lazy", "in_place"])
def test_a_step_of_training_is_tried_and_leaves_no_trace(tmp_path: Path, kind: str) -> None:
    prepared = given(tmp_path, kind)
    before = {name: it.clone() for name, it in prepared.network.state_dict().items()}
    try_training(prepared)
    assert all(torch.equal(it, before[name]) for name, it in prepared.network.state_dict().items())


@pytest.mark.parametrize("kind", ["Tied", "half_frozen"])
def test_every_other_kind_is_trained_and_read_again(tmp_path: Path, kind: str) -> None:
    prepared = given(tmp_path, kind, "train.learning_rate=0.1")
    before = {name: it.clone() for name, it in prepared.network.state_dict().items()}
    train(prepared)
    after, kept = prepared.network.state_dict(), load_file(prepared.classifier_folder / "weights.safetensors")
    assert all(torch.equal(kept[name], it) for name, it in after.items()) and kept.keys() == after.keys()
    same = {name for name, it in after.items() if torch.equal(it, before[name])}
    assert same == ({name for name in after if name.startswith(("1.", "2."))} if kind == "half_frozen" else set())
    if kind == "half_frozen":
        assert "4 of its weights are frozen" in prepared.notes[0]
        plain = given(tmp_path, "normed", "train.learning_rate=0.1")
        assert plain.classifier_folder != prepared.classifier_folder and plain.notes == ()


def test_frozen_weights_are_left_alone_by_the_library_itself(tmp_path: Path) -> None:
    data, net = digits(), Perceptron((1, 8, 8), 10, width=8)
    net.requires_grad_(False)
    before = {name: it.clone() for name, it in net.state_dict().items()}
    module = NoisyTraining(net, *data.trained_on(0), Isotropic(0.25, 64), data.held_out(0))
    with pytest.warns(UserWarning, match="no weight of the network requires a gradient: nothing is trained"):
        fit(module, epochs=1, folder=tmp_path)
    assert all(torch.equal(it, before[name]) for name, it in net.state_dict().items())


@pytest.mark.parametrize(
    ("kind", "overrides", "message"),
    [
        ("Auxiliary", [], "in training it returns Outputs (auxiliary outputs?)"),
        ("Black", [], "its answers have no gradient: classifier.weights=own"),
        ("StrictInTraining", [], "cannot be trained on a batch of 4: no such mode\nTraceback"),
        ("normed", ["train.batch=7"], "cannot be trained on a batch of 1 (the last of train.batch=7)"),
    ],
)
def test_what_fails_in_training_is_one_error_before_it(
    tmp_path: Path, kind: str, overrides: list[str], message: str
) -> None:
    """36 inputs are trained on."""
    prepared = given(tmp_path, kind, *overrides)
    before = {name: it.clone() for name, it in prepared.network.state_dict().items()}
    with pytest.raises(SettingsError) as caught:
        train(prepared)
    assert message in str(caught.value) and "pipelines/trial.py" not in str(caught.value)
    assert all(torch.equal(it, before[name]) for name, it in prepared.network.state_dict().items())
    assert not prepared.network.training and not (tmp_path / "outputs" / "mlflow.db").exists()


@pytest.mark.parametrize(
    ("kind", "overrides", "message"),
    [
        ("Strict", [], "'pixels must lie in [-1, 2]'"),
        ("Stateful", [], "keeps _extra_state in its state dict, which is no tensor"),
        ("Black", ["method=rddrs"], "method=rddrs: classifier: its answers have no gradient"),
        ("Net", ["classifier.weights=own", "train.start=x.pt"], "there is no such file"),
        ("Net", ["classifier.weights=own", "classifier.checkpoint=x.pt"], "leave all but one of them out"),
        ("Net", ["classifier.state=ema"], "classifier.state=ema is of a classifier.checkpoint or a train.start"),
    ],
)
def test_what_cannot_be_certified_is_one_error(tmp_path: Path, kind: str, overrides: list[str], message: str) -> None:
    (tmp_path / "x").mkdir()
    if "train.start=x.pt" in overrides:
        message = "train.start=x.pt classifier.weights=own: leave one of them out"
    with pytest.raises(SettingsError) as caught:
        given(tmp_path, kind, *overrides)
    assert message in str(caught.value)


@pytest.mark.parametrize("method", ["rddrs", "rddrs_global", "ancer"])
def test_a_network_that_works_in_place_has_a_gradient(tmp_path: Path, method: str) -> None:
    prepared = given(tmp_path, "in_place", f"method={method}", "classifier.weights=own")
    x = prepared.data.test_inputs[0]
    kept, reference = x.clone(), prepared.data.reference(20, 0)
    quick = {"iterations": 2} | ({"outer": 8, "rounds": 1} if method != "ancer" else {})
    made = prepared.method.model_copy(update=quick)
    made.propose(prepared.network, x, sigma=0.5, reference=reference, index=0)
    assert torch.equal(x, kept)


def test_weights_that_a_network_brings_are_certified_or_trained_from_and_said(tmp_path: Path) -> None:
    tuned, kept = given(tmp_path, "Pretrained"), given(tmp_path, "Pretrained", "classifier.weights=own")
    assert "brings weights of its own (a.weight): training starts from them" in tuned.notes[0]
    assert not any("brings" in note for note in kept.notes)
    assert len({tuned.classifier_folder, kept.classifier_folder, given(tmp_path, "Net").classifier_folder}) == 3
    train(kept)
    assert torch.equal(kept.network.state_dict()["a.weight"], Pretrained().a.weight)
    (told,) = [note for note in given(tmp_path, "Net", "classifier.weights=own").notes if "brings none" in note]
    assert "its weights are those of seed=0" in told


def test_probabilities_that_are_taken_for_logits_are_said(tmp_path: Path) -> None:
    assert any("answers probabilities, it seems" in note for note in given(tmp_path, "Softmax").notes)
    assert given(tmp_path, "Softmax", "classifier.output=probabilities").notes == ()


def test_a_start_of_another_number_of_classes_gets_a_new_last_layer(tmp_path: Path) -> None:
    torch.save(Perceptron((1, 8, 8), 7, width=128).state_dict(), tmp_path / "start.pt")
    prepared = brought(tmp_path, {}, f"train.start={tmp_path / 'start.pt'}")
    assert any("are of another number of classes: this layer is made anew" in note for note in prepared.notes)


def test_a_normalisation_that_a_checkpoint_keeps_is_used_and_stated(tmp_path: Path) -> None:
    state = {f"1.{name}": it for name, it in Perceptron((1, 8, 8), 2, width=128).state_dict().items()}
    torch.save(state | {"0.mean": torch.tensor([0.4]), "0.std": torch.tensor([0.2])}, tmp_path / "own.pt")
    path = f"classifier.checkpoint={tmp_path / 'own.pt'}"
    found = brought(tmp_path, {}, path)
    assert found.settings.classifier.normalize.mean == pytest.approx([0.4])
    assert any("it keeps a normalisation, which is used" in note for note in found.notes)
    stated = brought(tmp_path, {}, path, "classifier.normalize.mean=[0]", "classifier.normalize.std=[1]")
    assert stated.settings.classifier.normalize.mean == [0] and stated.run_folder != found.run_folder
