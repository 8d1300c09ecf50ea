"""One file of a smoothed classifier: what is read is what was written, and nothing else is run."""

import io
import json
import os
import pickle
import re
import subprocess
import sys
import textwrap
import zipfile
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from torch import nn

import rddrs
from rddrs.models import (
    Accelerated,
    Normalized,
    Onnx,
    OpenVino,
    Perceptron,
    ResNet,
    Rotated,
    artefact,
    as_logits,
    digest,
)
from rddrs.models.programs import check, check_same, exported

ROOT = Path(__file__).parents[2]
KINDS = ("isotropic", "diagonal", "full", "kronecker")

TRAINS = """
    import torch, rddrs
    from networks import Net
    from rddrs.data import digits
    data, network = digits(), Net()
    inputs, optimizer = data.train_inputs[:], torch.optim.Adam(network.parameters(), lr=0.01)
    for _ in range(150):
        noisy = inputs + 0.25 * torch.randn_like(inputs)
        loss = torch.nn.functional.cross_entropy(network(noisy), data.train_labels)
        optimizer.zero_grad(), loss.backward(), optimizer.step()
    smoothed = rddrs.Smoothed(network.eval(), rddrs.Isotropic(0.25, 64), grid=data.grid)
    smoothed.save("model.rddrs")
    print(smoothed.counts(data.test_inputs[:8], seed=0).tolist())
"""
NETWORK = """
    from torch import nn
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.hidden, self.last = nn.Linear(64, 48), nn.Linear(48, 10)
        def forward(self, x):
            return self.last(self.hidden(x.flatten(1)).relu())
"""
USES = """
    import sys, torch, rddrs
    from rddrs.data import digits
    data, smoothed = digits(), rddrs.load("model.rddrs")
    inputs, labels = data.test_inputs[:].repeat(3, 1, 1, 1)[:1000], data.test_labels.repeat(3)[:1000]
    classes = smoothed.predict(inputs, samples=200)
    assert (classes == labels).float().mean() > 0.8 and (classes == -1).any()
    certificates = smoothed.certify(inputs[:10], samples=1000)
    assert sum(it.radius > 0 and it.prediction == label for it, label in zip(certificates, labels)) >= 7
    assert certificates[0].grid == 1 / 16 and "networks" not in sys.modules
    print(smoothed.counts(data.test_inputs[:8], seed=0).tolist())
"""


def test_one_file_goes_to_a_process_that_does_not_know_the_network(tmp_path):
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "networks.py").write_text(textwrap.dedent(NETWORK))
    outputs = []
    for script, path in ((TRAINS, f"{ROOT}:{tmp_path / 'code'}"), (USES, str(ROOT))):
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(script)],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        outputs.append(done.stdout)
    assert outputs[0] == outputs[1]


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    return Perceptron((1, 2, 6), 3, width=16).eval().requires_grad_(False)


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_the_same_again(kind, network, scale_of, tmp_path):
    smoothed = rddrs.Smoothed(network, scale_of(kind, 12), norm="l1", card={"classes": ["a", "b", "c"]})
    smoothed.save(str(tmp_path / "model.rddrs"), shape=(1, 2, 6))
    again = rddrs.load(tmp_path / "model.rddrs")
    assert (again.norm, again.grid, again.scale.digest) == ("l1", None, smoothed.scale.digest)
    assert again.card["classes"] == ["a", "b", "c"] and again.card["shape"] == [1, 2, 6]
    inputs = torch.randn(4, 1, 2, 6)
    assert torch.equal(again.counts(inputs, seed=0), smoothed.counts(inputs, seed=0))
    again.save(tmp_path / "again.rddrs")
    assert torch.equal(rddrs.load(tmp_path / "again.rddrs").counts(inputs, seed=0), smoothed.counts(inputs, seed=0))
    assert pickle.loads(pickle.dumps(again)).predict(inputs, seed=0).tolist() == again.predict(inputs, seed=0).tolist()


