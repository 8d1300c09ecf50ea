"""Every configuration composes and every wrong one is one clear error before any work starts."""

import subprocess
from dataclasses import fields, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import get_object
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from safetensors.torch import save_file

from pipelines.config import load
from pipelines.entry import CONFIGURATION
from pipelines.errors import SettingsError
from pipelines.prepare import Prepared, prepare
from pipelines.settings import Settings
from rddrs.certification import Demand
from rddrs.methods import Given
from rddrs.models.perceptron import Perceptron
from rddrs.noise import Isotropic, save_scale
from rddrs.training.options import CotrainingOptions, TrainingOptions

GROUPS = [path.relative_to(CONFIGURATION).with_suffix("") for path in sorted(CONFIGURATION.glob("*/*.yaml"))]


def composed(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONFIGURATION), version_base="1.3"):
        return compose("config", list(overrides))


def settings(*overrides: str) -> Settings:
    return load(composed(*overrides))


def prepared(*overrides: str) -> Prepared:
    return prepare(settings("data=toy2d", *overrides))


@pytest.mark.parametrize("path", GROUPS, ids=str)
def test_every_file_composes(path: Path) -> None:
    added = "+" if str(path.parent) in ("contestant", "sweep", "size") else ""
    needed = {
        "classifier/own": "classifier._target_=torch.nn.Identity",
        "data/folder": "data.root=somewhere",
        "data/arrays": "data.file=some.npz",
        "method/given": "method.scale=some.safetensors",
        "train/own": "train.objective._target_=rddrs.training.objectives.Gaussian",
        "data/items": "data={train: {_target_: some.thing}, test: {_target_: some.thing}}",
    }
    own = [needed[str(path)]] if str(path) in needed else []
    assert settings(f"{added}{path.parent}={path.name}", *own).seed == 0


@pytest.mark.parametrize(
    ("overrides", "network"),
    [
        ("", "Perceptron"),
        ("data=mnist", "LeNet"),
        ("data=cifar10", "ResNet"),
        ("data=folder data.root=somewhere", "ResNet"),
        ("data=arrays data.file=some.npz", "Perceptron"),
        ("data=mnist classifier=small_cnn", "SmallCNN"),
        ("+size=paper", "LeNet"),
        ("experiment=paper +size=paper classifier=resnet", "ResNet"),
        ("+sweep=gamma data=toy2d", "Perceptron"),
    ],
)
def test_the_data_choose_the_network_unless_it_is_given(overrides: str, network: str) -> None:
    assert settings(*overrides.split()).classifier.target == f"rddrs.models.{network}"


@pytest.mark.parametrize("path", [path for path in GROUPS if str(path.parent) == "method"], ids=str)
def test_every_method_is_made_with_the_values_of_its_file(path: Path, tmp_path: Path) -> None:
    """Which are the defaults of the class: one configures what the other does by itself."""
    if path.name == "given":
        save_scale(Isotropic(0.5, 2), tmp_path / "scale.safetensors")
        made = prepared("method=given", f"method.scale={tmp_path / 'scale.safetensors'}").method
        assert isinstance(made, Given) and made.scale.digest == Isotropic(0.5, 2).digest
        return
    made = prepared(f"method={path.name}")
    defaults = type(made.method)().model_dump()
    assert made.method.model_dump() == defaults == made.settings.method.arguments | {"norm": "l2"}


