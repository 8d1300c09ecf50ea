"""Settings into objects: data, network and method, all checked before any work starts."""

import math
from functools import partial
from pathlib import Path

from pipelines.asked import augmentation_of, objective_of, paths_of, threat_of
from pipelines.build import build, check_card, doubts
from pipelines.errors import SettingsError
from pipelines.networks import build_network
from pipelines.prepared import Prepared
from pipelines.settings import Settings
from rddrs.data import Dataset, random_rotation
from rddrs.digests import file_digest
from rddrs.methods import Method
from rddrs.models import Rotated, deployed_in, digest
from rddrs.noise import Grid, Isotropic


def prepare(settings: Settings) -> Prepared:
    """Build everything that the settings name; raises SettingsError."""
    for key, file in {"train.start": settings.train.start, **settings.given}.items():
        if file is not None and not Path(file).is_file():
            raise SettingsError(f"{key}={file}: there is no such file")
    data = build("data", settings.data, {})
    if not isinstance(data, Dataset):
        raise SettingsError(f"data._target_={settings.data.target} gives no rddrs.data.Dataset: {type(data)}")
    kind = f"images; the inputs have shape {data.shape}"
    if settings.data.flip and len(data.shape) != 3:
        raise SettingsError(f"data.flip=true mirrors {kind}: set data.flip=false")
    if settings.data.crop and len(data.shape) != 3:
        raise SettingsError(f"data.crop={settings.data.crop} shifts {kind}: set data.crop=0")
    if settings.data.crop >= min(data.shape[1:], default=math.inf):
        raise SettingsError(f"data.crop={settings.data.crop} may shift all of an image of {data.shape} out of sight")
    return prepare_on(data, settings)


def prepare_on(data: Dataset, settings: Settings) -> Prepared:
    """What the settings name beside the data, which were read before; raises SettingsError."""
    try:
        indices = data.evaluation_indices(settings.data.subset)
    except ValueError as error:
        raise SettingsError(str(error)) from error
    threat, objective = threat_of(settings, data), objective_of(settings)
    check_card(settings, data)
    method = build("method", settings.method, {"threat": threat, "norm": settings.certify.norm})
    if not isinstance(method, Method):
        raise SettingsError(f"method._target_={settings.method.target} gives no rddrs.Method: {type(method)}")
    try:
        method.require(data.shape)
    except ValueError as error:
        raise SettingsError(str(error)) from error
    again, data_digest = partial(prepare_on, data), data.digest  # before a network sees the data
    found = build_network(settings, data)
    settings, network = found.settings, found.network
    if deployed_in(network) is not None and method.uses_gradient:
        raise SettingsError(
            f"method={settings.method.name} needs the gradient of the network, and classifier.runtime="
            f"{settings.classifier.runtime} has none: give its C, method=given method.scale=FILE, or take rs or ddrs"
        )
    try:
        method.require_gradient(network, data.test_inputs[indices[0]].to(settings.device))
    except ValueError as error:
        raise SettingsError(f"method={settings.method.name}: {error}") from error
    notes = [*data.notes, *found.notes, *doubts(network, settings, data)]
    start = None if settings.train.start is None else file_digest(Path(settings.train.start))
    if found.brings:
        start = digest(network, data.test_inputs[:8].to(settings.device))
    if settings.data.rotation is not None:
        rotation = random_rotation(data.test_inputs[0].numel(), settings.data.rotation)
        data, network = data.rotated(rotation), Rotated(network, rotation.to(settings.device))
    start = f"{start} without {found.frozen}" if found.frozen and not settings.classifier.as_it_is else start
    paths, augmentation = paths_of(settings, data), augmentation_of(settings, data)
    prepared = Prepared(
        settings,
        data,
        network,
        method,
        threat,
        paths,
        augmentation,
        objective,
        indices,
        data_digest,
        again,
        tuple(notes),
        found.frozen,
        start,
    )
    check_grid(prepared)
    check_clamp(prepared)
    return prepared


def check_grid(prepared: Prepared) -> None:
    """Raise SettingsError where an input to be certified does not lie on the grid, or is too far out for its step."""
    if (step := prepared.grid) is None:
        return
    own, inputs = prepared.data.grid, prepared.data.test_inputs
    finer = own is not None and math.isclose(own / step, round(own / step), rel_tol=1e-9) and own / step > 0.5
    for index in prepared.indices[:1] if finer else prepared.indices:
        x = inputs[index].flatten()
        try:
            Grid(x, Isotropic(prepared.settings.sigma, len(x)), step)
        except ValueError as error:
            raise SettingsError(f"certify.grid={prepared.settings.certify.grid}: input {index}: {error}") from error


def check_clamp(prepared: Prepared) -> None:
    """Raise SettingsError where an input to be certified lies outside of the range that its changes are brought to."""
    if prepared.settings.certify.clamp == "auto" or prepared.clamp is None:
        return
    low, high = prepared.clamp
    for index in prepared.indices:
        least, most = (float(it) for it in prepared.data.test_inputs[index].aminmax())
        if not (low <= least and most <= high):
            told = f"certify.clamp={list(prepared.clamp)}: input {index} has values from {least:g} to {most:g}"
            raise SettingsError(f"{told}: give the data's own range, or null")