def test_axes_of_other_sizes_or_in_another_order_are_refused(tmp_path):
    """The network that was saved fails on channels that come last; the file of it took them for other pixels."""
    network = nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(2 * 4 * 6, 4)).eval().requires_grad_(False)
    smoothed, inputs = rddrs.Smoothed(network, rddrs.Isotropic(0.5, 144)), torch.rand(2, 3, 6, 8)
    smoothed.save(tmp_path / "model.rddrs", shape=(3, 6, 8))
    again = rddrs.load(tmp_path / "model.rddrs")
    for moved in (inputs.movedim(1, -1), inputs.mT, inputs.reshape(2, 3, 4, 12)):
        with pytest.raises(
            ValueError, match=r"inputs of shape \[.*\]: the network takes \[3, 6, 8\], its axes in this"
        ):
            again.counts(moved, 10)
        with pytest.raises(ValueError, match="its axes in this order"):
            again.certify(moved[0], samples=100)
    assert torch.equal(again.counts(inputs.flatten(1), 10, seed=0), again.counts(inputs, 10, seed=0))


def test_adapters_precision_and_probabilities_are_kept(network, tmp_path):
    inside = Accelerated(Normalized(network, [0.5], [0.25], (1, 2, 6)), "bfloat16")
    wrapped = as_logits(nn.Sequential(inside, nn.Softmax(dim=1)), "probabilities").eval()
    smoothed = rddrs.Smoothed(wrapped, rddrs.Isotropic(0.5, 12))
    smoothed.save(tmp_path / "model.rddrs", shape=(1, 2, 6))
    again, inputs = rddrs.load(tmp_path / "model.rddrs"), torch.randn(6, 1, 2, 6)
    torch.testing.assert_close(again.classifier(inputs), wrapped(inputs), rtol=1e-3, atol=1e-3)


class Branching(nn.Module):
    """What torch.export refuses: it looks at the numbers."""

    def __init__(self, width: int, factor: float = 1.0) -> None:
        super().__init__()
        self.linear, self.factor = nn.Linear(width, 2), factor

    def forward(self, inputs):
        return self.factor * (self.linear(inputs) if inputs.sum() > 0 else self.linear(inputs.abs()))


def test_what_cannot_be_exported_is_made_by_its_class(tmp_path):
    network = Normalized(Branching(4).eval(), [0.5, 0.5, 0.5, 0.5], [1.0, 2.0, 1.0, 1.0], (4,)).eval()
    smoothed, path = rddrs.Smoothed(network, rddrs.Isotropic(0.5, 4)), tmp_path / "model.rddrs"
    with pytest.raises(ValueError, match=r"cannot be exported.*target="):
        smoothed.save(path)
    assert not path.exists()
    smoothed.save(path, target={"_target_": f"{Branching.__module__}.Branching", "width": 4})
    again, inputs = rddrs.load(path), torch.randn(5, 4)
    assert torch.equal(again.classifier(inputs), network(inputs))
    code = {"_target_": "os.system", "command": "touch /tmp/run"}
    with pytest.raises(ValueError, match=r"os\.system.*no torch\.nn\.Module"):
        smoothed.save(path, target=code)
    rewritten(path, lambda members: members.update({"card.json": told(members, target=code)}))
    with pytest.raises(ValueError, match=r"os\.system.*no torch\.nn\.Module"):
        rddrs.load(path)