@pytest.mark.parametrize("path", [path for path in GROUPS if str(path.parent) == "train"], ids=str)
def test_every_default_of_the_library_is_that_of_its_file(path: Path) -> None:
    """Of training, its objective and the terms of certificates."""
    own = ["train.objective=gaussian"] if path.name == "own" else []
    train, certify = (made := settings(f"train={path.name}", *own)).train, made.certify
    library = CotrainingOptions() if path.name == "covariance" else TrainingOptions()
    assert train.model_dump(include=set(type(library).model_fields)) == library.model_dump()
    objective = get_object(train.objective.target)()
    assert train.objective.arguments in ({}, objective.model_dump())
    assert {each.name: getattr(certify, each.name) for each in fields(Demand)} == vars(Demand())


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("sigma=-1", "sigma=-1: Input should be greater than 0"),
        ("sigma=wide", "sigma=wide: Input should be a valid number"),
        ("sigma=nan", "sigma=nan: Input should be"),
        ("seed=-1", "seed=-1"),
        ("device=abacus", "device=abacus: no such device here"),
        ("certify.alpha=2", "certify.alpha=2: Input should be less than 1"),
        ("certify.samples=5", "samples=5 can certify nothing at alpha=0.001: use at least 10"),
        ("certify.samples=1.5", "certify.samples=1.5"),
        ("certify.samples='5000'", "certify.samples='5000': Input should be a valid integer"),
        ("certify.selection_samples=true", "certify.selection_samples=True: Input should be a valid integer"),
        ("certify.path_samples='5e3'", "certify.path_samples='5e3': Input should be a valid integer"),
        ("certify.alpha='0.01'", "certify.alpha='0.01': Input should be a valid number"),
        ("certify.path_slack=true", "certify.path_slack=True: Input should be a valid number"),
        ("certify.path_unrounded=0", "certify.path_unrounded=0: Input should be a valid boolean"),
        ("certify.grid=true", "certify.grid: True is no step"),
        ("certify.clamp=[false,true]", "certify.clamp: [False, True] is no range of values"),
        ("certify.clamp=['0','1']", "certify.clamp: ['0', '1'] is no range of values"),
        ("sigma='0.5'", "sigma='0.5': Input should be a valid number"),
        ("certify.target_radius=0", "certify.target_radius=0: Input should be greater than 0"),
        ("certify.target_radius=1 certify.bound=randomized_clopper_pearson", "is not used with target_radius=1.0"),
        ("certify.mode=both", "certify.mode=both"),
        ("certify.norm=linf", "certify.norm='linf': it must be one of l2, l1"),
        ("certify.norm=l1 method=rddrs_paper", "method=rddrs_paper is of Gaussian noise and l2 alone"),
        ("certify.grid=0", "certify.grid: 0 is no step: auto, null or a positive number"),
        ("certify.grid=fine", "certify.grid: fine is no step"),
        ("certify.grid=1/255", "certify.grid=0.00392156862745098: input 0: "),
        ("certify.rounding=0", "certify.rounding: 0 is no step: auto, null or a positive number"),
        ("certify.clamp=[1,0]", "certify.clamp: [1, 0] is no range of values: auto, null or two numbers"),
        ("certify.clamp=1", "certify.clamp: 1 is no range of values"),
        ("data=digits certify.clamp=[0,0.5]", "certify.clamp=[0.0, 0.5]: input 0 has values from 0 to 1: give"),
        ("data=digits certify.grid=1e-9", "certify.grid=1e-09: input 0: grid=1e-09: noise may reach"),
        ("+certify.sample=9", "certify.sample: there is no such key"),
        ("+sigmas=9", "sigmas: there is no such key"),
        ("shard.index=1", "index=1 must be below count=1"),
        ("data.subset=301", "data.subset=301: the test set has 300 inputs"),
        ("data.subset=0", "data.subset=0"),
        ("method=ancer +method.gama=1", "method.gama: there is no such key"),
        ("method=ancer method.gamma=fast", "method.gamma=fast: Input should be a valid number"),
        ("method=ancer method.gamma=-1", "method.gamma=-1: Input should be greater than 0"),
        ("method=ancer method.guard=1.5", "method.guard=1.5"),
        ("method=rddrs_paper method.metric=flat", "method.metric=flat"),
        ("method=rs method._target_=rddrs.Nothing", "method: name=rs _target_=rddrs.Nothing: rs is rddrs.RS"),
        ("method.name=mine method._target_=rddrs.Nothing", "method._target_=rddrs.Nothing cannot be imported"),
        ("classifier=own", "Missing mandatory value: _target_"),
        ("classifier=own classifier._target_=torch.nn.Identity ~classifier.epochs", "classifier.epochs"),
        ("classifier=own classifier._target_=torch.nn.Identity", "maps one input to shape (1, 2)"),
        ("classifier=own classifier._target_=torch.nn.Linear", "missing 2 required positional arguments"),
        ("classifier=own classifier._target_=torch.nn.Linear +classifier.size=3", "classifier.size: there is no such"),
        ("classifier=lenet", "classifier (rddrs.models.LeNet)"),
        ("classifier.normalize.mean=[1,1]", "classifier.normalize: mean=[1.0, 1.0] std=None: give both"),
        ("classifier.normalize.mean=[1] classifier.normalize.std=[1]", "have 2 channels: one a channel is needed"),
        ("classifier.checkpoint=nowhere.pt", "classifier.checkpoint=nowhere.pt: there is no such file"),
        ("classifier.output=scores", "classifier.output=scores"),
        ("train=consistency train.objective.weight=-1", "train.objective.weight=-1: Input should be greater than"),
        ("train=consistency +train.objective.wait=1", "train.objective.wait: there is no such key"),
        ("train=covariance train.objective=boost", "train.objective: boost is none of gaussian, consistency"),
        ("train=covariance train.objective=mine.Boost", "train.objective._target_=mine.Boost cannot be imported"),
        ("train=own train.objective._target_=torch.nn.Identity", "gives no rddrs.training.objectives.base.Objective"),
        ("train=own", "train.objective._target_: Missing mandatory value"),
        (
            "train=consistency train.objective._target_=rddrs.training.objectives.Macer",
            "train: objective=macer: train=consistency has its own: train=own takes any",
        ),
        ("train=consistency +train.objective.name=macer", "name=macer _target_=rddrs.training.objectives.Consistency"),
        ("train=macer certify.norm=l1", "train.objective=macer is of l2 alone: certify.norm=l1"),
        ("certify.bound=sequential", "certify: bound=sequential is that of a target_radius: leave it out"),
        ("train.precision=float16", "train.precision=float16"),
        ("figures=[nowhere.drawn]", "figures: nowhere.drawn cannot be imported"),
        ("figures=[math.pi]", "figures: math.pi is no function of a run"),
        ("figures=[math.sin,cmath.sin]", "figures: math.sin, cmath.sin: each needs a name of its own"),
        ("threat=[math.sin]", "threat=['math.sin']: math.sin() takes exactly one argument"),
        ("seed=99999999999999999999", "seed=99999999999999999999: Input should be less than"),
        ("device=meta", "device=meta: no such device here"),
        ("~sigma", "sigma: this key is needed"),
        ("method.name=rs", "method: name=rs _target_=rddrs.RDDRS: rs is rddrs.RS"),
        ("data=digits data.crop=8", "data.crop=8 may shift all of an image of (1, 8, 8) out of sight"),
        ("classifier.width=0", "width=0: a number of units from 1 is needed"),
        ("data=digits +data.size=3", "data.size: there is no such key; rddrs.data.digits takes no argument"),
        ("threat=[fog]", "threat: there is no perturbation fog: rotation, shift"),
        ("threat=[rotation]", "rotation needs images [channels, height, width], not inputs of shape (2,)"),
        ("threat={brightness:-1}", "threat.brightness=-1: Input should be greater than or equal to 0"),
        ("threat={brightness:0}", "not all 0"),
        ("threat=[nowhere.npy]", "threat=nowhere.npy: patterns of shape (2,) are needed"),
        ("threat=[nowhere.fog]", "threat=nowhere.fog cannot be imported"),
        ("threat_at={brightnes:0.1}", "threat_at.brightnes: inputs of shape (2,) have brightness, contrast"),
        ("threat_at={brightness:3}", "threat_at.brightness=3: severities of brightness end at 2"),
    ],
)
def test_bad_values_are_named(override: str, named: str) -> None:
    with pytest.raises(SettingsError) as caught:
        prepared(*override.split())
    assert named in str(caught.value)


