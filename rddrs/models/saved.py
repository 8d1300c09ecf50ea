"""One file of a smoothed classifier: the network, C, and a card of what is known of them, in a zip archive.

The network lies in it as a program of torch.export, where it can be exported, or as the file that it was read from;
else as its weights and the name of the class that makes it, of those that are installed. Loading runs no code of the
file but that network.
"""

import hashlib
import io
import json
import math
import zipfile
from collections.abc import Mapping
from copy import deepcopy
from importlib import import_module
from pathlib import Path
from pydoc import locate
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from rddrs.files import Unreadable, replacing
from rddrs.models.accelerated import Accelerated
from rddrs.models.adapters import Adapter, LogProbabilities, Normalized
from rddrs.models.artefacts import RUNTIMES, Artefact, Exported, OpenVino, Scripted, from_bytes
from rddrs.models.deployed import Deployed
from rddrs.models.identity import digest
from rddrs.models.programs import check_same, exported, precision_of
from rddrs.noise import FAMILIES, Kronecker, Scale, from_tensors
from rddrs.version import __version__

FORMAT = 1
CARD, SCALE, WEIGHTS, NETWORK = "card.json", "scale.safetensors", "weights.safetensors", "network"


def write(
    path: str | Path, classifier: Any, scale: Scale, card: Mapping[str, Any], target: Mapping[str, Any] | None
) -> None:
    """Write the file, all of it or nothing.

    Raises ValueError where the network can neither be exported nor named, where what the file makes is not the network,
    and where the card states what was certified of another one.
    """
    try:
        json.dumps(dict(card))
    except TypeError as error:
        raise ValueError(f"card: {error}: texts, numbers, lists and dictionaries of them are needed") from error
    given = card.get("shape")
    if given is not None and not (isinstance(given, list | tuple) and math.prod(given) == scale.dim):
        raise ValueError(f"card: shape={given!r}: the sizes of an input of {scale.dim} entries are needed, a list")
    inner, adapters = _taken_apart(classifier)
    if isinstance(inner, torch.jit.ScriptModule):
        buffer = io.BytesIO()
        torch.jit.save(inner, buffer)
        inner = Scripted(buffer.getvalue())
    certified = card.get("certified")
    known = certified.get("classifier") if isinstance(certified, Mapping) else None
    if known and isinstance(inner, nn.Module) and not isinstance(inner, Artefact) and known != digest(classifier):
        raise ValueError("card: what it says was certified is another network, as this one was before it was changed")
    stated = card.get("shape") or (inner.shape if isinstance(inner, Artefact) else None)
    shape = tuple(stated or input_shape(classifier, scale))
    members = {SCALE: safetensors.torch.save(_on_cpu(scale.tensors()))}
    if isinstance(inner, Artefact):
        members[NETWORK + inner.suffix] = inner.content
    else:
        try:
            members[NETWORK + Exported.suffix], adapters = exported(_plain(classifier), shape), []
        except ValueError as error:
            if target is None or not isinstance(inner, nn.Module):
                raise ValueError(f"{error}; give target={{'_target_': 'package.Class', ...}}: what makes it") from error
            members[WEIGHTS] = safetensors.torch.save(_on_cpu(inner.state_dict()))
    runtimes = {name: import_module(name).__version__ for name, it in RUNTIMES.items() if isinstance(inner, it)}
    facts = {
        **card,
        "format": FORMAT,
        "versions": {"rddrs": __version__, "torch": torch.__version__.partition("+")[0]} | runtimes,
        "scale": {"kind": type(scale).__name__, "dim": scale.dim, "digest": scale.digest},
        "shape": shape,
        "adapters": adapters,
        "target": dict(target) if target is not None and WEIGHTS in members else None,
        "digests": {name: hashlib.sha256(content).hexdigest() for name, content in members.items()},
    }
    if adapters or WEIGHTS in members:  # what is a program was compared when it was exported
        try:
            check_same(_network(members, facts), classifier, shape)
        except AssertionError as error:
            raise ValueError(f"what the file makes answers otherwise than the classifier: {error}") from error
    members = {CARD: json.dumps(facts, indent=1).encode(), **members}
    with replacing(Path(path)) as part, zipfile.ZipFile(part, "w") as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content)