class Doubling(nn.Module):
    """Rounds to float64 whatever it is given, by weights and a buffer of that precision."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3).double()
        self.register_buffer("shift", torch.full((4,), 1 / 3, dtype=torch.float64))

    def forward(self, inputs):
        return self.linear(inputs - self.shift)


@pytest.mark.parametrize(
    ("network", "precision", "target"),
    [
        (nn.Linear(4, 3).double(), torch.float64, None),
        (Doubling(), torch.float32, None),
        (Branching(4).double(), torch.float64, {"_target_": f"{Branching.__module__}.Branching", "width": 4}),
    ],
)
def test_a_network_in_float64_answers_the_same_bit_for_bit(network, precision, target, tmp_path):
    smoothed, path = rddrs.Smoothed(network.eval(), rddrs.Isotropic(0.5, 4)), tmp_path / "model.rddrs"
    smoothed.save(path, target=target)
    again, inputs = rddrs.load(path), torch.randn(7, 4, dtype=precision)
    assert torch.equal(again.classifier(inputs), network(inputs)) and again.classifier(inputs).dtype is torch.float64


def told(members: dict[str, bytes], **changes: object) -> bytes:
    return json.dumps({**json.loads(members["card.json"]), **changes}).encode()


def test_what_the_file_would_make_answers_as_what_was_certified(tmp_path):
    """A setting that the target leaves out, and an adapter that a file cannot hold, are seen when it is written."""
    network = Branching(4, factor=-1.0).eval()
    target = {"_target_": f"{Branching.__module__}.Branching", "width": 4}
    with pytest.raises(ValueError, match="what the file makes answers otherwise"):
        rddrs.Smoothed(network, rddrs.Isotropic(0.5, 4)).save(tmp_path / "a.rddrs", target=target)
    (tmp_path / "a.pt2").write_bytes(exported(nn.Linear(4, 2).eval(), (4,)))
    inside = Rotated(artefact(tmp_path / "a.pt2"), torch.eye(4)).eval()
    with pytest.raises(ValueError, match="inside Rotated, which a file cannot hold"):
        rddrs.Smoothed(inside, rddrs.Isotropic(0.5, 4)).save(tmp_path / "a.rddrs")
    assert not (tmp_path / "a.rddrs").exists()


def test_a_program_of_small_logits_is_compared_too():
    """What is made of a network is compared by a share of its logits."""
    network = nn.Linear(4, 2).eval().requires_grad_(False)
    network.weight.mul_(1e-6)
    network.bias.mul_(1e-6)
    check_same(network, network, (4,))
    with pytest.raises(AssertionError):
        check_same(lambda inputs: -network(inputs), network, (4,))


def rewritten(path: Path, change) -> None:
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def test_a_damaged_or_foreign_file_is_one_error(network, tmp_path):
    path = tmp_path / "model.rddrs"
    rddrs.Smoothed(network, rddrs.Isotropic(0.5, 12)).save(path)
    whole = path.read_bytes()
    contents = [b"", b"hello", whole[: len(whole) // 2], whole[:3000] + b"x" + whole[3001:]]
    for content in contents:
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"model\.rddrs cannot be read"):
            rddrs.load(path)
    torch.save(network.state_dict(), path)
    with pytest.raises(ValueError, match=r"model\.rddrs cannot be read"):
        rddrs.load(path)
    path.write_bytes(whole)
    other = rddrs.noise.Isotropic(5.0, 12).tensors()
    from safetensors.torch import save

    rewritten(path, lambda members: members.update({"scale.safetensors": save(other)}))
    with pytest.raises(ValueError, match=r"scale\.safetensors is not the one"):
        rddrs.load(path)
    with pytest.raises(ValueError, match="cannot be read"):
        rddrs.load(tmp_path / "nothing.rddrs")


SHAPES = ([1, 2, 7], [1, -2, -6], [1, 2, 6.0])


@pytest.mark.parametrize(
    "change",
    [{"norm": "l3"}, {"grid": -1.0}, {"grid": float("nan")}, {"norm": None}, *({"shape": shape} for shape in SHAPES)],
)
def test_a_card_that_says_what_cannot_be_is_one_error(change, network, tmp_path):
    path = tmp_path / "model.rddrs"
    rddrs.Smoothed(network, rddrs.Isotropic(0.5, 12)).save(path)
    with zipfile.ZipFile(path) as archive:
        card = json.loads(archive.read("card.json")) | change
    rewritten(path, lambda members: members.update({"card.json": json.dumps(card)}))
    with pytest.raises(ValueError, match=r"model\.rddrs cannot be read.*its (norm|shape) is .*, its (grid|C)"):
        rddrs.load(path)


def test_what_was_certified_is_not_said_of_a_network_that_has_changed(network, tmp_path):
    certified = {"classifier": digest(network), "acr_ball": 0.5}
    smoothed = rddrs.Smoothed(network, rddrs.Isotropic(0.5, 12), card={"shape": [1, 2, 6], "certified": certified})
    smoothed.save(tmp_path / "model.rddrs")
    rddrs.load(tmp_path / "model.rddrs").save(tmp_path / "again.rddrs")
    next(network.parameters()).mul_(1.01)
    with pytest.raises(ValueError, match="what it says was certified is another network"):
        smoothed.save(tmp_path / "model.rddrs")
    assert rddrs.load(tmp_path / "again.rddrs").card["certified"] == certified


class Writing(nn.Module):
    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        torch.save(inputs, "evil")
        return inputs


@pytest.mark.filterwarnings("ignore:.torch.jit")
def test_a_script_that_writes_files_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.jit.script(Writing()).save("network.pt")
    with pytest.raises(ValueError, match=r"its code calls torch\.save, which opens files"):
        artefact("network.pt")
    assert not Path("evil").exists()
    torch.jit.script(nn.Linear(2, 2)).save("network.pt")
    assert artefact("network.pt")(torch.zeros(1, 2)).shape == (1, 2)


class Evil:
    def __reduce__(self):
        return os.mkdir, ("evil",)


@pytest.mark.parametrize("place", ["sample_inputs", "weight", "constant", "target", "size", "parameter", "extra"])
def test_a_program_that_holds_other_code_is_refused(place, network, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pickled = io.BytesIO()
    torch.save(Evil(), pickled)

    def plant(members: dict[str, bytes]) -> None:
        def edit(end: str, change) -> None:
            name = next(name for name in members if name.endswith(end))
            members[name] = change(members[name].decode()).encode()

        if place == "sample_inputs":
            members["archive/data/sample_inputs/model.pt"] = pickled.getvalue()
        elif place == "weight":
            members["archive/data/weights/weight_0"] = pickled.getvalue()
            edit("weights_config.json", lambda text: text.replace('"use_pickle": false', '"use_pickle": true', 1))
        elif place == "constant":
            kept = {"path_name": "opaque_obj_0", "is_param": False, "use_pickle": True, "tensor_meta": None}
            members["archive/data/constants/opaque_obj_0"] = pickle.dumps(Evil())
            edit("constants_config.json", lambda text: json.dumps({"config": {"evil": kept}}))
        elif place == "target":
            edit("models/model.json", lambda text: text.replace("torch.ops.aten.relu.default", "torch.os.mkdir"))
        elif place == "size":
            edit("models/model.json", lambda text: text.replace('"expr_str": "', '"expr_str": "__import__(1)+', 1))
        elif place == "parameter":
            edit(
                "models/model.json", lambda text: text.replace('"parameter_name": "', '"parameter_name": "\\"+x+\\"', 1)
            )
        else:
            members["archive/models/evil.py"] = b"import os"

    path = tmp_path / "program.pt2"
    path.write_bytes(exported(network, (1, 2, 6)))
    check(path.read_bytes())
    before = path.read_bytes()
    rewritten(path, plant)
    assert path.read_bytes() != before
    with pytest.raises(Exception, match=r"program|weights_only|Weights only"):
        check(path.read_bytes())
    with pytest.raises(ValueError, match=r"program\.pt2 is no network"):
        artefact(path)
    assert not (tmp_path / "evil").exists()


def test_an_artefact_is_told_by_its_bytes(network, tmp_path):
    torch.manual_seed(1)
    other = Perceptron((1, 2, 6), 3, width=16).eval()
    paths = [tmp_path / "a.pt2", tmp_path / "b.pt2"]
    for path, made in zip(paths, (network, other), strict=True):
        path.write_bytes(exported(made, (1, 2, 6)))
    first, second = map(artefact, paths)
    assert digest(first) == digest(artefact(paths[0])) != digest(second)
    assert first.content_digest != second.content_digest and not first.train().training


@pytest.mark.parametrize(("runtime", "kind"), [("onnxruntime", Onnx), ("openvino", OpenVino)])
def test_onnx_answers_as_the_network_does_in_threads_of_one_core(runtime, kind, network, tmp_path):
    pytest.importorskip(runtime)
    path = tmp_path / "network.onnx"
    write_onnx(network, path)
    found, inputs = artefact(path, runtime=runtime), torch.randn(7, 1, 2, 6)
    assert isinstance(found, kind)
    torch.testing.assert_close(found(inputs), network(inputs))
    scale, x = rddrs.Isotropic(0.5, 12), inputs[0]
    expected = rddrs.certify(network, x, scale, samples=2000).counts
    for workers in (1, 3):
        counts = rddrs.certify(found, x, scale, samples=2000, workers=workers).counts
        assert sum(abs(a - b) for a, b in zip(counts, expected, strict=True)) <= 2
    smoothed = rddrs.Smoothed(pickle.loads(pickle.dumps(found)), scale)
    smoothed.save(tmp_path / "model.rddrs")
    again = rddrs.load(tmp_path / "model.rddrs")
    assert again.card["versions"][runtime] == import_module(runtime).__version__
    assert torch.equal(again.counts(inputs, seed=0), smoothed.counts(inputs, seed=0))
    assert isinstance(again.classifier, kind) and digest(again.get_submodule("classifier")) == digest(found)
    with pytest.raises(ValueError, match="runtime=tensorrt: it must be one of onnxruntime, openvino"):
        artefact(path, runtime="tensorrt")


def write_onnx(network: nn.Module, path: Path, rows: int | None = None) -> None:
    """The perceptron as an ONNX file, for a fixed number of inputs where `rows` are given."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    layers = [module for module in network.modules() if isinstance(module, nn.Linear)]
    nodes, tensors, name = [helper.make_node("Flatten", ["inputs"], ["flat"])], [], "flat"
    for place, layer in enumerate(layers):
        tensors += [
            numpy_helper.from_array(layer.weight.detach().numpy(), f"w{place}"),
            numpy_helper.from_array(layer.bias.detach().numpy(), f"b{place}"),
        ]
        nodes.append(helper.make_node("Gemm", [name, f"w{place}", f"b{place}"], [f"g{place}"], transB=1))
        name = f"g{place}"
        if layer is not layers[-1]:
            nodes.append(helper.make_node("Relu", [name], [f"r{place}"]))
            name = f"r{place}"
    given = helper.make_tensor_value_info("inputs", TensorProto.FLOAT, [rows or "n", 1, 2, 6])
    answer = helper.make_tensor_value_info(name, TensorProto.FLOAT, [rows or "n", 3])
    graph = helper.make_graph(nodes, "network", [given], [answer], tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)


