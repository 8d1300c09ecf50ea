"""The configuration, read and checked: every wrong key, type or range is an error before any work starts."""

import hashlib
import json
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import ValidationError

from pipelines.errors import SettingsError
from pipelines.settings import Classifier, Settings
from rddrs.options import sentence


def json_digest(values: Any) -> str:
    """The sha256, in hex, of values that JSON can hold."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def of_run(asked: dict[str, Any]) -> dict[str, Any]:
    """The configuration that the folder of a run states; where things lie and how to audit is as asked."""
    folder = Path(asked["run"]).resolve()
    if not (folder / "config.yaml").is_file():
        raise SettingsError(f"run={asked['run']}: there is no config.yaml in it: it must be the folder of a run")
    stated: Any = OmegaConf.to_container(OmegaConf.load(folder / "config.yaml"))
    values = {
        **stated,
        **{name: asked[name] for name in ("audit", "device", "shard", "runs", "logs", "figures")},
        "run": str(folder),
    }
    values["output_root"] = str(folder.parents[1]) if folder.parent.name == "runs" else asked["output_root"]
    for name in ("checkpoint", "file"):
        if asked["classifier"][name] is not None:
            values["classifier"][name] = asked["classifier"][name]
    if "scale" in stated["method"] and "scale" in asked["method"]:
        values["method"]["scale"] = asked["method"]["scale"]
    if asked["data"]["name"] == stated["data"]["name"]:
        values["data"] |= {name: asked["data"][name] for name in ("root", "file") if name in asked["data"]}
    return values


def of_card(classifier: dict[str, Any]) -> dict[str, Any]:
    """The network of a card in the place of the one that the data choose; raises SettingsError."""
    from rddrs.models import card_of

    try:
        network = card_of(classifier["pretrained"])["network"]
    except ValueError as error:
        raise SettingsError(f"classifier.{error}") from None
    return {name: value for name, value in classifier.items() if name in Classifier.model_fields} | network


PLACES = ("output_root", "run", "data.root", "data.file", "classifier.checkpoint", "classifier.file")
PLACES += ("train.start", "method.scale")
"""Keys of files and folders."""


def at_home(values: dict[str, Any]) -> None:
    """Expand the ~ of files and folders, in place."""
    for key in PLACES:
        group, _, name = key.rpartition(".")
        part = values[group] if group else values
        if isinstance(part.get(name), str) and part[name].startswith("~"):
            part[name] = str(Path(part[name]).expanduser())


def load(configuration: DictConfig) -> Settings:
    """The checked settings of a composed configuration; raises SettingsError."""
    try:
        values: Any = OmegaConf.to_container(configuration, resolve=True, throw_on_missing=True)
        at_home(values)
        if values.get("run") is not None:
            values = of_run(values)
        if isinstance(values["classifier"].get("pretrained"), str):
            values["classifier"] = of_card(values["classifier"])
        return Settings.model_validate(values)
    except ValidationError as error:
        raise SettingsError(explain(error)) from None
    except OmegaConfBaseException as error:
        key = f"{error.full_key}: " if error.full_key else ""
        raise SettingsError(key + str(error).partition("\n")[0]) from None


def explain(error: ValidationError, prefix: str = "") -> str:
    """One line for each thing that is wrong: the key, the value, what would be right."""
    lines = []
    for item in error.errors():
        place = list(item["loc"])
        if place[:1] == ["train"]:
            del place[1:2]  # which of the kinds of training it is
        lines.append(sentence({**item, "loc": place}, prefix))
    return "\n".join(lines)
