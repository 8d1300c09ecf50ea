"""Every network that ships: its card is whole, it answers digits that it never saw, with its own C, untrained."""

import shutil
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file
from sklearn.datasets import load_sample_images

from pipelines.errors import SettingsError
from pipelines.prepare import prepare
from pipelines.run import run
from rddrs import Isotropic, Smoothed, pretrained
from rddrs.certification import ABSTAIN
from rddrs.data import digits
from rddrs.models import zoo
from rddrs.models.zoo import NAMES, card_of, scale_file
from rddrs.noise import load_scale, save_scale
from rddrs.records import Store
from tests.pipelines.test_config import settings

every_network = pytest.mark.parametrize("name", NAMES)
FACTS = {"network", "shape", "classes", "data", "sigma", "objective", "epochs", "accuracy_under_noise"}
FACTS |= {"acr", "acr_proxy", "method", "inputs", "samples", "made_by", "weights_sha256"}


@cache
def unseen(name: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs that the network never saw, and their labels.

    Of MNIST's those are scikit-learn's digits at the size of MNIST: other people's hands, other pixels. Of others parts
    of scikit-learn's photographs, of no class, labelled as most of their noisy copies are answered.
    """
    card = card_of(name)
    if card["data"] == "mnist":
        data = digits()
        images = torch.nn.functional.interpolate(data.test_inputs[:], size=20, mode="bilinear")
        return torch.nn.functional.pad(images, (4, 4, 4, 4)), data.test_labels
    photographs = torch.from_numpy(np.stack(load_sample_images().images)).movedim(-1, 1) / 255
    images = torch.nn.functional.interpolate(photographs, size=(96, 128), mode="area")
    parts = images.unfold(2, 32, 32).unfold(3, 32, 32).movedim(1, 3).flatten(0, 2)[::2]
    smoothed = Smoothed(pretrained(name), Isotropic(card["sigma"], parts[0].numel()))
    return parts, smoothed.frequencies(parts, samples=40).argmax(dim=1)


@every_network
def test_a_card_is_whole_and_its_network_answers_under_its_noise(name: str) -> None:
    network, (images, labels) = pretrained(name), unseen(name)
    own = {"scale_sha256"} if scale_file(name).exists() else set()
    own |= {"scales"} & network.card.keys()
    assert set(network.card) == FACTS | own and not network.training
    dim, source = images[0].numel(), torch.Generator().manual_seed(0)
    scale = network.scale or Isotropic(network.card["sigma"], dim)
    assert scale.dim == dim and scale.geometric_mean >= network.card["sigma"] - 1e-6
    noise = scale.spread(torch.randn(len(images), dim, generator=source)).view_as(images)
    with torch.no_grad():
        assert network.card["data"] != "mnist" or (network(images).argmax(dim=1) == labels).float().mean() > 0.75
        assert (network(images + noise).argmax(dim=1) == labels).float().mean() > 0.5


@every_network
def test_it_is_certified_without_training_with_its_own_scale(name: str, tmp_path: Path) -> None:
    images, labels = (part.numpy() for part in unseen(name))
    known = np.concatenate([np.arange(10), labels[10:]])  # of every class one
    np.savez(tmp_path / "own.npz", x_train=images, y_train=known, x_test=images[:3], y_test=labels[:3])
    own = ["data=arrays", f"data.file={tmp_path / 'own.npz'}", f"output_root={tmp_path}", "data.reference=10"]
    own += [f"sigma={card_of(name)['sigma']}"]
    method = "method=rddrs_global" if scale_file(name).exists() else "method=rs"
    prepared = prepare(settings(*own, f"classifier.pretrained={name}", method, "certify.samples=100"))
    run(prepared)
    table = pd.read_parquet(prepared.run_folder / "records.parquet")
    assert table["correct"].to_numpy().mean() >= 0.5 and not list(tmp_path.glob("classifiers/*/epoch.ckpt"))
    with pytest.raises(
        SettingsError, match=rf"sigma=0.3: classifier.pretrained={name} was trained at sigma={card_of(name)['sigma']:g}"
    ):
        prepare(settings(*own, f"classifier.pretrained={name}", "sigma=0.3"))
    with pytest.raises(SettingsError, match=r"leave classifier[.]normalize and output out"):
        prepare(settings(*own, f"classifier.pretrained={name}", "classifier.output=probabilities"))
    if scale_file(name).exists():
        _, scale = Store(prepared.run_folder).load(0)
        torch.testing.assert_close(scale.matrix, load_scale(scale_file(name)).matrix)
        for key in ("threat={brightness: 1}", "certify.norm=l1"):
            with pytest.raises(SettingsError, match=rf"{key.split('=')[0]}=.* has a C of its own"):
                prepare(settings(*own, f"classifier.pretrained={name}", key))


OTHERS = [(name, what) for name in NAMES for what in card_of(name).get("scales", {})]
"""Networks, and what a C was found for."""


@pytest.mark.parametrize(("name", "what"), OTHERS)
def test_a_c_that_was_found_for_a_network_is_on_its_card_and_certifies(name: str, what: str) -> None:
    network, (images, labels) = pretrained(name), unseen(name)
    scale, facts = network.scales[what], network.card["scales"][what]
    assert facts.keys() == {"sha256", "acr", "acr_proxy", "fidelity", "inputs", "samples", "made_by"}
    assert scale.eigenvalues[0] > 0.999 * network.card["sigma"] and facts["fidelity"] > 0.9
    smoothed = Smoothed(network, scale)
    answers = smoothed.frequencies(images, samples=20).argmax(dim=1)
    assert len(answers.unique()) > 1 and (answers == labels).float().mean() > 0.5
    assert smoothed.certify(images[0], samples=200).prediction in (ABSTAIN, int(labels[0]))


@pytest.mark.parametrize(("name", "what"), OTHERS[:1])
def test_a_c_that_was_changed_is_no_longer_that_of_the_card(
    name: str, what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zoo, "FOLDER", Path(shutil.copytree(zoo.FOLDER, tmp_path / "pretrained")))
    path = scale_file(name, what)
    save_scale(load_scale(path).scaled(1.01), path)
    with pytest.raises(ValueError, match=rf"pretrained={name}: the card's sha256 of {what} is"):
        pretrained(name)


@pytest.mark.parametrize("part", ["weights", "scale"])
def test_a_card_speaks_of_its_own_files_alone(part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A figure of a card is of the weights, and of the C, that it names: with other files nothing is loaded."""
    (name,) = (name for name in NAMES if scale_file(name).exists())
    monkeypatch.setattr(zoo, "FOLDER", Path(shutil.copytree(zoo.FOLDER, tmp_path / "pretrained")))
    path = {"weights": zoo.weights_file, "scale": zoo.scale_file}[part](name)
    save_file({key: 1.01 * tensor for key, tensor in load_file(path).items()}, path)
    with pytest.raises(ValueError, match=rf"pretrained={name}: the card's {part}_sha256 is"):
        pretrained(name)
    with pytest.raises(SettingsError, match=rf"classifier.pretrained={name}: the card's {part}_sha256 is"):
        settings("data=mnist", f"classifier.pretrained={name}")
    path.unlink()
    with pytest.raises(ValueError, match=rf"the card's {part}_sha256 is \w{{64}}, that of .* is None"):
        pretrained(name)


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("classifier.pretrained=mnist", f"classifier.pretrained=mnist: there is no such network; there are {NAMES[0]}"),
        (f"classifier.pretrained={NAMES[-1]}", "(1, 28, 28): data=digits has 10 classes and inputs of shape (1, 8"),
        (f"classifier.pretrained={NAMES[0]} classifier.checkpoint=a.pt", "leave all but one of them out"),
        ("classifier.pretrained=0", "classifier.pretrained=0: Input should be a valid string"),
    ],
)
def test_what_does_not_fit_is_named(override: str, named: str) -> None:
    with pytest.raises(SettingsError) as caught:
        prepare(settings("data=digits", *override.split()))
    assert named in str(caught.value)