def read(path: str | Path) -> tuple[nn.Module, Scale, dict[str, Any]]:
    """The network, C and the card of the file; raises Unreadable, a ValueError, where it is damaged or no such file."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        card = json.loads(members.pop(CARD))
        if card["format"] > FORMAT:
            raise ValueError(f"it is of format {card['format']}: install rddrs {card['versions']['rddrs']} or later")
        for name in {*members, *card["digests"]}:
            if hashlib.sha256(members[name]).hexdigest() != card["digests"].get(name):
                raise ValueError(f"its part {name} is not the one that was written")
        if card["norm"] not in FAMILIES or not (card["grid"] is None or 0 < card["grid"] < math.inf):
            raise ValueError(f"its norm is {card['norm']!r}, its grid {card['grid']!r}")
        scale = from_tensors(safetensors.torch.load(members[SCALE]))
        whole = all(type(size) is int and size > 0 for size in card["shape"])
        if not whole or math.prod(card["shape"]) != scale.dim:
            raise ValueError(f"its shape is {card['shape']}, its C of inputs of {scale.dim} entries")
        return _network(members, card), scale, card
    except Exception as error:  # whatever the parsers of damaged bytes raise
        told = [*str(error).strip().splitlines(), type(error).__name__][0]
        raise Unreadable(f"{path} cannot be read as the file of a smoothed classifier: {told}") from error


def _network(members: Mapping[str, bytes], card: Mapping[str, Any]) -> nn.Module:
    """The network that the members of a file make."""
    shape = tuple(card["shape"])
    if WEIGHTS in members:
        network = _made(card["target"])
        network.load_state_dict(safetensors.torch.load(members[WEIGHTS]), assign=True)  # in their own precision
    else:
        name = next(name for name in members if name.startswith(NETWORK))
        runtime = "openvino" if name == NETWORK + OpenVino.suffix else "onnxruntime"
        network = from_bytes(members[name], shape, runtime)
    for adapter in card["adapters"]:
        network = _around(network, adapter, shape)
    return network.eval().requires_grad_(False)


def input_shape(classifier: Any, scale: Scale) -> tuple[int, ...]:
    """The shape of an input of this dimension that the classifier takes; raises ValueError where it takes none."""
    side = math.isqrt(scale.dim)
    colours = math.isqrt(scale.dim // 3)
    shapes: list[tuple[int, ...]] = [tuple(scale.values.shape)] if isinstance(scale, Kronecker) else [(scale.dim,)]
    shapes += [(1, side, side), (3, colours, colours), (side, side)]
    for shape in shapes:
        if math.prod(shape) == scale.dim and precision_of(classifier, shape):
            return shape
    raise ValueError(f"the shape of an input of {scale.dim} entries is not known: give shape=(...)")


def _on_cpu(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


class Rounded(nn.Module):
    """A network in another precision: what `Accelerated` answers with, without its copies."""

    def __init__(self, accelerated: Accelerated) -> None:
        super().__init__()
        self.dtype = accelerated.dtype
        self.network = deepcopy(accelerated.network).to(self.dtype)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.network(inputs.to(self.dtype)).to(inputs.dtype)


def _plain(classifier: Any) -> Any:
    """The classifier without compiled copies, which are of one machine."""
    if isinstance(classifier, Accelerated):
        return Rounded(classifier)
    if not isinstance(classifier, nn.Module) or not any(isinstance(it, Accelerated) for it in classifier.modules()):
        return classifier
    copied = deepcopy(classifier)
    for module in list(copied.modules()):
        for name, child in module.named_children():
            if isinstance(child, Accelerated):
                setattr(module, name, Rounded(child))
    return copied.eval()


def _taken_apart(classifier: Any) -> tuple[Any, list[dict[str, Any]]]:
    """The network inside its adapters, and what these are, the innermost first."""
    described: list[dict[str, Any]] = []
    while isinstance(classifier, Adapter):
        if isinstance(classifier, Normalized):
            numbers = {name: getattr(classifier, name).flatten().tolist() for name in ("mean", "std")}
            described.insert(0, {"kind": "Normalized", **numbers})
        elif not (isinstance(classifier, Deployed) and classifier.is_deployed):
            described.insert(0, {"kind": type(classifier).__name__})
        classifier = classifier.network
    return classifier, described


def _around(network: nn.Module, adapter: dict[str, Any], shape: tuple[int, ...]) -> nn.Module:
    """The network with an adapter around it."""
    if adapter["kind"] == "Normalized":
        return Normalized(network, adapter["mean"], adapter["std"], shape)
    if adapter["kind"] == "LogProbabilities":
        return LogProbabilities(network)
    raise ValueError(f"its network was inside {adapter['kind']}, which a file cannot hold without an exported program")


def _made(target: Mapping[str, Any]) -> nn.Module:
    """The network that a class makes: of torch.nn.Module alone, so that a file calls nothing else."""
    arguments = {name: value for name, value in target.items() if name != "_target_"}
    found = locate(target["_target_"])
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise ValueError(f"{target['_target_']}, which makes its network, is no torch.nn.Module that is installed here")
    return found(**{name: tuple(value) if isinstance(value, list) else value for name, value in arguments.items()})
