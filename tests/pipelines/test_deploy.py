"""From a run to a file to predictions, by the command line; files of networks are certified as they are."""

import os
import runpy
import shutil
import signal
import sys
import warnings
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import ExifTags, Image
from torch import nn

import pipelines.predict
import rddrs
from pipelines.certify import certify
from pipelines.command import main
from pipelines.errors import SettingsError
from pipelines.predict import check_card, read
from pipelines.prepare import Prepared, prepare
from pipelines.train import train
from rddrs.data import digits, folder
from rddrs.files import replacing
from rddrs.models import Perceptron, ResNet, artefact, as_onnx, deployed_in, digest
from rddrs.models.programs import exported
from rddrs.records import write_manifest
from rddrs.report import publish, round_down
from tests.pipelines import test_networks, test_own
from tests.pipelines.test_config import settings


def ask(monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    monkeypatch.setattr(sys, "argv", ["rddrs", *words])
    main()


def perceptron() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))


def resnet() -> nn.Module:
    torch.manual_seed(0)
    return ResNet((1, 8, 8), 10, 20)


def flattening() -> bytes:
    """An ONNX file that answers with the inputs."""
    from onnx import TensorProto, helper

    sizes = {"inputs": ["n", 1, 8, 8], "flat": ["n", 64]}
    given, answer = (helper.make_tensor_value_info(name, TensorProto.FLOAT, size) for name, size in sizes.items())
    graph = helper.make_graph([helper.make_node("Flatten", ["inputs"], ["flat"])], "network", [given], [answer])
    version = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=version, ir_version=9).SerializeToString()


