"""The command that makes a run again: what its settings have that the configuration has not."""

import json
import shlex
from functools import cache
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from pipelines.config import load
from pipelines.entry import CONFIGURATION
from pipelines.help import chosen
from pipelines.settings import Settings

ELSEWHERE = ("run", "runs", "logs", "figures", "shard", "device", "audit")
"""Keys that no result depends on."""
OPEN = ("data", "classifier", "method", "train", "certify")
"""Groups, whose keys stand for themselves; other mappings are one value."""


def command_of(settings: Settings) -> str:
    """A line for a shell, `rddrs run KEY=VALUE ...`: groups by their names, every other value by its key."""
    given = settings.model_dump(by_alias=True)
    words = [f"{group}={given[group]['name']}" for group in ("data", "method", "train")]
    words = [word for word in words if word != "train=own"]  # it has no objective before it is given one
    words = [word for word in words if (CONFIGURATION / f"{word.replace('=', '/')}.yaml").exists()]
    for path in sorted((CONFIGURATION / "classifier").glob("*.yaml")):
        if f"_target_: {given['classifier']['_target_']} " in path.read_text().replace("\n", " "):
            words.append(f"classifier={path.stem}")
    try:
        base = _composed(*words)
    except Exception:  # a part that is no file of the configuration
        return ""
    flat, known = _flat(given), _flat(base)
    parts = {group: name for group, _, name in (word.partition("=") for word in words)}
    data = [f"data={parts.get('data')}"]
    needed = [
        f"{group}={name}" for group, name in parts.items() if chosen(group, [] if group == "data" else data) != name
    ]
    for key, value in flat.items():
        if known.get(key, ...) != value and key.split(".")[0] not in ELSEWHERE:
            sign = "++" if key == "train.objective" else "" if key in known else "+"  # its constants are its own
            needed.append(f"{sign}{key}={_text(value)}")
    if flat["sigma"] == known["sigma"]:
        needed.append(f"sigma={flat['sigma']:g}")
    return shlex.join(["rddrs", "run", *needed])


@cache
def _composed(*words: str) -> dict[str, Any]:
    """The settings of a command line, which many runs of a sweep begin with."""
    outer = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(CONFIGURATION), version_base="1.3"):
            return load(compose("config", [*words])).model_dump(by_alias=True)
    finally:
        GlobalHydra.instance().hydra = outer


def _flat(values: dict[str, Any]) -> dict[str, Any]:
    found = {}
    for key, value in values.items():
        if key in OPEN:
            found |= {f"{key}.{name}": it for name, it in value.items()}
        else:
            found[key] = value
    return found


def _text(value: Any) -> str:
    """A value as Hydra's grammar has it."""
    match value:
        case None:
            return "null"
        case dict():
            return "{" + ",".join(f"{key}:{_text(it)}" for key, it in value.items()) + "}"
        case list() | tuple():
            return "[" + ",".join(map(_text, value)) + "]"
        case bool():
            return json.dumps(value)
        case _:
            return str(value)