def test_an_onnx_file_whose_weights_lie_elsewhere_is_read_with_them_or_refused(network, tmp_path, monkeypatch):
    """Its own bytes would not tell one network from another: onnxruntime reads the other file where it is run."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    monkeypatch.chdir(tmp_path)
    write_onnx(network, tmp_path / "whole.onnx")
    onnx.save(onnx.load("whole.onnx"), "parted", save_as_external_data=True, location="weights", size_threshold=0)
    with pytest.raises(ValueError, match="its weights lie in another file"):
        Onnx(Path("parted").read_bytes())
    inputs, found = torch.randn(7, 1, 2, 6), artefact("parted")
    Path("weights").write_bytes(bytes(Path("weights").stat().st_size))
    assert torch.equal(found(inputs), artefact("whole.onnx")(inputs))
    assert artefact("parted").content_digest != found.content_digest


def test_an_onnx_file_that_says_where_its_weights_lie_before_it_says_that_it_does_is_one(
    network, tmp_path, monkeypatch
):
    """Fields may lie in any order, and numbers be written longer than they need to be: onnxruntime finds none, then."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    monkeypatch.chdir(tmp_path)
    write_onnx(network, tmp_path / "whole.onnx")
    onnx.save(onnx.load("whole.onnx"), "parted", save_as_external_data=True, location="weights", size_threshold=0)
    key, place = b"\x0a\x08location", b"\x12\x07weights"
    content = Path("parted").read_bytes().replace(key + place, place + key)
    with pytest.raises(ValueError, match="its weights lie in another file"):
        Onnx(content)
    Path("turned").write_bytes(content)
    assert artefact("turned").content_digest == artefact("parted").content_digest
    monkeypatch.setattr("rddrs.models.artefacts.ELSEWHERE", re.compile(b"nothing"))
    with pytest.raises(Exception, match="External data path"):
        Onnx(content)


