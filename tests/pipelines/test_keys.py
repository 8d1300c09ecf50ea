"""Finished runs are found: keys are those of 0.7.0, stored; of changed code of a user's own nothing is found."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from pipelines.settings.settings import LATER
from rddrs.records import ANYWHERE, flattened
from tests.pipelines.test_config import prepared, settings

STORED: dict[str, dict[str, str]] = json.loads(Path(__file__).with_name("keys.json").read_text())
"""By the words of a command line: the keys of the run and of its classifier, of data whose digest is "data"."""


@pytest.mark.parametrize("words", STORED, ids=lambda words: words or "defaults")
def test_the_keys_of_finished_runs_stay(words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.prepared.__version__", "0.7.0")
    found = replace(prepared(*words.split()), data_digest="data")
    assert {"run": found.run_folder.name, "classifier": found.classifier_folder.name} == STORED[words]


def test_the_configuration_of_a_run_of_0_10_0_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "toy2d-rs"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(Path(__file__).with_name("config_0.10.0.yaml").read_text())
    found = settings(f"run={folder}").model_dump(by_alias=True)
    assert found["certify"] | {"paths": {"contrast": 0.1}, "path_budget": None} == found["certify"]
    assert found["method"]["name"] == "rs" and found["output_root"] == str(tmp_path)
    stated: Any = OmegaConf.to_container(OmegaConf.load(folder / "config.yaml"))
    stated = LATER | flattened(stated)
    assert {name for name in flattened(found).keys() - stated if not name.startswith(ANYWHERE)} == set()


OWN = {
    "own_network": "from torch import nn\nclass Net(nn.Linear): pass\n",
    "own_loss": "from rddrs.training.objectives import Gaussian\nclass Loss(Gaussian): pass\n",
    "own_method": "from rddrs import RS\nclass Own(RS): pass\n",
    "own_path": "from own_bound import bound\nfrom rddrs import Perturbation\ndef veiled(x, s): return x + s\n"
    "veil = Perturbation('veil', veiled, 1.0, images=False, two_sided=False, variation=bound)\n",
    "own_bound": "def bound(x, low, high): return 0 * x + high - low\n",
}
"""Modules of a user's own: the objects that a configuration names, and what one of them imports."""


def test_changed_code_of_a_users_own_finds_no_old_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in OWN.items():
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    words = ["classifier=own", "classifier._target_=own_network.Net", "+classifier.in_features=2"]
    words += ["+classifier.out_features=3", "train=own", "train.objective._target_=own_loss.Loss", "method=rs"]
    words += ["method.name=own", "method._target_=own_method.Own", "certify.paths={own_path.veil:0.1}"]
    made = prepared(*words, "+train.augment={own_path.veil:0.1}")

    def keys() -> tuple[str, str, str]:
        fresh = replace(made)
        return fresh.run_folder.name, fresh.classifier_folder.name, fresh.binding.classifier

    before = keys()
    assert before == keys()
    trained = {"own_network", "own_loss", "own_path", "own_bound"}
    for name, text in OWN.items():
        (tmp_path / f"{name}.py").write_text(text + "# another\n")
        (run, classifier, network), (run_0, classifier_0, network_0) = keys(), before
        assert run != run_0
        assert (classifier != classifier_0) == (name in trained) and (network != network_0) == (name == "own_network")
        (tmp_path / f"{name}.py").write_text(text)
    assert before == keys()
    for name in OWN:
        del sys.modules[name]
