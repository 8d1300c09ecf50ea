"""The network: what it brings, its weights, and what is around it, tried before any work; said or one error."""

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from pipelines.build import build, held_in, told, try_out
from pipelines.errors import SettingsError
from pipelines.settings import Normalize, Settings
from rddrs.data import Dataset
from rddrs.models import Accelerated, Deployed, Logits, Normalized, as_logits, load_weights, matching, without_modes


@dataclass(frozen=True)
class Found:
    """The network with the weights that are given, the settings that follow from it, and notes.

    `frozen` are the weights that training leaves alone, `brings` is whether the network came with weights of its own.
    """

    network: nn.Module
    settings: Settings
    frozen: tuple[str, ...]
    brings: bool
    notes: list[str]


def build_network(settings: Settings, data: Dataset) -> Found:
    """The network, with the weights that are given, tried on inputs of the data; raises SettingsError."""
    network, named = made(settings, data, settings.seed), f"classifier ({settings.classifier.target})"
    keep_float32(settings.device)  # whatever the network's code, which has been imported, allows
    notes, brings = [], False
    reason = cannot_be_trained(network, program=without_modes(network))
    if reason and not settings.classifier.as_it_is:
        settings = changed(settings, weights="own")
        notes.append(f"{named} {reason}: it is certified as it is")
    elif not settings.given:
        own = brought(network, settings, data)
        brings = bool(own) and not settings.classifier.as_it_is
        if brings:
            notes.append(
                f"{named} brings weights of its own ({', '.join(own[:3])}{', ...' if len(own) > 3 else ''}): training "
                "starts from them; classifier.weights=own certifies it as it is"
            )
        elif settings.classifier.weights == "own" and not own:
            notes.append(f"classifier.weights=own: {named} brings none: its weights are those of seed={settings.seed}")
    if not settings.classifier.as_it_is:
        refuse_states(network, named)
    kept = frozen(network)
    if kept and not settings.classifier.as_it_is:
        notes.append(f"{named}: {len(kept)} of its weights are frozen, and stay as they are in training")
    try:
        for key, file in ({} if settings.classifier.file else settings.given).items():
            how = {"state": settings.classifier.state, "new_head": key == "train.start"}
            if settings.classifier.normalize.mean is None and (
                keeps := matching(network, file, key, **how).normalization
            ):
                settings = changed(settings, normalize=Normalize(mean=keeps[0], std=keeps[1]))
                notes.append(f"{key}={file}: it keeps a normalisation, which is used: mean={keeps[0]} std={keeps[1]}")
            notes += load_weights(network, file, key, **how)
        options = settings.classifier
        if (answer := held_in(network, data)) is not None:
            network = Logits(network)
            notes.append(f"{named} answers with a {answer}: its logits are taken")
        if options.normalize.mean is not None and options.normalize.std is not None:
            network = Normalized(network, options.normalize.mean, options.normalize.std, data.shape)
        if options.runtime != "torch" and options.file is None:
            network = Deployed(network, options.runtime, "int8" if options.precision == "int8" else "float32")
        elif options.precision != "int8" and (options.precision != "float32" or options.compile):
            network = Accelerated(network, options.precision, options.compile)
    except ValueError as error:
        raise SettingsError(str(error)) from error
    network = as_logits(network, options.output).to(settings.device)
    without_modes(network)
    for weight in network.parameters():
        weight.requires_grad_(False)
    try_out(network, settings, data)
    return Found(network, settings, kept, brings, notes)


def keep_float32(device: str) -> None:
    """A GPU may round float32 to TF32, in convolutions unless it is told not to: `precision` says what rounds."""
    if device.startswith("cuda"):
        torch.backends.cudnn.fp32_precision = "ieee"  # pyright: ignore[reportAttributeAccessIssue]
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False


def changed(settings: Settings, **options: Any) -> Settings:
    return settings.model_copy(update={"classifier": settings.classifier.model_copy(update=options)})


def made(settings: Settings, data: Dataset, seed: int) -> nn.Module:
    """The network that the settings name, its random weights of that seed; lazy layers are made real by two inputs."""
    options = settings.classifier
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        offered: dict[str, Any] = {"shape": data.shape, "classes": data.classes}
        if options.file is not None:
            offered |= {"file": options.file} | ({} if options.runtime == "torch" else {"runtime": options.runtime})
        network = build("classifier", options, offered)
        if not isinstance(network, nn.Module):
            raise SettingsError(f"classifier._target_={options.target} is no torch.nn.Module: {type(network)}")
        if any(is_lazy(weight) for weight in [*network.parameters(), *network.buffers()]):
            try:
                with torch.no_grad():
                    network(data.test_inputs[:2])
            except Exception as error:
                named = f"classifier ({options.target}) fails on inputs of shape {data.shape}"
                raise SettingsError(f"{named}: {told(error)}") from error
    return network


def frozen(network: nn.Module) -> tuple[str, ...]:
    """The names of the weights that the user froze."""
    return tuple(name for name, weight in network.named_parameters() if not weight.requires_grad)


def cannot_be_trained(network: nn.Module, program: bool) -> str:
    """Why a network is certified as it is, whatever is asked; empty where it can be trained."""
    count = len(list(network.parameters()))
    if program:
        return "is a program that was exported or scripted"
    if count == 0:
        return "has no weights"
    return "has all its weights frozen" if len(frozen(network)) == count else ""


def brought(network: nn.Module, settings: Settings, data: Dataset) -> list[str]:
    """The names of weights that are the same whatever the seed is, and no constants: the network came with them."""
    if settings.classifier.target.startswith("rddrs."):
        return []
    with suppress(Exception):
        other = made(settings, data, settings.seed + 1).state_dict()
        return [
            name
            for name, it in network.state_dict().items()
            if isinstance(it, Tensor)
            and it.is_floating_point()
            and it.numel() > 1
            and not (it == it.flatten()[0]).all()
            if torch.equal(it, other[name])
        ]
    return []


def refuse_states(network: nn.Module, named: str) -> None:
    """Raise SettingsError where the network keeps something that is no tensor: trained weights could not be kept."""
    odd = [name for name, it in network.state_dict().items() if not isinstance(it, Tensor)]
    if odd:
        raise SettingsError(
            f"{named} keeps {', '.join(odd)} in its state dict, which is no tensor and cannot be written "
            "with trained weights: leave get_extra_state out, or certify it as it is: classifier.weights=own"
        )
