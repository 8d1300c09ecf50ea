"""The smoothed classifier of a finished run: what it certified, ready to be saved and used."""

import inspect
import json
from collections.abc import Iterator
from pathlib import Path
from pydoc import locate
from typing import Any

import pandas as pd
import torch
import yaml
from torch import nn

from rddrs.certification import Smoothed
from rddrs.data import random_rotation
from rddrs.data.folder import class_names
from rddrs.models import (
    Accelerated,
    Deployed,
    Logits,
    Normalized,
    Rotated,
    artefact,
    as_logits,
    digest,
    load_weights,
    weights_file,
    without_modes,
)
from rddrs.records import RunFolder, Store
from rddrs.smoothing import taken

OPTIONS = (
    "_target_",
    "output",
    "checkpoint",
    "state",
    "weights",
    "pretrained",
    "file",
    "epochs",
    "normalize",
    "precision",
    "runtime",
    "compile",
    "threads",
)


def smoothed_of(folder: Path, records: pd.DataFrame) -> Smoothed:
    """G_C of the run in this folder: its network, found by the digest that its certificates are bound to, and its C.

    Its card states what was certified. Raises ValueError where the inputs of the run have scales of their own, so that
    it is about many classifiers, and where the network's weights, or the code that makes it, are not there.
    """
    places = RunFolder(folder)
    stated = yaml.safe_load(places.configuration.read_text())
    store, method, indices = Store(folder), stated["method"]["name"], records["index"].tolist()
    shared = method == "rs" or "scale" in store.stated(indices[0])
    if not shared or len(set(records["log_det"].tolist())) > 1:
        raise ValueError(
            f"{folder.name}: method={method} gives every input a C of its own, so that there is no one classifier to "
            "deploy: method=rddrs_global and rs have one"
        )
    certificate, network = store.certificate(indices[0]), network_of(folder, records)
    options, given, data = stated["certify"], stated["classifier"], stated["data"]
    bound = store.stated(indices[0])["binding"]["data"]
    seen = [store.input(index) for index in indices[:: -(-len(indices) // 50)]]
    summary = json.loads(places.summary.read_text())
    kept = ("inputs", "certified_accuracy", "abstentions", "acr_radius", "acr_ball", "acr_proxy", "fidelity")
    asked = ("samples", "selection_samples", "alpha", "bound", "target_radius", "mode")
    known = {
        "shape": list(certificate.x.shape),
        "sigma": stated["sigma"],
        "range": [min(x.min().item() for x in seen), max(x.max().item() for x in seen)],
        "classes": class_names(data["root"], data["size"], bound) if data["name"] == "folder" else None,
        "normalize": given["normalize"],
        "data": {name: data.get(name) for name in ("name", "size")},
        "certified": {
            "run": places.name,
            "method": method,
            "classifier": digest(network),
            **{name: summary[name] for name in kept if name in summary},
            **{name: options[name] for name in asked},
        },
    }
    return Smoothed(network, certificate.scale, certificate.norm, certificate.grid, known)


def network_of(folder: Path, records: pd.DataFrame) -> nn.Module:
    """The network that the certificates of the run in this folder are bound to; raises ValueError where it is gone."""
    places, store, first = RunFolder(folder), Store(folder), int(records["index"].iloc[0])
    stated = yaml.safe_load(places.configuration.read_text())
    certificate, bound = store.certificate(first), store.stated(first)["binding"]["classifier"]
    options, shape, classes = stated["classifier"], tuple(certificate.x.shape), len(certificate.counts)
    chosen = {key: value for key, value in options.items() if key == "_target_" or key not in OPTIONS}
    offered = {"shape": shape, "classes": classes} | ({"file": options["file"]} if options.get("file") else {})
    if (runtime := options.get("runtime", "torch")) != "torch":
        offered |= {"runtime": runtime}
    if runtime != "torch" and not options.get("file"):
        for file in sorted(places.root.classifiers.glob("*/*.onnx")):
            network = Deployed(artefact(file, shape, runtime), runtime, options["precision"])
            network = as_logits(network, options["output"])
            if digest(network) == bound:
                return network
    for weights in _weights(folder, options):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stated["seed"])
            network = _made(folder, chosen, offered)
            without_modes(network)
            with torch.no_grad():
                answer = network(torch.stack([certificate.x, certificate.x]))  # lazy layers are made real by it
        if weights is not None:
            try:
                load_weights(network, weights, state=options.get("state") if options["checkpoint"] else None)
            except ValueError:
                continue  # those of another network
        if taken(answer) is not answer:
            network = Logits(network)
        if options["normalize"]["mean"] is not None:
            network = Normalized(network, options["normalize"]["mean"], options["normalize"]["std"], shape)
        if options["precision"] != "float32" or options["compile"]:
            network = Accelerated(network, options["precision"], options["compile"])
        network = as_logits(network, options["output"])
        if stated["data"]["rotation"] is not None:
            network = Rotated(network, random_rotation(certificate.x.numel(), stated["data"]["rotation"]))
        without_modes(network)
        for weight in network.parameters():
            weight.requires_grad_(False)
        if digest(network) == bound:
            return network
    raise ValueError(
        f"{folder.name}: the network that was certified is not here: its weights are looked for in "
        f"{places.root.classifiers}, or where classifier.checkpoint or classifier.file says; the "
        "code of a network of your own must be what it was"
    )


def _made(folder: Path, options: dict[str, Any], offered: dict[str, Any]) -> Any:
    """What the options name, made from its arguments, those that have a `_target_` made first, and what is offered."""
    make: Any = locate(options["_target_"])
    if make is None:
        raise ValueError(f"{folder.name}: classifier._target_={options['_target_']} cannot be imported")
    given = {key: value for key, value in options.items() if key != "_target_"}
    arguments = {
        key: _made(folder, it, offered) if isinstance(it, dict) and "_target_" in it else it
        for key, it in given.items()
    }
    parameters = inspect.signature(make).parameters
    return make(**{key: it for key, it in offered.items() if key in parameters} | arguments)


def _weights(folder: Path, options: dict[str, Any]) -> Iterator[Path | None]:
    """Where the weights may be; None: the network is made with them."""
    if options.get("weights") == "own" or options.get("file"):
        yield None
    elif options["pretrained"]:
        yield weights_file(options["pretrained"])
    elif options["checkpoint"]:
        if Path(options["checkpoint"]).is_file():
            yield Path(options["checkpoint"])
    else:
        yield from sorted(RunFolder(folder).root.classifiers.glob("*/weights.safetensors"))