def test_what_a_device_lacks_is_one_sentence_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Apple's devices have no float64, older cards no bfloat16."""
    makes = {name: getattr(torch, name) for name in ("zeros", "ones")}

    def made(name: str, *shape: int, device: str, dtype: torch.dtype | None = None) -> torch.Tensor:
        if device == "mps" and dtype == torch.float64:
            raise TypeError("the MPS framework doesn't support float64")
        return makes[name](*shape, dtype=dtype)

    for name in makes:
        monkeypatch.setattr(torch, name, partial(made, name))
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    with pytest.raises(SettingsError, match=r"device=mps has no float64, in which C, .* use device=cpu"):
        settings("device=mps")
    with pytest.raises(SettingsError, match=r"classifier.precision=bfloat16: this card has none: give float16"):
        settings("device=cuda", "classifier.precision=bfloat16")
    assert settings("device=cuda", "classifier.precision=float16").classifier.precision == "float16"


def test_on_a_gpu_float32_is_not_rounded_whatever_the_code_of_a_network_allows(commands: Path, tmp_path: Path) -> None:
    """In a process of its own: not all settings of a process can be put back."""
    code = """if True:
        import torch
        from pipelines.networks import keep_float32

        places = torch.backends.cudnn.conv, torch.backends.cudnn.rnn, torch.backends.cuda.matmul
        for allow in (
            "torch.backends.cudnn.allow_tf32 = True",
            "torch.set_float32_matmul_precision('medium')",
            "torch.backends.fp32_precision = 'tf32'",
            "torch.backends.cudnn.conv.fp32_precision = 'tf32'",
        ):
            exec(allow)
            before = [place.fp32_precision for place in places]
            keep_float32("cpu")
            assert before == [place.fp32_precision for place in places], allow
            keep_float32("cuda:1")
            assert [place.fp32_precision for place in places] == ["ieee"] * 3, allow
            assert not torch.backends.cudnn.allow_tf32 and not torch.backends.cuda.matmul.allow_tf32, allow
    """
    (tmp_path / "settings_of_torch.py").write_text(code)
    done = subprocess.run([commands / "warm", "settings_of_torch"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_mistyped_key_is_refused_by_name() -> None:
    with pytest.raises(Exception, match="gama") as caught:
        settings("method=ancer", "method.gama=1")
    assert isinstance(caught.value, OmegaConfBaseException) or "gama" in str(caught.value)


def test_a_checkpoint_must_fit_and_be_read_safely(tmp_path: Path) -> None:
    weights = Perceptron((2,), 3, width=128).state_dict()
    other = Perceptron((5,), 3, width=128).state_dict()
    save_file(weights, tmp_path / "fits.safetensors")
    torch.save(weights, tmp_path / "fits.pt")
    torch.save(other, tmp_path / "other.pt")
    torch.save({"network": Path("anything")}, tmp_path / "unsafe.pt")
    (tmp_path / "damaged.safetensors").write_bytes(b"none")
    for name in ("fits.safetensors", "fits.pt"):
        network = prepared(f"classifier.checkpoint={tmp_path / name}").network
        assert torch.equal(network.state_dict()["layers.1.weight"], weights["layers.1.weight"])
    for name, reason in {"other": "does not fit Perceptron", "unsafe": "is no state dict", "damaged": "cannot"}.items():
        suffix = "safetensors" if name == "damaged" else "pt"
        with pytest.raises(SettingsError, match=reason):
            prepared(f"classifier.checkpoint={tmp_path / name}.{suffix}")


def test_a_missing_or_damaged_mnist_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(b"not an image")
    with pytest.raises(SettingsError, match=r"train-images-idx3-ubyte.gz is damaged"):
        prepare(settings("data=mnist", f"data.root={tmp_path}"))


def test_the_run_folder_depends_on_all_that_a_result_depends_on(tmp_path: Path) -> None:
    def folder(*overrides: str) -> str:
        return prepare(settings(f"output_root={tmp_path}", *overrides)).run_folder.name

    base = folder()
    for same in ("certify.workers=1", "shard.count=2", f"data={'digits'}"):
        assert folder(same) == base, same
    changed = ["sigma=0.25", "seed=1", "method=rs", "certify.samples=1000", "certify.alpha=0.01", "data.subset=3"]
    changed += ["train.epochs=3", "certify.mode=memory", "data=toy2d", "data.reference=10", "classifier.width=8"]
    changed += ["certify.norm=l1", "certify.grid=null", "certify.clamp=null", "certify.rounding=null"]
    assert len({base, *map(folder, changed)}) == len(changed) + 1


@pytest.mark.parametrize("name", ["gaussian", "consistency", "smoothadv", "macer", "cat_rs"])
def test_a_co_training_begins_with_the_classifier_of_its_objective(name: str) -> None:
    """Given by its name or with its constants, which are those of the objective's own file."""
    alone, grown = prepared(f"train={name}"), prepared("train=covariance", f"train.objective={name}")
    assert alone.objective == grown.objective
    written = prepared("train=covariance", f"train.objective={{{', '.join(f'{k}: {v}' for k, v in named(alone))}}}")
    assert written.objective == alone.objective
    begun = replace(written, settings=written.settings.model_copy(update={"train": written.settings.train.isotropic}))
    assert begun.classifier_folder == alone.classifier_folder


def test_the_counterpart_of_a_co_training_is_trained_as_long() -> None:
    """And certifies every input, whatever shard asks for it."""
    rounds = ["train.rounds=3", "train.round_epochs=2", "train.last_epochs=5", "shard.count=4", "shard.index=2"]
    other = prepared("train=covariance", "train.epochs=10", *rounds).counterpart
    assert other.settings.shard.count == 1
    assert other.classifier_folder == prepared("train=gaussian", "train.epochs=19").classifier_folder


def named(it: Prepared) -> list[tuple[str, object]]:
    return list(it.settings.train.objective.model_dump().items())


def test_a_threat_is_part_of_what_it_changes(tmp_path: Path) -> None:
    """Of the classifier that grows with a scale and of a method that aims; another pattern is another threat."""
    np.save(tmp_path / "a.npy", np.ones(2))
    np.save(tmp_path / "b.npy", np.eye(2))
    aimed = "threat={brightness: 1, volume: 1}"
    for fixed in ("method=rs", "method=ancer"):
        assert prepared(fixed, aimed).run_folder == prepared(fixed).run_folder
        assert prepared(fixed, aimed).classifier_folder == prepared(fixed).classifier_folder
    for aiming in (["method=rddrs"], ["method=rddrs_global"], ["train=covariance", "method=rs"]):
        places = [f"threat=[{tmp_path / name}.npy]" for name in "ab"]
        assert len({prepared(*aiming, *each).run_folder for each in ([], [aimed], *([it] for it in places))}) == 4
    assert prepared("train=covariance", aimed).classifier_folder != prepared("train=covariance").classifier_folder
    patterns = prepared(f"threat=[{tmp_path / 'b'}.npy,contrast]").threat
    assert patterns.weights == (0.25, 0.25, 0.5)


def test_the_folders_follow_the_content_of_the_data(tmp_path: Path) -> None:
    """The same data elsewhere finds its run; other data under the same configuration does not."""
    for name, value in {"a": 1.0, "b": 1.0, "c": 2.0}.items():
        x, y = np.linspace(0, value, 24).reshape(8, 3), np.arange(8) % 2
        np.savez(tmp_path / f"{name}.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    subset = ["data=arrays", "data.subset=2", "data.reference=2"]
    places = [prepare(settings(*subset, f"data.file={tmp_path / name}.npz")) for name in "abc"]
    for one, same, other in ([it.run_folder for it in places], [it.classifier_folder for it in places]):
        assert one == same != other


def test_the_classifier_folder_is_shared_by_methods_and_follows_a_checkpoints_content(tmp_path: Path) -> None:
    assert prepared("method=rs").classifier_folder == prepared("method=ddrs", "data.subset=2").classifier_folder
    assert prepared("sigma=0.25").classifier_folder != prepared().classifier_folder
    assert prepared("certify.norm=l1").classifier_folder != prepared().classifier_folder
    for name, seed in {"a": 0, "b": 0, "c": 1}.items():
        torch.manual_seed(seed)
        save_file(Perceptron((2,), 3, width=128).state_dict(), tmp_path / f"{name}.safetensors")
    folders = [prepared(f"classifier.checkpoint={tmp_path / name}.safetensors").classifier_folder for name in "abc"]
    assert folders[0] == folders[1] != folders[2]