def trained(network: nn.Module, steps: int, optimizer: torch.optim.Optimizer) -> nn.Module:
    """The network after so many steps under noise on the digits."""
    data, source = digits(), torch.Generator().manual_seed(0)
    for _ in range(steps):
        chosen = torch.randint(len(data.train_labels), (64,), generator=source)
        inputs = data.train_inputs[chosen] + 0.25 * torch.randn(64, 1, 8, 8, generator=source)
        loss = nn.functional.cross_entropy(network(inputs), data.train_labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a perceptron and a ResNet-20 for the digits in files, and some of the digits as images."""
    work, data = tmp_path_factory.mktemp("work"), digits()
    network, deep = perceptron(), resnet()
    trained(network, 600, torch.optim.Adam(network.parameters(), lr=0.01))
    trained(deep, 30, torch.optim.SGD(deep.parameters(), lr=0.1, momentum=0.9))
    (work / "resnet.pt2").write_bytes(exported(deep, (1, 8, 8)))
    (work / "resnet.onnx").write_bytes(as_onnx(deep, (1, 8, 8)))
    (work / "other.pt2").write_bytes(exported(perceptron().eval(), (1, 8, 8)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated, and deployed
        torch.jit.save(torch.jit.script(network), work / "network.ts")
    torch.save(network.state_dict(), work / "weights.pt")
    torch.save(deep.state_dict(), work / "resnet.pt")
    (work / "images" / "some").mkdir(parents=True)
    for index in range(6):
        pixels = (255 * data.test_inputs[index][0]).round().byte().numpy()
        Image.fromarray(pixels).save(work / "images" / "some" / f"{index}.png")
    return work


OPTIONS = ("method=rs", "sigma=0.25", "data.subset=2", "certify.samples=1000", "device=cpu")


@pytest.mark.filterwarnings("ignore")
def test_files_of_a_network_are_certified_and_audited_as_they_are(work, monkeypatch, capsys):
    monkeypatch.chdir(work)
    scale = rddrs.Kronecker([torch.eye(8), torch.eye(8)], torch.linspace(0.2, 0.3, 64).view(8, 8))
    rddrs.save_scale(scale, "scale.safetensors", norm="l2")
    given = ("method=given", "method.scale=scale.safetensors", *OPTIONS[1:])
    ask(monkeypatch, "run", "classifier=onnx", "classifier.file=resnet.onnx", "output_root=onnx", *given)
    (folder,) = (work / "onnx" / "runs").iterdir()
    certificate, network = rddrs.open_run(folder).certificate(0), resnet().eval()
    network.load_state_dict(torch.load("resnet.pt"))
    for same in (network, artefact("resnet.pt2")):
        again = rddrs.certify(same, certificate.x, scale, samples=1000, grid=1 / 16, batch=certificate.batch)
        assert np.abs(np.subtract(again.counts, certificate.counts)).sum() <= 4
    assert certificate.radius > 0 and certificate.scale.digest == scale.digest
    ask(monkeypatch, "audit", f"run={folder}", "audit.inputs=1", "audit.samples=200")
    assert "expected if all are honest" in capsys.readouterr().out

    many = rddrs.open_run(folder)
    many.records["log_det"] += many.records["index"]
    with pytest.raises(ValueError, match="a C of its own"):
        _ = many.smoothed
    smoothed = rddrs.open_run(folder).smoothed
    assert smoothed.card["certified"]["classifier"] == digest(smoothed.get_submodule("classifier"))
    assert smoothed.card["certified"]["alpha"] == 1e-3 and smoothed.grid == 1 / 16
    ask(monkeypatch, "export", f"run={folder.name}", "output_root=onnx", "file=model.rddrs")
    again, inputs = rddrs.load("model.rddrs"), digits().test_inputs[:4]
    assert torch.equal(again.counts(inputs, seed=0), smoothed.counts(inputs, seed=0))
    assert again.card["certified"]["inputs"] == 2 and again.card["shape"] == [1, 8, 8]
    assert again.scale.digest == scale.digest and again.card["certified"]["method"] == "given"
    moved = ["data=digits", "classifier=onnx", "classifier.file=resnet.onnx", "output_root=onnx", *given]
    moved[5] = "method.scale=elsewhere.safetensors"
    for factor, same in {1.0: True, 1.1: False}.items():  # known by what it holds, wherever it lies
        rddrs.save_scale(scale.scaled(factor), "elsewhere.safetensors")
        assert (prepare(settings(*moved)).run_folder.resolve() == folder) == same

    for hidden in ("._1.png", "some/.DS_Store", "notes.txt"):
        (work / "images" / hidden).write_bytes(b"no image")
    shutil.copy("images/some/0.png", os.fsdecode(b"images/some/\xff.png"))  # which is no UTF-8
    ask(monkeypatch, "predict", "file=model.rddrs", "images=images", "samples=400")
    assert "7 images" in (told := capsys.readouterr().out) and "left out: 2 hidden, 1 no images" in told
    certified = again.card["certified"]
    assert f"acr_ball {round_down(certified['acr_ball'], 4)}, acr_proxy" in told and "alpha 0.001," in told
    table = pd.read_csv("predictions.csv", encoding="latin-1")
    assert table["image"].tolist()[-1] == "images/some/\xff.png"
    counts = table.filter(like="count_").to_numpy()
    assert (counts.sum(axis=1) == 400).all() and table["p_value"].to_numpy().max() <= 1
    answered = ~table["abstained"].to_numpy()
    assert answered.any()
    assert table["class"].tolist() == np.where(answered, counts.argmax(axis=1), -1).tolist()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("name", "make", "weights"), [("resnet.pt2", resnet, "resnet.pt"), ("network.ts", perceptron, "weights.pt")]
)
def test_programs_and_torchscript_are_certified_and_audited_as_they_are(name, make, weights, work, monkeypatch, capsys):
    monkeypatch.chdir(work)
    root = Path(name).suffix[1:]
    ask(monkeypatch, "run", "classifier=exported", f"classifier.file={name}", f"output_root={root}", *OPTIONS)
    (folder,) = (work / root / "runs").iterdir()
    opened, network = rddrs.open_run(folder), make().eval()
    network.load_state_dict(torch.load(weights))
    for index in opened.records["index"]:
        kept = opened.certificate(index)
        settings = {"samples": 1000, "grid": kept.grid, "batch": kept.batch, "index": int(index)}
        again = rddrs.certify(network, kept.x, kept.scale, **settings)
        assert kept.radius > 0 and np.abs(np.subtract(again.counts, kept.counts)).sum() <= 4
    ask(monkeypatch, "audit", f"run={folder}", "audit.inputs=1", "audit.samples=200")
    assert "expected if all are honest" in capsys.readouterr().out
    (work / name).write_bytes((work / "other.pt2").read_bytes())
    with pytest.raises(SystemExit):
        ask(monkeypatch, "audit", f"run={folder}", "audit.inputs=1", "audit.samples=200")
    assert "manifest.json: binding.classifier: states" in capsys.readouterr().out


class Layers(nn.Module):
    """Layers of a module that is named itself, which answer with more than logits."""

    def __init__(self, first: nn.Module, classes: int) -> None:
        super().__init__()
        self.first, self.last = first, nn.Linear(16, classes)

    def forward(self, inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        hidden = self.first(inputs.flatten(1)).relu()
        return {"logits": self.last(hidden), "hidden": hidden}


NESTED = (
    f"classifier._target_={__name__}.Layers",
    "+classifier.first={_target_: torch.nn.LazyLinear, out_features: 16}",
)


def finished(prepared: Prepared) -> Path:
    """The folder of its run, certified, without a report."""
    certify(prepared)
    store = prepared.store
    publish(store.folder, store.records(prepared.indices), prepared.settings.certify.alpha)
    write_manifest(store.folder, prepared.binding, prepared.configuration)
    return store.folder


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "given",
    [
        (f"classifier._target_={test_networks.__name__}.Pretrained", "classifier.weights=own"),
        (*NESTED, "classifier.weights=own", "classifier.normalize={mean: [0.5], std: [0.5]}"),
        (*NESTED, "classifier.checkpoint=weights.pt", "classifier.state=ema"),
        (f"classifier._target_={test_networks.__name__}.scripted",),
        (f"classifier._target_={test_networks.__name__}.exported",),
    ],
    ids=["own", "seed", "state", "scripted", "exported"],
)
def test_networks_that_came_with_their_weights_go_into_a_file(given, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    states = []
    for _ in range(2):
        network = Layers(nn.Linear(64, 16), 2)
        states.append(network.state_dict())
    torch.save(dict(zip(("model", "ema"), states, strict=True)), "weights.pt")
    options = ("data.subset=1", "certify.workers=1", *test_own.SMALL)
    prepared = test_own.brought(tmp_path, {}, "classifier=own", *given, *options)
    smoothed = rddrs.open_run(finished(prepared)).smoothed
    inputs = prepared.data.test_inputs[:3]
    assert torch.equal(smoothed.classifier(inputs), prepared.network(inputs))
    smoothed.save("model.rddrs")
    torch.testing.assert_close(rddrs.load("model.rddrs").classifier(inputs), prepared.network(inputs))


@pytest.mark.filterwarnings("ignore")
def test_a_quantised_network_is_certified_if_its_scales_are_fixed(work, monkeypatch, tmp_path):
    monkeypatch.chdir(work)
    network = ("classifier=own", f"classifier._target_={__name__}.perceptron", "classifier.checkpoint=weights.pt")
    folder = finished(prepare(settings(*network, "data=digits", f"output_root={tmp_path}", *OPTIONS)))
    files = [tmp_path / "float32.onnx", tmp_path / "int8.onnx"]
    monkeypatch.setattr(sys, "argv", ["quantise", str(folder), *map(str, files)])
    runpy.run_path(str(Path(__file__).parents[2] / "scripts" / "quantise.py"), run_name="__main__")
    kept, labels = rddrs.open_run(folder).certificate(0), digits().test_labels
    options = {"samples": 1000, "grid": kept.grid, "batch": kept.batch, "index": 0}
    plain, coarse = (rddrs.certify(artefact(file), kept.x, kept.scale, **options) for file in files)
    assert np.abs(np.subtract(plain.counts, kept.counts)).sum() <= 4
    assert plain.prediction == coarse.prediction == labels[0] and abs(plain.radius - coarse.radius) < 0.5
    assert not torch.equal(*(artefact(file)(kept.x[None]) for file in files))

    quantization = pytest.importorskip("onnxruntime.quantization")
    quantization.quantize_dynamic(files[0], tmp_path / "dynamic.onnx")
    with pytest.raises(ValueError, match=r"other rows of the batch .*dynamic quantisation"):
        rddrs.certify(artefact(tmp_path / "dynamic.onnx"), kept.x, kept.scale, **options)


@pytest.mark.filterwarnings("ignore")
def test_a_network_is_trained_once_whatever_runs_it(tmp_path: Path) -> None:
    """In the order of a stranger, who asks for float32 last; a C that grows with the network has weights of its own."""
    asked = ["data=digits", "method=rs", "train.epochs=1", f"output_root={tmp_path}"]
    quantised = ["classifier.runtime=onnxruntime", "classifier.precision=int8"]
    weights = []
    for words in (["classifier.precision=bfloat16"], quantised, ["classifier.precision=float16"], []):
        train(prepared := prepare(settings(*asked, *words)))
        weights.append(prepared.classifier_places.weights.read_bytes())
    assert len({*weights}) == 1 and len([*tmp_path.glob("classifiers/*/weights.safetensors")]) == 4
    assert len([*tmp_path.glob("classifiers/*/epoch.ckpt")]) == 1, "trained once"
    assert prepare(settings(*asked, "train=covariance", "classifier.precision=bfloat16")).plain is None


@pytest.mark.filterwarnings("ignore")
def test_the_quantised_network_is_the_certified_one(tmp_path, monkeypatch):
    """It answers, it is bound by its bytes, it is what a file holds; under a C that is given it is calibrated by it."""
    monkeypatch.chdir(tmp_path)
    rddrs.save_scale(rddrs.Isotropic(0.3, 64), "isotropic.safetensors")
    torch.save(perceptron().state_dict(), "weights.pt")
    asked = ["data=digits", "classifier=own", f"classifier._target_={__name__}.perceptron", "output_root=outputs"]
    asked += ["classifier.checkpoint=weights.pt", "certify.workers=1", *OPTIONS[1:], "classifier.precision=int8"]
    asked += ["classifier.runtime=onnxruntime"]
    folders = []
    for name in ("method=rs", "method=given method.scale=isotropic.safetensors"):
        prepared = prepare(settings(*asked, *name.split()))
        key = prepared.run_folder
        folders.append(finished(prepared).resolve())
        deployed = deployed_in(prepared.network)
        assert deployed is not None and deployed.is_deployed and prepare(prepared.settings).run_folder == key
        assert digest(prepared.network) == prepared.binding.classifier
    (first, second), inputs = sorted(Path("outputs").glob("classifiers/*/int8-*.onnx")), digits().test_inputs[:50]
    assert first.parent == second.parent and first.read_bytes() != second.read_bytes(), "one network, under each C"
    opened, plain = rddrs.open_run(folders[0]), perceptron().eval()
    kept, smoothed = opened.certificate(0), opened.smoothed
    error = (smoothed.classifier(inputs) - plain(inputs)).abs().max()
    assert 1e-4 < error < 0.2 * plain(inputs).abs().max(), "int8, and the same network"
    again = rddrs.certify(smoothed.classifier, kept.x, kept.scale, samples=1000, grid=kept.grid, batch=kept.batch)
    assert again.counts == kept.counts
    smoothed.save("model.rddrs")
    assert torch.equal(rddrs.load("model.rddrs").classifier(inputs), smoothed.classifier(inputs))
    pair = first.read_bytes(), second.read_bytes()
    for file, content in zip((first, second), reversed(pair), strict=True):
        file.write_bytes(content)  # another network in its place
    train(swapped := prepare(settings(*asked, "method=rs")))
    with pytest.raises(ValueError, match="is of another classifier"):
        swapped.store.certificate(0)
    first.write_bytes(flattening())
    with pytest.raises(SettingsError, match=r"int8-\w+.onnx is damaged .* shape \(1, 64\).*: delete it and run again"):
        train(prepare(settings(*asked, "method=rs")))


def test_the_names_of_classes_are_those_of_the_images_that_were_certified(tmp_path, monkeypatch):
    """Folders that have changed places since, or are gone, name no class."""
    root, weights = test_own.photographs(tmp_path / "images", 8), tmp_path / "weights.pt"
    for part in ("train", "test"):
        shutil.copy(root / part / "b/5.jpg", root / part / "b/7.jpg")
    torch.save(Perceptron((1, 8, 8), 2, 16).state_dict(), weights)
    own = ["data=folder", f"data.root={root}", "classifier=perceptron", f"classifier.checkpoint={weights}"]
    own += ["classifier.width=16", f"output_root={tmp_path}", "data.subset=1", *test_own.SMALL]
    opened = rddrs.open_run(finished(prepare(settings(*own))))
    assert opened.smoothed.card["classes"] == ["a", "b"]
    for part in ("train", "test"):
        for old, new in ("ac", "ba", "cb"):
            (root / part / old).rename(root / part / new)
    assert opened.smoothed.card["classes"] is None
    shutil.rmtree(root)
    assert opened.smoothed.card["classes"] is None


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "L", "LA", "I;16"])
def test_an_image_is_predicted_as_it_was_certified(mode, tmp_path):
    """What `rddrs predict` reads of a file is what `data=folder` does: transparency, depth, colours and size."""
    source = np.random.default_rng(0)
    for name in ("train/a", "train/b", "test/a", "test/b"):
        (tmp_path / name).mkdir(parents=True)
        if mode == "I;16":
            image = Image.fromarray(source.integers(1 << 16, size=(12, 9), dtype=np.uint16))
        else:
            image = Image.fromarray(source.integers(256, size=(12, 9, 4), dtype=np.uint8), "RGBA").convert(mode)
        image.save(tmp_path / name / "1.png", transparency=0 if mode == "P" else None)
    data = folder(str(tmp_path), size=6)
    smoothed = rddrs.Smoothed(perceptron().eval(), rddrs.Isotropic(0.5, 36), grid=data.grid)
    smoothed.card |= {"shape": list(data.shape), "data": {"name": "folder", "size": 6}}
    for place, label in enumerate("ab"):
        torch.testing.assert_close(read(tmp_path / "test" / label / "1.png", smoothed), data.test_inputs[place])


def test_few_images_are_decoded_once_and_what_is_odd_of_them_is_said(tmp_path, monkeypatch, capsys):
    found, exif = [], Image.Exif()
    exif[ExifTags.Base.Orientation] = 3
    (tmp_path / "images").mkdir()
    Image.new("L", (8, 8)).save(tmp_path / "images" / os.fsdecode(b"turned\xff.jpg"), exif=exif)
    frames = [Image.new("L", (8, 8), shade) for shade in (1, 2)]
    frames[0].save(tmp_path / "images" / "two.gif", save_all=True, append_images=frames[1:])
    smoothed = rddrs.Smoothed(perceptron().eval(), rddrs.Isotropic(0.5, 64), card={"shape": [1, 8, 8], "range": [0, 1]})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(rddrs, "load", lambda file: smoothed)
    monkeypatch.setattr(pipelines.predict, "read", lambda path, it: found.append(path.name) or read(path, it))
    ask(monkeypatch, "predict", "file=model.rddrs", "images=images")
    assert found == [os.fsdecode(b"turned\xff.jpg"), "two.gif"]
    told = capsys.readouterr().out
    assert "images=images: 1 files hold several frames: the first is read: two.gif" in told
    assert (
        "images=images: 1 images are to be turned, says their EXIF: they are read as they lie: turned" in told
        and "\\xff.jpg" in told
    )


def test_sigterm_leaves_nothing_half_written(tmp_path, monkeypatch):
    def half(path: Path) -> None:
        with replacing(path) as part:
            part.write_bytes(b"half")
            os.kill(os.getpid(), signal.SIGTERM)

    smoothed, before = Mock(save=half, card={"certified": {}}), signal.signal(signal.SIGTERM, signal.SIG_DFL)
    monkeypatch.setattr(rddrs, "open_run", lambda folder: Mock(smoothed=smoothed))
    try:
        with pytest.raises(SystemExit, match="130"):
            ask(monkeypatch, "export", "run=KEY", f"file={tmp_path / 'model.rddrs'}")
    finally:
        signal.signal(signal.SIGTERM, before)
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(
    ("card", "told"),
    [
        ({"range": [0.0, 16.0]}, r"takes inputs from 0 to 16, images are in \[0, 1\]"),
        ({"shape": [64]}, "takes inputs of shape"),
        ({"range": [1, 0]}, r"card has range: \[1, 0\]"),
        ({"range": 1}, "card has range: 1"),
        ({"classes": ["a", "b"]}, r"card has classes: \['a', 'b'\], where null or 10 names"),
        ({"classes": 10}, "card has classes: 10, where null or 10 names"),
        ({"data": "folder"}, "card has data: 'folder'"),
        ({"data": {"size": 6}}, "where null or {'size': 8} is needed"),
    ],
    ids=str,
)
def test_a_card_that_does_not_say_what_images_are_is_refused(card, told):
    smoothed = rddrs.Smoothed(perceptron().eval(), rddrs.Isotropic(0.5, 64), card={"shape": [1, 8, 8], "range": [0, 1]})
    for known in (smoothed, rddrs.Smoothed(smoothed.classifier, smoothed.scale, card={"shape": [1, 8, 8]})):
        check_card("model.rddrs", known)
    smoothed.card |= card
    with pytest.raises(ValueError, match=f"model.rddrs: .*{told}"):
        check_card("model.rddrs", smoothed)


def test_what_goes_wrong_is_one_message(work, monkeypatch, capsys):
    monkeypatch.chdir(work)
    rddrs.save_scale(rddrs.Isotropic(0.5, 5), "small.safetensors", norm="l2")
    for words, told in [
        (
            ("run", "classifier=onnx", "classifier.file=resnet.onnx", "method=rddrs"),
            "have no gradient, which RDDRS needs",
        ),
        (("run", "classifier=onnx", "classifier.file=resnet.onnx", "classifier.compile=true"), "certified as it is"),
        (("run", "classifier.precision=int8"), "not run by runtime=torch: give runtime=onnxruntime or openvino"),
        (("run", "classifier.runtime=openvino", "classifier.precision=bfloat16"), "runs float32 and int8"),
        (("run", "classifier.runtime=onnxruntime", "method=ancer"), "method=ancer needs the gradient of the network"),
        (("run", "method=given"), "method.scale"),
        (("run", "method=given", "method.scale=weights.pt"), "method.scale: weights.pt is no scale that"),
        (("run", "method=given", "method.scale=small.safetensors"), "dimension 5, inputs of shape (1, 8, 8)"),
        (("run", "method=given", "method.scale=small.safetensors", "certify.norm=l1"), "for norm=l2, not for l1"),
        (("run", "classifier=exported"), "name the file"),
        (("run", "classifier=exported", "classifier.file=weights.pt"), "is no network"),
        (("run", "classifier=exported", "classifier.file=nothing.pt2"), "there is no such file"),
        (("export", "run=nothing", "file=model.rddrs"), "no finished run"),
        (("export", "file=model.rddrs"), "run is needed; usage"),
        (("predict", "file=weights.pt", "images=images"), "cannot be read"),
        (("predict", "file=weights.pt", "image=images"), "image: there is no such key"),
        (("predict", "file=weights.pt", "images=nowhere"), "images=nowhere: there is no such folder"),
        (("predict", "file=weights.pt", "images=images", "samples=x"), "samples=x: a whole number is needed"),
        (("predict", "file=weights.pt", "images=images", "samples=10"), "samples=10: all are abstentions below 11"),
        (("predict", "file=weights.pt", "images=images", "alpha=2"), "alpha=2: a number between 0 and 1"),
        (("predict", "file=weights.pt", "images=images", "output=no/p.csv"), "output=no/p.csv: a file in a folder"),
        (("export", "run=nothing", "file=no/model.rddrs"), "file=no/model.rddrs: a file in a folder"),
    ]:
        with pytest.raises(SystemExit) as caught:
            ask(monkeypatch, *words)
        assert caught.value.code == 2 and told in capsys.readouterr().err, words
