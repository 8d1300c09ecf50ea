"""What the settings ask for by name: the objective, the threat, the paths and how training inputs are perturbed."""

from typing import Any

import numpy as np
import torch

from pipelines.build import build, told
from pipelines.errors import SettingsError
from pipelines.importing import imported
from pipelines.settings import Settings
from rddrs.certification import PathTerms
from rddrs.certification.cells import Course
from rddrs.certification.path_certificate import severities_of
from rddrs.certification.paths import feared
from rddrs.data import Dataset
from rddrs.threats import PERTURBATIONS, SHIFT_DOWN, Perturbation, Threat, Way
from rddrs.training.augmentation import Augmentation
from rddrs.training.objectives import Objective


def objective_of(settings: Settings) -> Objective:
    """What training minimises."""
    named, norm = settings.train.objective, settings.certify.norm
    objective = build("train.objective", named, {})
    if not isinstance(objective, Objective):
        what = f"{Objective.__module__}.{Objective.__name__}"
        raise SettingsError(f"train.objective._target_={named.target} gives no {what}: {type(objective)}")
    if norm not in objective.norms:
        alone = ", ".join(objective.norms)
        raise SettingsError(f"train.objective={named.name} is of {alone} alone: certify.norm={norm}")
    return objective


def clamp_of(settings: Settings, data: Dataset) -> tuple[float, float] | None:
    """The range that perturbed images are brought to, if any."""
    if settings.certify.clamp != "auto":
        return settings.certify.clamp
    return None if settings.data.rotation is not None else data.limits


def rounding_of(settings: Settings, data: Dataset) -> float | None:
    """The step that perturbed images are rounded to, if any."""
    return data.grid if settings.certify.rounding == "auto" else settings.certify.rounding


def threat_of(settings: Settings, data: Dataset) -> Threat:
    """What the settings name: perturbations of the project, importable functions, files of patterns, and the volume.

    Of those that are on a path that is asked for it is what they do along it.
    """
    parts, weights = [], []
    for name, weight in settings.threat.items():
        if name == "volume":
            continue
        found: list[Any] = [name]
        if name.endswith(".npy"):
            try:
                found = list(np.load(name).reshape(-1, *data.shape))
            except (OSError, ValueError) as error:
                raise SettingsError(f"threat={name}: patterns of shape {data.shape} are needed: {error}") from error
        elif "." in name:
            try:
                found = [imported(name)]
            except ValueError as error:
                raise SettingsError(f"threat={error}") from error
        parts += found
        weights += [weight / len(found)] * len(found)
    ways = [
        Way(feared(it.perturbation), severities_of(it.low), severities_of(it.high))
        for it in paths_of(settings, data).values()
    ]
    try:
        volume = settings.threat.get("volume", 0.0 if parts else 1.0)
        threat = Threat(*parts, weights=weights, volume=volume, clamp=clamp_of(settings, data), along=ways)
        threat.require(data.shape)
    except ValueError as error:
        raise SettingsError(str(error)) from error
    except Exception as error:  # whatever a user's function raises
        raise SettingsError(f"threat={[*settings.threat]}: {told(error)}") from error
    known = {it.name: it.limit for it in threat.reported if it.applies(data.shape)}
    for name, asked in settings.threat_at.items():
        if name not in known:
            raise SettingsError(f"threat_at.{name}: inputs of shape {data.shape} have {', '.join(known)}")
        if asked > known[name]:
            raise SettingsError(f"threat_at.{name}={asked:g}: severities of {name} end at {known[name]:g}")
    return threat


def perturbation_of(key: str, name: str) -> Perturbation:
    """The perturbation that a key names: one of the project, or an importable one."""
    known = {it.name: it for it in (*PERTURBATIONS, SHIFT_DOWN)}
    if name in known:
        return known[name]
    try:
        found = imported(name)
    except ValueError as error:
        raise SettingsError(f"{key}={name}: it is none of {', '.join(known)}, and {error}") from error
    if not isinstance(found, Perturbation):
        raise SettingsError(f"{key}={name}: it must be a rddrs.Perturbation, not a {type(found).__name__}")
    return found


def paths_of(settings: Settings, data: Dataset) -> dict[str, PathTerms]:
    """What is asked of the paths, by their names; each is tried on an input of the data's shape."""
    options = settings.certify
    clamp, rounding = clamp_of(settings, data), rounding_of(settings, data)
    if options.paths and not (options.path_unrounded or rounding):
        raise SettingsError(
            "certify.path_unrounded=False: images are not rounded: certify.rounding=1/255, or their step"
        )
    found, x = {}, torch.rand(data.shape, generator=torch.Generator().manual_seed(0))
    for key, asked in options.paths.items():
        parts = tuple(perturbation_of("certify.paths", name) for name in key.split("+"))
        try:
            low, high = path_ends(parts, asked)
            Course(parts, x, clamp).hull(*(torch.tensor([end], dtype=torch.float64) for end in (low, high)))
        except ValueError as error:
            raise SettingsError(f"certify.paths.{key}={asked}: {error}") from error
        except Exception as error:  # whatever a user's function raises
            raise SettingsError(f"certify.paths.{key}={asked}: {told(error)}") from error
        ends = (low, high) if len(parts) > 1 else (low[0], high[0])
        found["+".join(it.name for it in parts)] = PathTerms(
            parts,
            *ends,
            alpha=options.alpha,
            clamp=clamp,
            rounding=rounding,
            unrounded=options.path_unrounded,
            regions=options.path_regions,
            samples=options.path_samples,
            budget=options.path_budget,
            selection_samples=options.selection_samples,
            seed=settings.seed,
        )
    return found


def path_ends(parts: tuple[Perturbation, ...], asked: float | list[float]) -> tuple[tuple[float, ...], ...]:
    """From which to which severities a path goes: both ways up to a number, or from one of two numbers to the other.

    Of two perturbations it is a number each. Raises ValueError where the numbers are not those.
    """
    numbers = asked if isinstance(asked, list) else [asked]
    if len(parts) == 1 and len(numbers) == 2:
        low, high = (numbers[0],), (numbers[1],)
    elif len(numbers) == len(parts) <= 2 and min(numbers) > 0:
        low = tuple(-end if it.two_sided else 0.0 for it, end in zip(parts, numbers, strict=True))
        high = tuple(numbers)
    else:
        raise ValueError("a positive severity for each of one or two perturbations is needed, or [low, high] of one")
    if not all(start <= 0 <= end and start < end for start, end in zip(low, high, strict=True)):
        raise ValueError("low <= 0 <= high and low < high are needed")
    if any(start < 0 and not it.two_sided for it, start in zip(parts, low, strict=True)):
        raise ValueError("it has no negative severities: [0, high] is needed")
    return low, high


def augmentation_of(settings: Settings, data: Dataset) -> Augmentation | None:
    """How training inputs are perturbed, if at all."""
    if not settings.train.augment:
        return None
    limits = {perturbation_of("train.augment", name): limit for name, limit in settings.train.augment.items()}
    augmentation = Augmentation(limits, clamp_of(settings, data))
    try:
        augmentation.require(data.shape)
    except Exception as error:  # whatever a user's function raises
        raise SettingsError(f"train.augment: {told(error)}") from error
    return augmentation