def test_onnx_names_inputs_that_it_does_not_take(network, tmp_path):
    pytest.importorskip("onnxruntime")
    write_onnx(network, path := tmp_path / "network.onnx")
    with pytest.raises(ValueError, match=r"classifier: it fails on .* inputs of shape \[8, 1, 2, 5\]"):
        rddrs.certify(artefact(path, shape=(1, 2, 5)), torch.rand(1, 2, 5), rddrs.Isotropic(0.3, 10), samples=10)


def test_precise_logits_of_an_onnx_file_are_not_rounded_to_a_tie(network, tmp_path):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    write_onnx(network, path := tmp_path / "network.onnx")
    model = onnx.load(path)
    (answer,), double = model.graph.output, onnx.TensorProto.DOUBLE
    one = onnx.helper.make_tensor("one", double, [], [1e9])
    model.graph.initializer.append(one)
    model.graph.node.append(onnx.helper.make_node("Cast", [answer.name], ["precise"], to=double))
    model.graph.node.append(onnx.helper.make_node("Add", ["precise", "one"], ["shifted"]))
    answer.CopyFrom(onnx.helper.make_tensor_value_info("shifted", double, ["n", 3]))
    onnx.save(model, path)
    inputs = torch.randn(7, 1, 2, 6)
    assert torch.equal(artefact(path)(inputs).argmax(dim=1), network(inputs).argmax(dim=1))


