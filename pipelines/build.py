"""What the settings name, made and tried: any importable object, and the network with its weights."""

import inspect
import sys
import traceback
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import nn

from pipelines.config import explain
from pipelines.errors import SettingsError
from pipelines.importing import imported
from pipelines.settings import Settings, Target
from rddrs.data import Dataset
from rddrs.data import doubts as range_doubts
from rddrs.models import card_of, scale_file
from rddrs.models.doubts import answers, are_probabilities, near_chance
from rddrs.smoothing import check_contract, taken


def build(key: str, group: Target, offered: dict[str, Any]) -> Any:
    """The object that the group names, made from its arguments and those of `offered` that it accepts.

    An argument that has a `_target_` itself is made first. An error of a user's own code shows that code's traceback.
    """
    try:
        factory = imported(group.target)
    except ValueError as error:
        raise SettingsError(f"{key}._target_={error}") from error
    arguments = {
        name: build(f"{key}.{name}", Target.model_validate(value), offered)
        if isinstance(value, dict) and "_target_" in value
        else value
        for name, value in group.arguments.items()
    }
    parameters = inspect.signature(factory).parameters
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        for name in arguments:
            if name not in parameters:
                accepted = ", ".join(parameters) or "no argument"
                raise SettingsError(f"{key}.{name}: there is no such key; {group.target} takes {accepted}")
    try:
        return factory(**{name: value for name, value in offered.items() if name in parameters} | arguments)
    except ValidationError as error:
        raise SettingsError(explain(error, key)) from None
    except Exception as error:
        raise SettingsError(f"{key} ({group.target}): {told(error)}") from error


OURS = ("pipelines", "rddrs", "torch", "jaxtyping")


def told(error: Exception) -> str:
    """The error's message and, where a user's own code raised it, the traceback without our frames."""
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if _module(frame) not in OURS]
    if not own:
        return str(error)
    lines = traceback.format_list(own) + traceback.format_exception_only(error)
    return "\n".join([str(error), "Traceback (most recent call last):", "".join(lines).rstrip()])


def is_of_a_user(error: Exception) -> bool:
    """Whether code that is no installed package's raised it, or called what did."""
    installed = (sys.prefix, sys.base_prefix, str(Path(__file__).parents[1]))
    return not all(it.filename.startswith((*installed, "<")) for it in traceback.extract_tb(error.__traceback__))


def _module(frame: traceback.FrameSummary) -> str:
    """The top-level package of a frame, by the places of the packages."""
    for name in OURS:
        folder = Path(str(sys.modules[name].__file__)).parent
        if Path(frame.filename).is_relative_to(folder):
            return name
    return ""


def held_in(network: nn.Module, data: Dataset) -> str | None:
    """The kind of an answer that holds logits and is none itself; None where it is, or where the network fails."""
    try:
        with torch.inference_mode():
            answer = network.eval()(data.test_inputs[:2].clone())
    except Exception:  # told by `try_out`
        return None
    return None if isinstance(answer, torch.Tensor) or taken(answer) is answer else type(answer).__name__


def try_out(network: nn.Module, settings: Settings, data: Dataset) -> None:
    """Raise SettingsError where the network does not answer the first inputs of the data, or not as is needed."""
    named = f"classifier ({settings.classifier.target})"
    x = data.test_inputs[:8].to(settings.device)
    try:
        with torch.inference_mode():
            first = network(x.clone())
    except Exception as error:
        raise SettingsError(f"{named} fails on an input of shape {data.shape}: {told(error)}") from error
    if not isinstance(first, torch.Tensor):
        raise SettingsError(f"{named} returns {type(first).__name__}: a tensor of logits [n, classes] is needed")
    if first.shape != (len(x), data.classes):
        raise SettingsError(
            f"{named} maps one input to shape {(1, *first.shape[1:])}: data={settings.data.name} "
            f"has {data.classes} classes, so (1, {data.classes}) is needed"
        )
    if not torch.isfinite(first).all():
        raise SettingsError(f"{named} answers NaN or infinite logits to the first test inputs")
    try:
        check_contract(network, x[0])
    except Exception as error:
        raise SettingsError(f"{named}: {told(error)}") from error


def doubts(network: nn.Module, settings: Settings, data: Dataset) -> list[str]:
    """What looks wrong with the range of the inputs or with given weights, on the reference inputs: warnings.

    Raises SettingsError where training and test inputs cannot be of one scaling.
    """
    reference = data.reference(settings.data.reference, settings.seed).to(settings.device)
    tests = data.test_inputs[data.evaluation_indices(min(64, len(data.test_inputs)))]
    try:
        found = range_doubts(reference.inputs, tests.to(settings.device), settings.sigma, data.train_inputs.binary)
    except ValueError as error:
        raise SettingsError(str(error)) from error
    low, high = (it.item() for it in reference.inputs.aminmax())
    span, normalize = high - low, settings.classifier.normalize
    centred = all(low - span <= mean <= high + span for mean in normalize.mean or ())
    if not (centred and all(span / 500 <= it <= 2 * span for it in normalize.std or ())):
        found.append(
            f"classifier.normalize: mean={normalize.mean} std={normalize.std}, and the inputs go from {low:g} to "
            f"{high:g}: are these in other units, as numbers up to 255 are?"
        )
    given = [f"{key}={file}" for key, file in settings.given.items()]
    logits = answers(network, reference.inputs)
    if settings.classifier.output == "logits" and are_probabilities(logits):
        found.append("the network answers probabilities, it seems: classifier.output=probabilities says so")
    for named in given or (["classifier.weights=own"] if settings.classifier.weights == "own" else []):
        if (accuracy := near_chance(logits, reference.labels, data.classes)) is not None:
            found.append(
                f"{named}: only {accuracy:.0%} of {len(logits)} training inputs are answered rightly, without "
                "noise: does it want normalised inputs (classifier.normalize), or classes in another order?"
            )
    return found


def check_card(settings: Settings, data: Dataset) -> None:
    """Raise SettingsError where a network that ships with the package is given other inputs or noise than its own."""
    if (name := settings.classifier.pretrained) is None:
        return
    card, named = card_of(name), f"classifier.pretrained={name}"
    own = (tuple(card["shape"]), card["classes"])
    if own != (data.shape, data.classes):
        has = f"data={settings.data.name} has {data.classes} classes and inputs of shape {data.shape}"
        raise SettingsError(f"{named} answers {own[1]} classes for inputs of shape {own[0]}: {has}")
    if settings.sigma != card["sigma"]:
        raise SettingsError(f"sigma={settings.sigma:g}: {named} was trained at sigma={card['sigma']:g}")
    if settings.classifier.normalize.mean is not None or settings.classifier.output != "logits":
        raise SettingsError(f"{named} answers logits for inputs as they are: leave classifier.normalize and output out")
    if scale_file(name).exists():
        threat, rotation, norm = settings.threat, settings.data.rotation, settings.certify.norm
        given = {"threat": threat or None, "data.rotation": rotation, "certify.norm": None if norm == "l2" else norm}
        for key, value in given.items():
            if value is not None:
                raise SettingsError(f"{key}={value}: {named} has a C of its own, for the volume in l2: leave {key} out")