def test_a_network_for_a_fixed_number_of_inputs_is_given_as_many(network, tmp_path):
    pytest.importorskip("onnxruntime")
    write_onnx(network, tmp_path / "fixed.onnx", rows=4)
    program = torch.export.export(network, (torch.rand(4, 1, 2, 6),))
    torch.export.save(program, tmp_path / "fixed.pt2")
    inputs = torch.randn(7, 1, 2, 6)
    runtimes = ["onnxruntime", *(["openvino"] if find_spec("openvino") else [])]
    for name, runtime in [("fixed.pt2", "onnxruntime"), *(("fixed.onnx", each) for each in runtimes)]:
        found = artefact(tmp_path / name, runtime=runtime)
        assert found.rows == 4
        torch.testing.assert_close(found(inputs), network(inputs))


def test_the_padding_of_channels_is_not_quantised(tmp_path):
    """OpenVINO would hold the scales of a ResNet's 8 channels against the 16 that they are padded to."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from rddrs.models.quantisation import as_onnx, quantised

    network, inputs = ResNet((3, 8, 8), 10, depth=8).eval(), torch.rand(8, 3, 8, 8)
    path = tmp_path / "int8.onnx"
    path.write_bytes(quantised(as_onnx(network, (3, 8, 8)), inputs))
    nodes = onnx.load(path).graph.node
    makers = {name: node.op_type for node in nodes for name in node.output}
    padded = [makers[node.input[0]] for node in nodes if node.op_type == "Pad"]
    assert padded == ["Slice", "Slice"] and "DequantizeLinear" in makers.values()
    for runtime in ("onnxruntime", *(["openvino"] if find_spec("openvino") else [])):
        found = artefact(path, runtime=runtime)(inputs)
        assert (found - network(inputs)).abs().max() < 0.2 * network(inputs).abs().max(), runtime
